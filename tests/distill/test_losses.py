"""Losses of padded batches against plain loops over single unpadded utterances."""

import math

import numpy as np
import pytest
import torch

from bigfoot.distill.losses import hidden_distance, logit_kl
from bigfoot.models.ctc import compute_ctc_losses

LENGTHS = [7, 3, 0, 5]
FRAMES, VOCABULARY = 9, 6
GARBAGE = [0.0, 1e30, float("inf"), float("-inf"), float("nan")]


def padded(seed, fill, width=VOCABULARY):
    """(B, T, width) with garbage behind the lengths, a leaf that wants gradients, and the mask."""
    x = torch.randn(len(LENGTHS), FRAMES, width, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(FRAMES) < torch.tensor(LENGTHS)[:, None]
    return torch.where(mask[..., None], x, fill).requires_grad_(), mask


def softmax(row):
    weights = [math.exp(value) for value in row]
    return [weight / sum(weights) for weight in weights]


def check_gradients(loss, student, mask):
    loss.backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad[~mask].abs().max() == 0
    assert student.grad[mask].abs().max() > 0


@pytest.mark.parametrize("fill", GARBAGE)
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_kl_is_a_loop_over_real_frames(fill, temperature):
    (student, mask), (teacher, _) = padded(0, fill), padded(1, fill)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for frame in range(length):
            p = softmax([value / temperature for value in teacher[row, frame].tolist()])
            q = softmax([value / temperature for value in student[row, frame].tolist()])
            expected += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    found = logit_kl(student, teacher.detach(), mask, temperature)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == sum(LENGTHS)
    assert float(found.mean().detach()) == pytest.approx(expected / sum(LENGTHS), rel=1e-5)
    check_gradients(found.mean(), student, mask)


@pytest.mark.parametrize("fill", GARBAGE)
@pytest.mark.parametrize("distance", ["mse", "l1", "cosine"])
def test_hidden_distance_is_a_loop_over_real_frames(fill, distance):
    (student, mask), (teacher, _) = padded(2, fill, 8), padded(3, fill, 8)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for frame in range(length):
            a, b = (np.array(x[row, frame].tolist()) for x in (student, teacher))
            expected += {
                "mse": sum((a - b) ** 2) / 8,
                "l1": sum(abs(a - b)) / 8,
                "cosine": 1 - a @ b / math.sqrt(a @ a) / math.sqrt(b @ b),
            }[distance]
    found = hidden_distance(student, teacher.detach(), mask, distance)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == sum(LENGTHS)
    check_gradients(found.mean(), student, mask)


def ctc_by_hand(log_probs, labels, blank):
    """The forward recursion of Graves et al. (2006), equations 6 to 8, in probabilities."""
    probs = np.exp(np.array(log_probs, dtype=np.float64))
    states = [blank]
    for label in labels:
        states += [label, blank]
    alpha = np.zeros(len(states))
    alpha[:2] = [probs[0][state] for state in states[:2]]
    for frame in probs[1:]:
        before = alpha.copy()
        for s, state in enumerate(states):
            total = before[s] + (before[s - 1] if s else 0.0)
            if s > 1 and state not in (blank, states[s - 2]):
                total += before[s - 2]
            alpha[s] = total * frame[state]
    return -math.log(alpha[-2:].sum() if labels else alpha[-1])


@pytest.mark.parametrize("fill", GARBAGE)
@pytest.mark.parametrize("blank", [0, 5])
def test_ctc_is_a_loop_over_utterances(fill, blank):
    logits, mask = padded(4, fill)
    labels = torch.tensor([[1, 1, 2, 3], [4, -100, -100, -100], [1, 2, -100, -100], [-100, -100, -100, -100]])
    found = compute_ctc_losses(logits, labels, mask, blank)
    for row, length in enumerate(LENGTHS):
        log_probs = logits[row, :length].detach().log_softmax(-1)
        real = [label for label in labels[row].tolist() if label >= 0]
        expected = ctc_by_hand(log_probs.tolist(), real, blank) if length else 0.0
        assert float(found[row].detach()) == pytest.approx(expected, rel=1e-5)
        if length:
            alone = compute_ctc_losses(log_probs[None], labels[row : row + 1], None, blank)
            assert float(alone) == pytest.approx(expected, rel=1e-5)
    check_gradients(found.sum(), logits, mask)


def test_labels_that_do_not_fit_give_nothing():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    # "1 1" needs three frames and has them; "1 1 1" needs five.
    found = compute_ctc_losses(logits, torch.tensor([[1, 1, -100], [1, 1, 1]]), None, 0)
    assert found[0] > 0
    assert found[1] == 0
    found.sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("fill", GARBAGE)
def test_padding_alone_gives_zero_and_no_gradient(fill):
    student = torch.full((2, 4, 5), fill, requires_grad=True)
    mask = torch.zeros(2, 4, dtype=torch.bool)
    terms = [logit_kl(student, student.detach(), mask, 2.0).mean()]
    terms += [hidden_distance(student, student.detach(), mask, distance).mean() for distance in ("mse", "l1", "cosine")]
    terms += [compute_ctc_losses(student, torch.tensor([[1, 2], [-100, -100]]), mask, 0).sum()]
    for term in terms:
        assert float(term.detach()) == 0.0
        term.backward()
        assert student.grad.abs().max() == 0
        student.grad = None


def test_half_precision_is_summed_in_single():
    x = torch.randn(1, 2000, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 2000, dtype=torch.bool)
    exact = logit_kl(x, 2 * x, mask).total
    halved = logit_kl(x.bfloat16(), (2 * x).bfloat16(), mask).total
    assert halved.dtype == torch.float32
    assert float(halved) == pytest.approx(float(exact), rel=0.01)


def test_an_unknown_distance():
    x, mask = padded(0, 0.0)
    with pytest.raises(ValueError, match="'l2' is none of mse, l1, cosine"):
        hidden_distance(x, x, mask, "l2")
