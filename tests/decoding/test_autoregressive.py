import itertools
import math

import pytest
import torch

from bigfoot.decoding.autoregressive import LENGTH, REPETITION, decode_autoregressive
from bigfoot.decoding.ctc_prefix import CTCPrefixScorer
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.errors import ModelError
from bigfoot.models.decoders import MiniGPT
from bigfoot.models.decoders.attention import sinusoids
from tests.refusals import names, refused

VOCAB, END, WIDTH = 7, 0, 12
SETTINGS = {
    "greedy": DecodingConfig(),
    "beam": DecodingConfig(beam_size=4),
    "joint": DecodingConfig(beam_size=3, ctc_weight=0.4),
    "bonus": DecodingConfig(beam_size=3, length_bonus=0.7),
}


def make_utterances(count, seed):
    """Texts, and frames that say them: each token over one to three noisy frames, silence between."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randn(VOCAB, WIDTH, generator=torch.Generator().manual_seed(99))
    texts, states, logits = [], [], []
    for _ in range(count):
        text = torch.randint(1, VOCAB, (int(torch.randint(1, 6, (), generator=generator)),), generator=generator)
        path = [0]
        for token in text.tolist():
            path += [token] * int(torch.randint(1, 4, (), generator=generator)) + [0]
        frames = codes[torch.tensor(path)] + 0.3 * torch.randn(len(path), WIDTH, generator=generator)
        texts.append(text.tolist())
        # As an encoder's states, they know where they are; so does either half of them, which two streams are.
        places = sinusoids(torch.arange(len(path)), WIDTH)
        states.append(torch.cat([frames[:, ::2], places[:, ::2], frames[:, 1::2], places[:, 1::2]], dim=1))
        logits.append(frames @ codes.T / 3)
    return texts, states, logits


def pad(rows, side="right"):
    longest = max(map(len, rows))
    values = torch.zeros(len(rows), longest, *rows[0].shape[1:])
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        place = slice(longest - len(row), longest) if side == "left" else slice(0, len(row))
        # Garbage, as large as what is real.
        values[index] = 3.0
        values[index, place], mask[index, place] = row, True
    return values, mask


@pytest.fixture(scope="module", params=[1, 2], ids=["one stream", "two streams"])
def trained(request):
    """A decoder that has learned to read the frames above, not perfectly; as one stream, or as two."""
    torch.manual_seed(1)
    shape = {"memory_size": 2 * WIDTH // request.param, "num_streams": request.param}
    model = MiniGPT(VOCAB, END, hidden_size=24, num_layers=2, num_heads=2, dropout=0.0, **shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(250):
        texts, states, _ = make_utterances(16, step)
        memory, mask = pad(states)
        inputs = torch.nn.utils.rnn.pad_sequence([torch.tensor([END, *text]) for text in texts], batch_first=True)
        targets = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor([*text, END]) for text in texts], batch_first=True, padding_value=-100
        )
        loss = torch.nn.functional.cross_entropy(model(inputs, memory, mask).transpose(1, 2), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert 0.02 < loss.item() < 0.8  # sure enough to write, not so sure that nothing is ever close
    return model.eval()


def decode(model, states, logits, config, side="right", **more):
    memory, mask = pad(states, side)
    ctc = CTCPrefixScorer(*pad(logits, side), blank_id=END)
    return decode_autoregressive(model, memory, mask, config, ctc=ctc, limits=mask.sum(-1), **more)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_text_for_every_batch_size_order_and_padding_side(trained, name):
    texts, states, logits = make_utterances(16, seed=1000)
    alone = [decode(trained, [s], [x], SETTINGS[name])[0] for s, x in zip(states, logits, strict=True)]
    for size, side in itertools.product((2, 4, 8), ("right", "left")):
        order = torch.randperm(16, generator=torch.Generator().manual_seed(size)).tolist()
        for begin in range(0, 16, size):
            rows = order[begin : begin + size]
            together = decode(trained, [states[i] for i in rows], [logits[i] for i in rows], SETTINGS[name], side)
            for index, found in zip(rows, together, strict=True):
                assert alone[index].margin > 1e-4 or found.best.tokens == alone[index].best.tokens
                assert [h.tokens for h in found.hypotheses] == [h.tokens for h in alone[index].hypotheses]
                for one, other in zip(found.hypotheses, alone[index].hypotheses, strict=True):
                    assert one.score == pytest.approx(other.score, abs=1e-4)
    right = sum(found.best.tokens == text for found, text in zip(alone, texts, strict=True))
    assert right >= 8


@pytest.mark.parametrize("name", SETTINGS)
def test_cache_on_and_off_give_the_same_tokens(trained, name):
    _, states, logits = make_utterances(8, seed=7)
    cached = decode(trained, states, logits, SETTINGS[name])
    anew = decode(trained, states, logits, SETTINGS[name], use_cache=False)
    for one, other in zip(cached, anew, strict=True):
        assert [h.tokens for h in one.hypotheses] == [h.tokens for h in other.hypotheses]
        assert one.best.score == pytest.approx(other.best.score, abs=1e-4)


def plain_greedy(model, states):
    """One token after the other, everything computed anew."""
    tokens, score = [], 0.0
    while len(tokens) <= len(states):
        log_probs = model(torch.tensor([[END, *tokens]]), states[None])[0, -1].log_softmax(-1)
        best = int(log_probs.argmax()) if len(tokens) < len(states) else END
        score += float(log_probs[best])
        if best == END:
            break
        tokens.append(best)
    return tokens, score


@torch.no_grad()
def test_greedy_equals_a_plain_uncached_loop(trained):
    _, states, logits = make_utterances(12, seed=5)
    for found, frames in zip(decode(trained, states, logits, DecodingConfig()), states, strict=True):
        tokens, score = plain_greedy(trained, frames)
        assert found.best.tokens == tokens and found.best.score == pytest.approx(score, abs=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("ctc_weight", [0.0, 0.3])
def test_a_beam_that_holds_everything_finds_the_best_text_of_all(ctc_weight):
    """Every text of up to three of two tokens, scored by hand: the decoder's and CTC's own log probabilities."""
    torch.manual_seed(3)
    model = MiniGPT(3, END, hidden_size=8, num_layers=1, num_heads=2).eval()
    memory, logits = torch.randn(1, 4, 8), 2 * torch.randn(1, 4, 3)
    config = DecodingConfig(beam_size=15, ctc_weight=ctc_weight, max_tokens=3, length_bonus=0.4)
    ctc = CTCPrefixScorer(logits, None, END)
    found = decode_autoregressive(model, memory, None, config, ctc=ctc)[0]
    expected = {}
    for text in itertools.chain.from_iterable(itertools.product((1, 2), repeat=n) for n in range(4)):
        log_probs = model(torch.tensor([[END, *text]]), memory)[0].log_softmax(-1)
        attention = sum(float(log_probs[i, token]) for i, token in enumerate((*text, END)))
        loss = torch.nn.functional.ctc_loss(
            logits.log_softmax(-1).transpose(0, 1), torch.tensor([[*text, 1]]), torch.tensor([4]),
            torch.tensor([len(text)]), reduction="sum",
        )  # fmt: skip
        expected[text] = (1 - ctc_weight) * attention + 0.4 * len(text)
        if ctc_weight:
            expected[text] -= ctc_weight * float(loss)
    best = max(expected, key=expected.get)
    assert tuple(found.best.tokens) == best and math.isfinite(expected[best])
    for hypothesis in found.hypotheses:
        assert hypothesis.score == pytest.approx(expected[tuple(hypothesis.tokens)], abs=1e-4)


def test_beam_of_one_is_greedy_and_wider_beams_score_no_worse(trained):
    _, states, logits = make_utterances(16, seed=11)
    greedy, wide = (decode(trained, states, logits, DecodingConfig(beam_size=size)) for size in (1, 6))
    for one, other in zip(greedy, wide, strict=True):
        assert len(one.hypotheses) == 1
        assert other.best.score >= one.best.score - 1e-6


def test_length_bonus_makes_texts_longer_or_shorter(trained):
    _, states, logits = make_utterances(12, seed=13)
    lengths = [
        sum(len(d.best.tokens) for d in decode(trained, states, logits, DecodingConfig(4, length_bonus=bonus)))
        for bonus in (-4.0, 0.0, 4.0)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


class Looping:
    """A decoder that says its pieces forever."""

    begin_id = end_id = 0

    def __init__(self, piece):
        self.piece = piece

    def start(self, memory, memory_mask):
        return None

    def __call__(self, tokens, memory, memory_mask=None, cache=None, token_mask=None):
        position = tokens.shape[1] - 1
        logits = torch.zeros(*tokens.shape, 9)
        logits[:, -1, self.piece[position % len(self.piece)]] = 20.0
        return logits


@pytest.mark.parametrize("piece", [[3], [1, 2], [4, 5, 4, 6]])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_repetition_loop_is_cut_and_reported(piece, beams):
    config = DecodingConfig(beam_size=beams, max_repeats=5)
    (found,) = decode_autoregressive(Looping(piece), torch.zeros(1, 500, 4), None, config)
    assert found.best.tokens == piece and found.best.ended == REPETITION


def test_the_longest_text_is_kept_to(trained):
    _, states, logits = make_utterances(4, seed=17)
    for found in decode(trained, states, logits, DecodingConfig(3, max_tokens=2)):
        assert len(found.best.tokens) <= 2
    assert decode(trained, states, logits, DecodingConfig(max_tokens=1))[0].best.ended == LENGTH
    (silent,) = decode_autoregressive(
        trained, torch.zeros(1, 0, 2 * WIDTH), None, DecodingConfig(2), limits=torch.tensor([0])
    )
    assert silent.best.tokens == []


def test_prompts_of_any_length_in_one_batch(trained):
    _, states, _ = make_utterances(3, seed=19)
    prompts = [[], [3], [2, 5, 1]]
    memory, mask = pad(states)
    together = decode_autoregressive(trained, memory, mask, DecodingConfig(2), prompts=prompts)
    for index, prompt in enumerate(prompts):
        (alone,) = decode_autoregressive(trained, states[index][None], None, DecodingConfig(2), prompts=[prompt])
        assert together[index].best.tokens == alone.best.tokens
        assert together[index].best.score == pytest.approx(alone.best.score, abs=1e-4)


def test_ctc_weight_without_ctc_is_refused(trained):
    with refused(ModelError, "CTC"):
        decode_autoregressive(trained, torch.zeros(1, 3, 2 * WIDTH), None, DecodingConfig(ctc_weight=0.5))


def test_the_benchmark_runs(launch):
    sizes = {"width": 16, "layers": 1, "frames": 10, "tokens": 5, "batch": 2, "rounds": 1}
    done = launch.run("benchmarks/decoding.py", *(part for name, size in sizes.items() for part in (f"--{name}", size)))
    assert done.returncode == 0, done.stderr
    assert names(done.stdout, "batch 2")
