"""A teacher of fewer tokens: the others' probabilities are the blank's, and texts keep theirs."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.distill.folding import fold_logits, fold_vocabulary_
from bigfoot.formats.folder import load_model

TOKENS, FRAMES = 4, 4


def text_of(path, blank):
    """A path of CTC as its text."""
    return tuple(token for token, _ in itertools.groupby(path) if token != blank)


def distribution(posteriors, blank):
    """The probability of each text, path by path."""
    found = {}
    for path in itertools.product(range(posteriors.shape[1]), repeat=len(posteriors)):
        chance = float(torch.stack([posteriors[frame, token] for frame, token in enumerate(path)]).prod())
        found[text_of(path, blank)] = found.get(text_of(path, blank), 0.0) + chance
    return found


@given(st.integers(0, 2**16), st.integers(0, TOKENS - 1), st.sets(st.integers(0, TOKENS - 1)), st.randoms())
@settings(max_examples=20, deadline=None)
def test_texts_have_the_probability_of_all_that_they_are_left_of(seed, blank, chosen, order):
    logits = 2 * torch.randn(FRAMES, TOKENS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept = [*(chosen | {blank})]
    order.shuffle(kept)
    expected = {}
    for text, chance in distribution(logits.softmax(-1), blank).items():
        left = tuple(kept.index(token) for token in text if token in kept)
        expected[left] = expected.get(left, 0.0) + chance
    found = distribution(fold_logits(logits, kept, blank).softmax(-1), kept.index(blank))
    assert found.keys() == expected.keys()
    assert all(abs(found[text] - chance) < 1e-5 for text, chance in expected.items())


@given(st.integers(0, 2**16))
@settings(max_examples=10, deadline=None)
def test_frame_by_frame_it_is_a_plain_loop(seed):
    logits = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(seed))
    kept, blank = [4, 0, 7], 0
    found = fold_logits(logits, kept, blank).softmax(-1)
    for row, frame in itertools.product(range(2), range(3)):
        chances = logits[row, frame].softmax(-1).tolist()
        for place, token in enumerate(kept):
            expected = chances[token]
            if token == blank:
                expected += sum(chance for other, chance in enumerate(chances) if other not in kept)
            assert float(found[row, frame, place]) == pytest.approx(expected, abs=1e-6)


def test_a_teacher_gives_logits_of_the_tokens_that_stay(build_model):
    whole, folded = build_model(), build_model()
    kept, wave = [0, 4, 9], torch.randn(1, 4000)
    fold_vocabulary_(folded, kept)
    assert folded.config.vocab_size == 3 and folded.head.out_features == whole.config.vocab_size
    with torch.no_grad():
        expected, found = whole(wave), folded(wave)
    assert torch.equal(found.logits, fold_logits(expected.logits, kept, 0)) and found.logits.shape[-1] == 3
    assert torch.equal(found.last_hidden_state, expected.last_hidden_state)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["from_corpus", "file"])
def test_a_run_with_the_characters_of_its_corpus(wanted, small_run, tmp_path, bigfoot):
    (tmp_path / "letters.txt").write_text("ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE ZERO OH\n")
    choice = wanted if wanted == "from_corpus" else tmp_path / "letters.txt"
    more = [f"student.vocabulary={choice}", "steps=[student,distill]", "distill.max_steps=2", "distill.eval_every=2",
            "distill.losses.ctc.weight=0.5", f"distill.cache={tmp_path / 'cache'}"]  # fmt: skip
    last = "distill" if wanted == "from_corpus" else "student"
    code, _, errors = bigfoot("compress", "--until", last, *small_run(tmp_path / "run", *more))
    assert code == 0, errors
    student = load_model(tmp_path / "run" / last / "model")
    tokenizer = student.processor.tokenizer
    assert tokenizer.characters <= {*"ONETWHREFUIVSXGZH", " "} and tokenizer.blank_id == 0
    assert student.model.head.out_features == len(tokenizer) == student.model.config.vocab_size < 32
    assert student.model.config.pad_token_id == tokenizer.blank_id
