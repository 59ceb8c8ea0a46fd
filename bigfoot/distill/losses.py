"""Distillation losses as plain functions on tensors; each skips padding and gives a sum with its count.

A sum and a count, not a mean: under gradient accumulation and on several devices the loss is the mean over the frames
or labels of the whole batch, which only the training loop can divide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn


class LossSum(NamedTuple):
    """A loss before its mean is taken.

    Args:
        total: scalar, summed over what was counted.
        count: scalar, number of real frames or labels.
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which is not used on a loss

    def mean(self) -> Tensor:
        """Return the mean; 0 where nothing was counted."""
        return self.total / self.count.clamp(min=1)


def _only_real(frames: Tensor, frame_mask: Tensor) -> Tensor:
    # where, not a product: padding may hold infinities, and infinity times zero is NaN. Before the loss, not after it:
    # a padded frame that is left out of the sum still sends NaN back through the softmax, as zero times NaN.
    return frames.float().where(frame_mask.unsqueeze(-1), 0.0)


def _sum_real(per_frame: Tensor, frame_mask: Tensor) -> LossSum:
    return LossSum(per_frame.where(frame_mask, 0.0).sum(), frame_mask.sum())


def logit_kl(student_logits: Tensor, teacher_logits: Tensor, frame_mask: Tensor, temperature: float = 1.0) -> LossSum:
    """Compute the KL divergence of the student from the teacher's frame posteriors (Hinton et al., 2015, section 2).

    Both are softened by the temperature, and the loss is multiplied by its square, so that gradients keep their size.

    Args:
        student_logits: (B, T, V).
        teacher_logits: (B, T, V).
        frame_mask: (B, T), True = real.
        temperature: above 0.

    Returns:
        Sum in nats over real frames, and their number.

    Examples:
        >>> import torch
        >>> x = torch.randn(2, 3, 5)
        >>> float(logit_kl(x, x, torch.ones(2, 3, dtype=torch.bool)).mean())
        0.0
    """
    student = (_only_real(student_logits, frame_mask) / temperature).log_softmax(-1)
    teacher = (_only_real(teacher_logits, frame_mask) / temperature).log_softmax(-1)
    per_frame = (teacher.exp() * (teacher - student)).sum(-1)
    return _sum_real(per_frame * temperature**2, frame_mask)


def delayed_kl(
    student_logits: Tensor, teacher_logits: Tensor, frame_mask: Tensor, delays: Sequence[int], temperature: float = 1.0
) -> LossSum:
    """Compute the same from posteriors that the teacher gave frames before, by the best delay of an utterance.

    The student's first frames are held against the teacher's first one, and the teacher's last ones against none (Li et
    al., 2025, "Delayed-KD", section 2).

    Args:
        student_logits: (B, T, V).
        teacher_logits: (B, T, V).
        frame_mask: (B, T), True = real.
        delays: frames, each 0 or more.
        temperature: see ``logit_kl``.

    Returns:
        Sum in nats over real frames, and their number.

    Examples:
        >>> import torch
        >>> x = torch.randn(1, 6, 5)
        >>> later = torch.cat([x[:, :1], x[:, :1], x[:, :-2]], dim=1)
        >>> float(delayed_kl(later, x, torch.ones(1, 6, dtype=torch.bool), [0, 2]).mean())
        0.0
    """
    student = (_only_real(student_logits, frame_mask) / temperature).log_softmax(-1)
    teacher = (_only_real(teacher_logits, frame_mask) / temperature).log_softmax(-1)
    place = torch.arange(teacher.shape[1], device=teacher.device)
    totals = []
    for delay in delays:
        earlier = teacher[:, (place - delay).clamp(min=0)]
        per_frame = (earlier.exp() * (earlier - student)).sum(-1)
        totals.append(per_frame.where(frame_mask, 0.0).sum(-1))
    return LossSum(torch.stack(totals).amin(0).sum() * temperature**2, frame_mask.sum())


