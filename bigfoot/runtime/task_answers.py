"""From the logits of a task head to probabilities, labels and numbers; the same code for every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TaskFacts:
    """Facts that are needed to read the logits of a task head; as in ``bigfoot.models.tasks.shape.TaskShape``.

    Args:
        kind: ``single_label``, ``multi_label``, ``ordinal`` or ``regression``.
        labels: names of classes, ratings or numbers.
        link: of ``ordinal``, ``coral`` or ``corn``.
        center: of ``regression``, added to the output; empty for 0.
        scale: of ``regression``, by which the output is multiplied; empty for 1.
    """

    kind: str
    labels: Sequence[str]
    link: str = "corn"
    center: Sequence[float] = field(default_factory=list)
    scale: Sequence[float] = field(default_factory=list)


def compute_scores(logits: npt.ArrayLike, facts: TaskFacts) -> Floats:
    """Compute probabilities, or the numbers of a regression.

    Args:
        logits: (B, K).
        facts: of the head.

    Returns:
        (B, L), a column for each label; of ``single_label`` and ``ordinal`` a row sums to 1.

    Examples:
        >>> compute_scores([[0.0, 0.0]], TaskFacts("ordinal", ["bad", "fair", "good"])).tolist()
        [[0.5, 0.25, 0.25]]
    """
    return _SCORES[facts.kind](np.asarray(logits, dtype=np.float64), facts)


def choose_labels(scores: Floats, facts: TaskFacts) -> list[list[str]]:
    """Choose the labels of each utterance: the best class, all labels of one half or more, or the rating.

    A rating counts the thresholds that are more likely passed than not (Cao et al., 2020, equation 1), which the most
    probable rating is not always.

    Args:
        scores: of ``compute_scores``.
        facts: of the head.

    Returns:
        For each utterance its labels; none for a regression.

    Examples:
        >>> facts = TaskFacts("ordinal", ["bad", "fair", "good"])
        >>> choose_labels(np.array([[0.4, 0.25, 0.35]]), facts)
        [['fair']]
    """
    if facts.kind == "regression":
        return [[] for _ in scores]
    if facts.kind == "multi_label":
        return [[label for label, score in zip(facts.labels, row, strict=True) if score >= 0.5] for row in scores]
    return [[facts.labels[index]] for index in choose_classes(scores, facts)]


def choose_classes(scores: Floats, facts: TaskFacts) -> npt.NDArray[np.int64]:
    """Choose the class or the rating of each utterance, as a number.

    Args:
        scores: of ``compute_scores``.
        facts: of a head of one class or of ratings.

    Returns:
        (B,).
    """
    if facts.kind == "ordinal":
        above = 1 - scores.cumsum(-1)[:, :-1]
        # A little above one half: an even chance stays even where it was rounded.
        return (above > 0.5 + 1e-9).sum(-1)
    return scores.argmax(-1)


def _softmax(logits: Floats, _facts: TaskFacts) -> Floats:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    found: Floats = powers / powers.sum(-1, keepdims=True)
    return found


def _sigmoid(logits: Floats, _facts: TaskFacts) -> Floats:
    # By tanh: exp would overflow for logits far below 0.
    found: Floats = 0.5 * (1 + np.tanh(logits / 2))
    return found


def _ratings(logits: Floats, facts: TaskFacts) -> Floats:
    passed = _sigmoid(logits, facts)
    # CORAL's thresholds may cross in training: without the minimum, a rating would have less than nothing.
    above = passed.cumprod(-1) if facts.link == "corn" else np.minimum.accumulate(passed, axis=-1)
    edges = np.ones((len(logits), 1))
    found: Floats = np.concatenate([edges, above], -1) - np.concatenate([above, 0 * edges], -1)
    return found


def _numbers(logits: Floats, facts: TaskFacts) -> Floats:
    size = logits.shape[-1]
    found: Floats = logits * np.array(facts.scale or [1.0] * size) + np.array(facts.center or [0.0] * size)
    return found


_SCORES: dict[str, Callable[[Floats, TaskFacts], Floats]] = {
    "single_label": _softmax, "multi_label": _sigmoid, "ordinal": _ratings, "regression": _numbers
}  # fmt: skip
TASK_KINDS = tuple(_SCORES)
