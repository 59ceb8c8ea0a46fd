"""A new head from a linear probe: the encoder's features are good before they are fine-tuned (Kumar et al., 2022)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.tasks.kinds.ordinal import SharedThresholds
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.tasks.answers import answer_manifest, measure_loss
from bigfoot.text.tokenizers import Processor

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties that are tried: scikit-learn's ``C``, and 1 / ``alpha`` of ridge regression."""
SHARES = (1.0, 0.3, 0.1)
"""What the encoder's features are scaled by beside those of the waveform: where a spectrum or pitch knows more,
many more features of the encoder would only be fitted to train."""
LEAST_SPREAD = 0.03
"""Features that spread less are not raised to a spread of 1: that would raise the rounding of a batch with them."""
_ABSENT = -10.0
"""Logit of a class that is not in train."""
_FREE = 100.0
"""Inverse penalty of slope and thresholds along a direction: all but none."""
Floats = npt.NDArray[np.float64]


@torch.no_grad()
def fit_probe_(
    model: BigfootForCTC, manifests: Mapping[str, Path], processor: Processor, batch_size: int, *, balanced: bool
) -> str:  # fmt: skip
    """Give the output of a task head the weights of the linear model that is best on dev.

    Args:
        model: with a task head without hidden layers.
        manifests: of train and dev.
        processor: of the model.
        batch_size: utterances in a batch.
        balanced: whether classes weigh alike.

    Returns:
        What was chosen, a sentence.
    """
    head = model.task_head
    assert head is not None
    train, dev = (answer_manifest(model, manifests[split], processor, batch_size) for split in ("train", "dev"))
    tried: list[tuple[float, float, float, Floats, Floats]] = []
    shares = SHARES if head.reads_audio else (1.0,)
    for share, strength in itertools.product(shares, STRENGTHS):
        scales = np.full(train.pooled.shape[1], share)
        scales[head.pooling.output_size :] = 1.0
        weight, bias = fit_linear(head.shape, train.pooled, train.targets, strength, balanced=balanced, scales=scales)
        loss = measure_loss(replace(dev, logits=dev.pooled @ weight.T + bias))
        tried.append((np.inf if loss is None else loss, strength, share, weight, bias))
    loss, strength, share, weight, bias = min(tried, key=lambda each: each[0])
    _set_output_(head.output, torch.from_numpy(weight), torch.from_numpy(bias))
    beside = f", the encoder's features scaled by {share:g}" if head.reads_audio else ""
    return f"the head starts from a linear probe of inverse penalty {strength:g}{beside}, dev loss {loss:.4f}"


def _set_output_(output: nn.Module, weight: Tensor, bias: Tensor) -> None:
    if isinstance(output, SharedThresholds):
        output.direction.weight.copy_(weight[:1])
        output.biases.copy_(bias)
        return
    assert isinstance(output, nn.Linear)
    output.weight.copy_(weight)
    output.bias.copy_(bias)