def token_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> LossSum:
    """Compute the cross-entropy of a decoder's tokens with smoothed targets (Szegedy et al., 2016, section 7).

    Args:
        logits: (B, U, V).
        targets: (B, U), -100 = not counted.
        smoothing: share of the target that is spread over all tokens, 0 to 1.

    Returns:
        Sum in nats over the targets that count, and their number.

    Examples:
        >>> import torch
        >>> float(token_cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[3, -100]])).total)
        1.3862943649291992
    """
    counts = targets >= 0
    total = nn.functional.cross_entropy(
        _only_real(logits, counts).flatten(0, 1), targets.flatten(), reduction="sum", label_smoothing=smoothing
    )
    return LossSum(total, counts.sum())


def expected_ctc(logits: Tensor, frame_mask: Tensor, labels: Tensor, scores: Tensor, blank_id: int) -> LossSum:
    """Compute CTC of several texts of an utterance, each by its share (Takashima et al., 2018, equation 6).

    Args:
        logits: (B, T, V).
        frame_mask: (B, T), True = real.
        labels: (B, N, U) of N texts, -100 = padding.
        scores: (B, N) log probabilities, minus infinity where there is no such text; shares are their softmax.
        blank_id: token of the blank.

    Returns:
        Sum over utterances of the expected nats a label, and the number of those with a text. A text that does not fit
        the frames adds nothing.

    Examples:
        >>> logits, mask = torch.zeros(1, 1, 2), torch.ones(1, 1, dtype=torch.bool)
        >>> expected_ctc(logits, mask, torch.tensor([[[1]]]), torch.tensor([[-3.0]]), 0).mean()
        tensor(0.6931)
    """
    rows, texts, _ = labels.shape
    known = torch.isfinite(scores)
    shares = scores.masked_fill(~known, torch.finfo(scores.dtype).min / 2).softmax(-1).where(known, 0.0)
    repeated = _only_real(logits, frame_mask).log_softmax(-1).repeat_interleave(texts, 0)
    lengths = (labels >= 0).sum(-1).flatten()
    losses = nn.functional.ctc_loss(
        repeated.transpose(0, 1), labels.flatten(0, 1).clamp(min=0), frame_mask.sum(-1).repeat_interleave(texts),
        lengths, blank=blank_id, reduction="none", zero_infinity=True,
    )  # fmt: skip
    a_label = (losses / lengths.clamp(min=1)).where(lengths > 0, 0.0).view(rows, texts)
    return LossSum((shares * a_label).sum(), known.any(-1).sum())


def frame_distance(student: Tensor, teacher: Tensor, frame_mask: Tensor, distance: str = "mse") -> LossSum:
    """Compute the distance between two sequences of vectors (hidden states, convolutional features), frame by frame.

    Args:
        student: (B, T, D).
        teacher: (B, T, D).
        frame_mask: (B, T), True = real.
        distance: ``mse`` or ``l1`` (means over D), ``cosine`` (1 - cosine similarity), or ``l1_cosine``, the sum
            of those two (Peng et al., 2023, DPHuBERT).

    Returns:
        Sum over real frames, and their number.

    Examples:
        >>> import torch
        >>> frame_distance(torch.ones(1, 2, 4), torch.zeros(1, 2, 4), torch.tensor([[True, False]])).mean()
        tensor(1.)
    """
    student, teacher = _only_real(student, frame_mask), _only_real(teacher, frame_mask)
    if distance == "mse":
        per_frame = (student - teacher).square().mean(-1)
    elif distance == "l1":
        per_frame = (student - teacher).abs().mean(-1)
    elif distance == "cosine":
        per_frame = 1.0 - nn.functional.cosine_similarity(student, teacher, dim=-1)
    elif distance == "l1_cosine":
        angle = nn.functional.cosine_similarity(student, teacher, dim=-1)
        per_frame = (student - teacher).abs().mean(-1) + 1.0 - angle
    else:
        raise ValueError(f"distance {distance!r} is none of mse, l1, cosine, l1_cosine")
    return _sum_real(per_frame, frame_mask)


