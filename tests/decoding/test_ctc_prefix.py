import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.decoding.ctc_prefix import CTCPrefixScorer


def collapse(path):
    """The text of an alignment; 0 is the blank."""
    return tuple(token for token, _ in itertools.groupby(path) if token)


def alignments(log_probs):
    """Every alignment with its probability."""
    frames, vocab = log_probs.shape
    for path in itertools.product(range(vocab), repeat=frames):
        yield collapse(path), math.exp(sum(float(log_probs[t, token]) for t, token in enumerate(path)))


def prefix_states(scorer, prefix):
    state = scorer.start(1)
    for token in prefix:
        state = scorer.extend(state, torch.tensor([[0]]), torch.tensor([[token]]), torch.tensor([[True]]))
    return state


@pytest.mark.slow
@given(
    st.integers(1, 5), st.integers(2, 3), st.lists(st.integers(1, 2), max_size=3), st.integers(0, 1000),
    st.sampled_from([1.0, 6.0]),
)  # fmt: skip
def test_prefixes_are_the_sum_over_all_alignments(frames, vocab, prefix, seed, sharpness):
    prefix = tuple(min(token, vocab - 1) for token in prefix)
    torch.manual_seed(seed)
    logits = sharpness * torch.randn(1, frames, vocab)
    found = list(alignments(logits[0].double().log_softmax(-1)))
    scorer = CTCPrefixScorer(logits, None, blank_id=0)
    scores = scorer.score(prefix_states(scorer, prefix))[0, 0].exp()
    for token in range(1, vocab):
        longer = (*prefix, token)
        expected = sum(p for text, p in found if text[: len(longer)] == longer)
        assert float(scores[token]) == pytest.approx(expected, abs=1e-9)
    assert float(scores[0]) == pytest.approx(sum(p for text, p in found if text == prefix), abs=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_adds_nothing(side):
    torch.manual_seed(0)
    logits = torch.randn(3, 9, 4)
    frames = [9, 4, 0]
    padded, mask = torch.full((3, 12, 4), torch.nan), torch.zeros(3, 12, dtype=torch.bool)
    for row, count in enumerate(frames):
        place = slice(12 - count, 12) if side == "left" else slice(0, count)
        padded[row, place], mask[row, place] = logits[row, :count], True
    together = CTCPrefixScorer(padded, mask, 0)
    state = together.start(1)
    for token in (1, 1, 3):
        grown = torch.full((3, 1), token), torch.ones(3, 1, dtype=torch.bool)
        state = together.extend(state, torch.zeros(3, 1, dtype=torch.int64), *grown)
    for row, count in enumerate(frames):
        alone = CTCPrefixScorer(logits[row : row + 1, :count], None, 0)
        expected = alone.score(prefix_states(alone, (1, 1, 3)))
        torch.testing.assert_close(together.score(state)[row], expected[0], atol=1e-9, rtol=1e-9)


def test_a_whole_text_is_what_the_ctc_loss_says_after_a_thousand_frames():
    torch.manual_seed(0)
    logits = 4 * torch.randn(1, 1000, 30)
    text = torch.randint(1, 30, (60,)).tolist()
    scorer = CTCPrefixScorer(logits, None, 0)
    log_probs = logits.double().log_softmax(-1).transpose(0, 1)
    loss = torch.nn.functional.ctc_loss(
        log_probs, torch.tensor([text]), torch.tensor([1000]), torch.tensor([60]), reduction="sum"
    )
    assert float(scorer.score(prefix_states(scorer, text))[0, 0, 0]) == pytest.approx(-float(loss), rel=1e-9)


def test_what_does_not_grow_stays():
    scorer = CTCPrefixScorer(torch.randn(1, 6, 3), None, 0)
    state = prefix_states(scorer, (1,))
    same = scorer.extend(state, torch.tensor([[0]]), torch.tensor([[2]]), torch.tensor([[False]]))
    assert torch.equal(same.nonblank, state.nonblank) and torch.equal(same.last, state.last)
