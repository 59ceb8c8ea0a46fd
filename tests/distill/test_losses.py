"""Losses of padded batches against plain loops over single unpadded utterances."""

import math

import numpy as np
import pytest
import torch

from bigfoot.distill.losses import (
    attention_distance,
    delayed_kl,
    feature_penalty,
    frame_distance,
    gram_distance,
    logit_cosine,
    logit_kl,
    prediction_distance,
    token_cross_entropy,
    value_relation_kl,
)
from bigfoot.models.ctc import compute_ctc_losses
from tests.refusals import refused

LENGTHS = [7, 3, 0, 5]
FRAMES, VOCABULARY = 9, 6
GARBAGE = [0.0, 1e30, float("inf"), float("-inf"), float("nan")]


def garbage(count):
    """So many numbers, each kind in turn."""
    return torch.tensor(GARBAGE).repeat(count)[:count]


def padded(seed, width=VOCABULARY):
    """(B, T, width) with garbage of every kind behind the lengths, a leaf that wants gradients, and the mask."""
    x = torch.randn(len(LENGTHS), FRAMES, width, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(FRAMES) < torch.tensor(LENGTHS)[:, None]
    return torch.where(mask[..., None], x, garbage(FRAMES)[:, None]).requires_grad_(), mask


def softmax(row):
    weights = [math.exp(value) for value in row]
    return [weight / sum(weights) for weight in weights]


def check_gradients(loss, student, mask):
    loss.backward()
    assert torch.isfinite(student.grad).all()
    assert student.grad[~mask].abs().max() == 0
    assert student.grad[mask].abs().max() > 0


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_kl_is_a_loop_over_real_frames(temperature):
    (student, mask), (teacher, _) = padded(0), padded(1)
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
    if temperature == 1.0:
        assert torch.equal(found.total, logit_kl(student, teacher.detach(), mask).total)
    check_gradients(found.mean(), student, mask)


@pytest.mark.parametrize("delays", [[0], [2], [3, 0, 1]])
def test_delayed_posteriors_against_a_loop(delays):
    (student, mask), (teacher, _) = padded(1), padded(2)
    found = delayed_kl(student, teacher.detach(), mask, delays, 2.0)
    total = 0.0
    for row, length in enumerate(LENGTHS):
        by_delay = []
        for delay in delays:
            frames = [(softmax((student[row, t] / 2).tolist()), softmax((teacher[row, max(0, t - delay)] / 2).tolist()))
                      for t in range(length)]  # fmt: skip
            by_delay.append(sum(sum(q * math.log(q / p) for p, q in zip(*pair, strict=True)) for pair in frames))
        total += 4 * min(by_delay)
    assert float(found.total) == pytest.approx(total, rel=1e-5) and int(found.count) == sum(LENGTHS)
    found.mean().backward()
    assert torch.isfinite(student.grad).all() and (student.grad[~mask] == 0).all()



@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_token_cross_entropy_is_a_loop_over_targets(smoothing):
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3))
    targets, expected = torch.tensor([[0, 3, -100], [1, -100, -100]]), 0.0
    for row, token in ((logits[0, 0], 0), (logits[0, 1], 3), (logits[1, 0], 1)):
        surprises = [-math.log(share) for share in softmax(row.tolist())]
        expected += (1 - smoothing) * surprises[token] + smoothing * sum(surprises) / 4
    found = token_cross_entropy(logits, targets, smoothing)
    assert float(found.total) == pytest.approx(expected, rel=1e-5) and int(found.count) == 3


@pytest.mark.parametrize("distance", ["mse", "l1", "cosine", "l1_cosine"])
def test_frame_distance_is_a_loop_over_real_frames(distance):
    (student, mask), (teacher, _) = padded(2, 8), padded(3, 8)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for frame in range(length):
            a, b = (np.array(x[row, frame].tolist()) for x in (student, teacher))
            expected += {
                "mse": sum((a - b) ** 2) / 8,
                "l1": sum(abs(a - b)) / 8,
                "cosine": 1 - a @ b / math.sqrt(a @ a) / math.sqrt(b @ b),
                "l1_cosine": sum(abs(a - b)) / 8 + 1 - a @ b / math.sqrt(a @ a) / math.sqrt(b @ b),
            }[distance]
    found = frame_distance(student, teacher.detach(), mask, distance)
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