def logit_cosine(student_logits: Tensor, teacher_logits: Tensor, frame_mask: Tensor) -> LossSum:
    """One minus the cosine of the angle between student's and teacher's logits, frame by frame.

    The ``cos_embed_loss`` of the Knowledge-Distillation-Toolkit (``knowledge_distillation/kd_training.py``): over the
    vocabulary, of the logits as they are, without temperature. There the mean is over all frames of a padded batch,
    here over the real ones. Blind to the length of the logits, and so to how sure the teacher is.

    Args:
        student_logits: (B, T, V).
        teacher_logits: (B, T, V).
        frame_mask: (B, T), True = real.

    Returns:
        Sum over real frames, each 0 to 2, and their number.

    Examples:
        >>> logits = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> logit_cosine(logits, -3 * logits, torch.tensor([[True, True]])).mean()
        tensor(2.)
    """
    return frame_distance(student_logits, teacher_logits, frame_mask, "cosine")


def attention_distance(student: Tensor, teacher: Tensor, frame_mask: Tensor, distance: str = "kl") -> LossSum:
    """Compare two layers' attention maps, each the mean over its heads (after Jiao et al., 2020, section 3.1).

    Means over heads are compared, so that the layers may have different numbers of them.

    Args:
        student: (B, H, T, T), rows of weights that sum to 1 over the real keys.
        teacher: (B, H', T, T).
        frame_mask: (B, T), True = real.
        distance: ``kl`` (of the student's row from the teacher's, in nats) or ``mse`` (mean over real keys).

    Returns:
        Sum over the rows of real frames, and their number.

    Examples:
        >>> even, sharp = torch.full((1, 2, 2, 2), 0.5), torch.eye(2)[None, None]
        >>> attention_distance(even, sharp, torch.tensor([[True, True]])).mean()
        tensor(0.6931)
    """
    here, there = _mean_map(student, frame_mask), _mean_map(teacher, frame_mask)
    if distance == "kl":
        # A weight of 0 has no logarithm. Where the teacher's is 0 the student's does not matter; where only the
        # student's is, the smallest number of the type stands for it.
        least = torch.finfo(here.dtype).tiny
        gaps = there.clamp(min=least).log() - here.clamp(min=least).log()
        per_frame = (there * gaps).sum(-1)
    elif distance == "mse":
        per_frame = (here - there).square().sum(-1) / frame_mask.sum(-1, keepdim=True).clamp(min=1)
    else:
        raise ValueError(f"distance {distance!r} is none of kl, mse")
    return _sum_real(per_frame, frame_mask)


def _mean_map(attentions: Tensor, frame_mask: Tensor) -> Tensor:
    """Mean over heads, (B, T, T), with 0 wherever query or key is padding."""
    real = frame_mask[:, None, :, None] & frame_mask[:, None, None, :]
    return attentions.float().where(real, 0.0).mean(1)


def prediction_distance(
    predicted: Tensor, teacher: Tensor, frame_mask: Tensor, l1_weight: float = 1.0, cosine_weight: float = 1.0
) -> LossSum:
    """Compute the L1 distance and -log sigmoid(cosine similarity), frame by frame: DistilHuBERT's loss.

    Chang et al. (2022), equation 1, with the L1 distance a mean over D.

    Args:
        predicted: (B, T, D), by a head of the student's.
        teacher: (B, T, D).
        frame_mask: (B, T), True = real.
        l1_weight: share of the L1 distance.
        cosine_weight: share of the other.

    Returns:
        Sum over real frames, and their number.

    Examples:
        >>> one = torch.ones(1, 1, 4)
        >>> prediction_distance(one, 3 * one, torch.tensor([[True]])).mean()
        tensor(2.3133)
    """
    predicted, teacher = _only_real(predicted, frame_mask), _only_real(teacher, frame_mask)
    l1 = (predicted - teacher).abs().mean(-1)
    angle = nn.functional.cosine_similarity(predicted, teacher, dim=-1)
    return _sum_real(l1_weight * l1 - cosine_weight * nn.functional.logsigmoid(angle), frame_mask)