def fit_linear(
    shape: TaskShape, features: Floats, targets: Floats, strength: float, *, balanced: bool = False,
    scales: Floats | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Fit a linear model that gives a head's logits.

    Args:
        shape: of the head.
        features: (N, P).
        targets: (N, W), NaN where not known.
        strength: inverse penalty, on features of unit variance.
        balanced: whether classes weigh alike.
        scales: (P,), of the features after they are brought to unit variance; None for 1.

    Returns:
        (K, P) weights and (K,) biases.

    Examples:
        >>> shape = TaskShape("regression", ["age"], center=[10.0], scale=[2.0])
        >>> weight, bias = fit_linear(shape, np.array([[0.0], [1.0]]), np.array([[8.0], [12.0]]), 1e6)
        >>> weight.round(3).tolist(), bias.round(3).tolist()
        ([[2.0]], [-1.0])
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(features)
    scaler.scale_ = np.maximum(scaler.scale_, LEAST_SPREAD) / (1.0 if scales is None else scales)
    rows = scaler.transform(features)
    if shape.kind == "single_label":
        known = ~np.isnan(targets[:, 0])
        classes = targets[known, 0].astype(int)
        weights, biases = _fit_classes(rows[known], classes, range(shape.num_labels), strength, balanced=balanced)
    elif shape.kind == "ordinal" and shape.link == "coral":
        weights, biases = _fit_direction(rows, targets[:, 0], shape.num_labels - 1, strength, balanced=balanced)
    else:
        columns = [_fit_column(rows[chosen], wanted, shape.kind, strength, balanced=balanced)
                   for chosen, wanted in _columns(shape, targets)]  # fmt: skip
        weights, biases = np.stack([weight for weight, _ in columns]), np.array([bias for _, bias in columns])
    raw = weights / scaler.scale_
    return raw, biases - raw @ scaler.mean_


def _fit_direction(
    rows: Floats, ratings: Floats, num_thresholds: int, strength: float, *, balanced: bool
) -> tuple[Floats, Floats]:  # fmt: skip
    """Fit one direction for all thresholds, by ridge regression of the rating, and where along it they lie."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.utils.class_weight import compute_sample_weight

    known = ~np.isnan(ratings)
    rows, ratings, thresholds = rows[known], ratings[known], np.arange(num_thresholds)
    shares = compute_sample_weight("balanced" if balanced else None, ratings)
    direction = Ridge(1 / strength).fit(rows, ratings, sample_weight=shares).coef_
    places = rows @ direction
    scale = float(places.std()) or 1.0
    # A row for each threshold of each utterance: its place, and which threshold it is.
    passed = (ratings[:, None] > thresholds).ravel()
    if len(np.unique(passed)) < 2:
        return np.zeros((num_thresholds, rows.shape[1])), np.full(num_thresholds, -_ABSENT if passed[0] else _ABSENT)
    which = np.tile(np.eye(num_thresholds), (len(rows), 1))
    inputs = np.column_stack([np.repeat(places / scale, num_thresholds), which])
    fitted = LogisticRegression(C=_FREE, max_iter=500, fit_intercept=False)
    slope, *biases = fitted.fit(inputs, passed, sample_weight=np.repeat(shares, num_thresholds)).coef_[0]
    return np.tile(slope / scale * direction, (num_thresholds, 1)), np.array(biases)


def _columns(shape: TaskShape, targets: Floats) -> Iterator[tuple[npt.NDArray[np.bool_], Floats]]:
    """Yield the utterances that each logit is fitted on, and what it is to be there."""
    if shape.kind == "ordinal":
        for threshold in range(shape.num_labels - 1):
            chosen = targets[:, 0] >= threshold
            yield chosen, (targets[chosen, 0] > threshold).astype(float)
        return
    for column, target in enumerate(targets.T):
        chosen = ~np.isnan(target)
        center, scale = (values[column] if values else default for values, default in
                         ((shape.center, 0.0), (shape.scale, 1.0)))  # fmt: skip
        yield chosen, (target[chosen] - center) / scale


def _fit_column(rows: Floats, wanted: Floats, kind: str, strength: float, *, balanced: bool) -> tuple[Floats, float]:
    from sklearn.linear_model import Ridge

    if kind == "regression":
        fitted = Ridge(1 / strength).fit(rows, wanted)
        return fitted.coef_, float(fitted.intercept_)
    weights, biases = _fit_classes(rows, wanted.astype(int), range(2), strength, balanced=balanced)
    return weights[1] - weights[0], float(biases[1] - biases[0])


def _fit_classes(
    rows: Floats, classes: npt.NDArray[np.int64], all_classes: range, strength: float, *, balanced: bool
) -> tuple[Floats, Floats]:  # fmt: skip
    """Fit logistic regression; one class alone, and classes that are absent, depend on no feature."""
    from sklearn.linear_model import LogisticRegression

    weights, biases = np.zeros((len(all_classes), rows.shape[1])), np.full(len(all_classes), _ABSENT)
    present = np.unique(classes)
    if len(present) < 2:
        biases[present] = 0.0
        return weights, biases
    fitted = LogisticRegression(C=strength, max_iter=500, class_weight="balanced" if balanced else None)
    fitted.fit(rows, classes)
    coefficients, intercepts = fitted.coef_, fitted.intercept_
    if len(present) == 2:
        # Of two classes scikit-learn keeps the difference.
        coefficients, intercepts = (np.concatenate([-each / 2, each / 2]) for each in (coefficients, intercepts))
    weights[present], biases[present] = coefficients, intercepts
    return weights, biases