@pytest.mark.parametrize("blank", [0, 5])
def test_ctc_is_a_loop_over_utterances(blank):
    logits, mask = padded(4)
    labels = torch.tensor([[1, 1, 2, 3], [4, -100, -100, -100], [1, 2, -100, -100], [-100, -100, -100, -100]])
    found = compute_ctc_losses(logits, labels, mask, blank)
    for row, length in enumerate(LENGTHS):
        log_probs = logits[row, :length].detach().log_softmax(-1)
        real = [label for label in labels[row].tolist() if label >= 0]
        # Without labels there is no transcript.
        expected = ctc_by_hand(log_probs.tolist(), real, blank) if length and real else 0.0
        assert float(found[row].detach()) == pytest.approx(expected, rel=1e-5)
        if length:
            alone = compute_ctc_losses(log_probs[None], labels[row : row + 1], None, blank)
            assert float(alone) == pytest.approx(expected, rel=1e-5)
    check_gradients(found.sum(), logits, mask)


@pytest.mark.parametrize("width", [0, 1, 3])
def test_rows_without_labels_give_no_loss_and_no_gradient(width):
    logits = torch.randn(2, 5, 4, requires_grad=True)
    found = compute_ctc_losses(logits, torch.full((2, width), -100), None, 0)
    assert found.tolist() == [0.0, 0.0]
    found.sum().backward()
    assert not logits.grad.any()


def test_logit_cosine_is_a_loop_over_real_frames():
    (student, mask), (teacher, _) = padded(5), padded(6)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for frame in range(length):
            a, b = student[row, frame].tolist(), teacher[row, frame].tolist()
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            expected += 1 - dot / math.hypot(*a) / math.hypot(*b)
    found = logit_cosine(student, teacher.detach(), mask)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == sum(LENGTHS)
    check_gradients(found.mean(), student, mask)


def test_feature_penalty_is_a_loop_over_real_frames():
    features, mask = padded(7, 8)
    real = [features[row, frame].tolist() for row, length in enumerate(LENGTHS) for frame in range(length)]
    found = feature_penalty(features, mask)
    assert float(found.mean().detach()) == pytest.approx(sum(x * x for f in real for x in f) / 8 / len(real), rel=1e-5)
    check_gradients(found.mean(), features, mask)


def padded_maps(seed, heads):
    """(B, H, T, T) of rows that sum to 1 over the real keys, garbage elsewhere; a leaf that wants gradients."""
    scores = torch.randn(len(LENGTHS), heads, FRAMES, FRAMES, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(FRAMES) < torch.tensor(LENGTHS)[:, None]
    weights = scores.masked_fill(~mask[:, None, None, :], -1e9).softmax(-1)
    # One head that sees nothing but itself, as sharp attention does: many weights of exactly 0.
    weights[:, 0] = torch.eye(FRAMES)
    real = mask[:, None, :, None] & mask[:, None, None, :]
    return weights.where(real, garbage(FRAMES)).requires_grad_(), mask


@pytest.mark.parametrize("distance", ["kl", "mse"])
@pytest.mark.parametrize("heads", [2, 4])
def test_attention_distance_is_a_loop_over_real_rows_and_keys(distance, heads):
    (student, mask), (teacher, _) = padded_maps(8, heads), padded_maps(9, 3)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for query in range(length):
            a = [sum(student[row, :, query, key].tolist()) / heads for key in range(length)]
            b = [sum(teacher[row, :, query, key].tolist()) / 3 for key in range(length)]
            if distance == "kl":
                expected += sum(q * math.log(q / p) for p, q in zip(a, b, strict=True))
            else:
                expected += sum((q - p) ** 2 for p, q in zip(a, b, strict=True)) / length
    found = attention_distance(student, teacher.detach(), mask, distance)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == sum(LENGTHS)
    found.mean().backward()
    assert torch.isfinite(student.grad).all()
    real = (mask[:, None, :, None] & mask[:, None, None, :]).expand_as(student)
    assert student.grad[~real].abs().max() == 0 < student.grad[real].abs().max()


def test_attention_that_sees_what_the_other_does_not_is_far_and_finite():
    one, other = torch.eye(3)[None, None], torch.eye(3).roll(1, 0)[None, None]
    found = attention_distance(one, other, torch.ones(1, 3, dtype=torch.bool)).mean()
    assert 50 < float(found) < 100
    assert float(attention_distance(one, one, torch.ones(1, 3, dtype=torch.bool)).mean()) == 0.0


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 2.0), (0.0, 1.0)])
def test_prediction_distance_is_a_loop_over_real_frames(weights):
    (student, mask), (teacher, _) = padded(10, 8), padded(11, 8)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for frame in range(length):
            a, b = student[row, frame].tolist(), teacher[row, frame].tolist()
            cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
            expected += weights[0] * sum(abs(x - y) for x, y in zip(a, b, strict=True)) / 8
            expected += weights[1] * math.log(1 + math.exp(-cosine))
    found = prediction_distance(student, teacher.detach(), mask, *weights)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == sum(LENGTHS)
    check_gradients(found.mean(), student, mask)