def gram_distance(
    student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], frame_mask: Tensor
) -> LossSum:
    """Compute the distance between temporal Gram matrices, all products of two frames (Jang et al., 2024, STaR).

    Layer-wise, both sequences are a layer's output; within a layer, they are its input and its output. Products are
    divided by the width, so that models of different widths can be compared without a projection.

    Args:
        student: two of (B, T, D).
        teacher: two of (B, T, D').
        frame_mask: (B, T), True = real.

    Returns:
        Sum over the rows of real frames of the mean square over real frames, and the number of rows.

    Examples:
        >>> one = torch.ones(1, 2, 4)
        >>> gram_distance((one, one), (one, 2 * one), torch.tensor([[True, False]])).mean()
        tensor(1.)
    """
    here, there = (_gram(first, second, frame_mask) for first, second in (student, teacher))
    per_frame = (here - there).square().sum(-1) / frame_mask.sum(-1, keepdim=True).clamp(min=1)
    return _sum_real(per_frame, frame_mask)


def _gram(first: Tensor, second: Tensor, frame_mask: Tensor) -> Tensor:
    """(B, T, T), with 0 wherever one of the two is padding."""
    one, other = _only_real(first, frame_mask), _only_real(second, frame_mask)
    with torch.autocast(one.device.type, enabled=False):
        return one @ other.transpose(-1, -2) / one.shape[-1]


def value_relation_kl(student: Tensor, teacher: Tensor, frame_mask: Tensor, heads: int) -> LossSum:
    """Compute the divergence between the relations of values (Wang et al., 2020, MiniLM, equations 7 to 9).

    A row of relations is the softmax of a frame's scaled products with all frames. Values may be cut into other parts
    than the attention heads (Wang et al., 2021, MiniLMv2, section 3.1), so that the models may have different numbers
    of those.

    Args:
        student: (B, T, W), the values of a layer's heads side by side.
        teacher: (B, T, W').
        frame_mask: (B, T), True = real.
        heads: into how many parts both are cut.

    Returns:
        Sum over real frames of the mean over parts in nats, and the number of frames.

    Examples:
        >>> values = torch.randn(1, 3, 8)
        >>> value_relation_kl(values, values, torch.tensor([[True, True, False]]), 2).mean()
        tensor(0.)
    """
    here, there = (_relations(values, frame_mask, heads) for values in (student, teacher))
    gaps = (there - here).where(frame_mask[:, None, None, :], 0.0)
    return _sum_real((there.exp() * gaps).sum(-1).mean(1), frame_mask)


def _relations(values: Tensor, frame_mask: Tensor, heads: int) -> Tensor:
    """Logarithms of the relations, (B, heads, T, T); rows sum to 1 over the real frames."""
    parts = _only_real(values, frame_mask).unflatten(-1, (heads, -1)).transpose(1, 2)
    with torch.autocast(parts.device.type, enabled=False):
        scores = parts @ parts.transpose(-1, -2) * parts.shape[-1] ** -0.5
    # Not minus infinity: rows without any real frame must stay numbers, or they would reach the gradients.
    return scores.masked_fill(~frame_mask[:, None, None, :], torch.finfo(scores.dtype).min / 2).log_softmax(-1)


def feature_penalty(conv_features: Tensor, frame_mask: Tensor) -> LossSum:
    """Compute the mean square of the convolutional features: fairseq's ``features_pen``, which bounds their size.

    Part of the loss with which fairseq pre-trains wav2vec 2.0 (Baevski et al., 2020). There the mean is over all frames
    of a padded batch, here over the real ones. It compares with nothing and needs no teacher.

    Args:
        conv_features: (B, T, C), as the last convolution gives them, before the norm.
        frame_mask: (B, T), True = real.

    Returns:
        Sum over real frames of the mean over C, and the number of frames.

    Examples:
        >>> feature_penalty(torch.full((1, 2, 4), 3.0), torch.tensor([[True, False]])).mean()
        tensor(9.)
    """
    return _sum_real(_only_real(conv_features, frame_mask).square().mean(-1), frame_mask)