def test_gram_distance_is_a_loop_over_pairs_of_real_frames():
    """Of width 8 in the student, 5 in the teacher."""
    (one, mask), (two, _), (three, _), (four, _) = (padded(12 + i, w) for i, w in enumerate((8, 8, 5, 5)))
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for i in range(length):
            for j in range(length):
                here = sum(x * y for x, y in zip(one[row, i].tolist(), two[row, j].tolist(), strict=True)) / 8
                there = sum(x * y for x, y in zip(three[row, i].tolist(), four[row, j].tolist(), strict=True)) / 5
                expected += (here - there) ** 2 / length
    found = gram_distance((one, two), (three.detach(), four.detach()), mask)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(found.count) == sum(LENGTHS)
    check_gradients(found.mean(), one, mask)
    assert torch.isfinite(two.grad).all()


@pytest.mark.parametrize("heads", [1, 2])
def test_value_relations_are_a_loop_over_real_frames(heads):
    (student, mask), (teacher, _) = padded(16, 8), padded(17, 6)
    expected = 0.0
    for row, length in enumerate(LENGTHS):
        for head in range(heads):
            q, p = ([x.tolist()[row][i][head * w // heads : (head + 1) * w // heads] for i in range(length)]
                    for x, w in ((student, 8), (teacher, 6)))  # fmt: skip
            for i in range(length):
                b, a = (
                    softmax([sum(x * y for x, y in zip(v[i], v[j], strict=True)) / math.sqrt(len(v[i]))
                             for j in range(length)])
                    for v in (q, p)
                )  # fmt: skip
                expected += sum(x * math.log(x / y) for x, y in zip(a, b, strict=True)) / heads
    found = value_relation_kl(student, teacher.detach(), mask, heads)
    assert float(found.total.detach()) == pytest.approx(expected, rel=1e-4)
    assert int(found.count) == sum(LENGTHS)
    check_gradients(found.mean(), student, mask)


def test_products_of_frames_are_not_rounded_under_autocast():
    x, mask = torch.randn(1, 6, 64, generator=torch.Generator().manual_seed(0)), torch.ones(1, 6, dtype=torch.bool)
    exact = gram_distance((x, x), (2 * x, x), mask).total, value_relation_kl(x, 2 * x, mask, 2).total
    with torch.autocast("cpu", torch.bfloat16):
        halved = gram_distance((x, x), (2 * x, x), mask).total, value_relation_kl(x, 2 * x, mask, 2).total
    assert exact == halved


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
    for distance in ("mse", "l1", "cosine", "l1_cosine"):
        terms.append(frame_distance(student, student.detach(), mask, distance).mean())
    maps = student[..., :4].unsqueeze(1)
    terms += [attention_distance(maps, maps.detach(), mask, distance).mean() for distance in ("kl", "mse")]
    terms += [logit_cosine(student, student.detach(), mask).mean(), feature_penalty(student, mask).mean()]
    values = student[..., :4]
    terms += [prediction_distance(student, student.detach(), mask).mean()]
    terms += [gram_distance((student, student), (values.detach(), values.detach()), mask).mean()]
    terms += [value_relation_kl(values, values.detach(), mask, 2).mean()]
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
    x, mask = padded(0)
    with refused(ValueError, "l2", "l1"):
        frame_distance(x, x, mask, "l2")
    maps, mask = padded_maps(0, 2)
    with refused(ValueError, "l1"):
        attention_distance(maps, maps, mask, "l1")
