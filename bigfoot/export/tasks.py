"""The gate of exported task models: a file gives its model's answers on real audio, or there is no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bigfoot.compress.quantize import Int8Plan
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ExportError, ModelError
from bigfoot.export.onnx import OnnxExport, build_onnx
from bigfoot.export.outputs import BATCH_SIZES, collate_silent
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.rounding import rounding_limit
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.runtime.task_answers import TaskFacts, choose_labels, compute_scores

_MOST_SCORES, _MOST_CHANGED = 0.05, 0.05
"""Of an int8 file: mean difference of its scores, and share of answers that change."""


@dataclass(frozen=True)
class TaskParity:
    """Measurements of the gate.

    Args:
        max_difference: largest difference of a logit, alone and in batches.
        labels_changed: utterances whose labels by the file are not the model's.
        num_utterances: compared.
        score_difference: mean difference of a score; numbers in units of their spread in training.
        batches: whether batches were compared too.
    """

    max_difference: float
    labels_changed: int
    num_utterances: int
    score_difference: float = 0.0
    batches: bool = True

    def describe(self) -> str:
        """Summarize the measurements in a line.

        Examples:
            >>> TaskParity(1e-6, 0, 4).describe()
            'logits within 1e-06, alone and in batches; 0 of 4 answers changed'
        """
        changed = f"{self.labels_changed} of {self.num_utterances} answers changed"
        if self.batches:
            return f"logits within {self.max_difference:.2g}, alone and in batches; {changed}"
        return f"scores within {self.score_difference:.2g} on average, one utterance at a time; {changed}"


@torch.no_grad()
def export_task(
    loaded: LoadedModel, utterances: Sequence[LoadedUtterance], plan: Int8Plan | None = None, *, normalize: bool = False
) -> tuple[OnnxExport, TaskParity]:
    """Build a file of a task model that has passed the gate.

    Args:
        loaded: with a task head.
        utterances: on which it is judged.
        plan: layers in int8; None for fp32. An int8 file is marked to run one utterance at a time.
        normalize: inside the file.

    Returns:
        The file and what was measured.

    Raises:
        ExportError: its answers differ from the model's.
        ModelError: the model has no task head.
    """
    if loaded.model.task_head is None:
        raise ModelError(f"{loaded.folder}: it has no task head")
    rounds = plan is not None and bool(plan.ranges)
    exported = build_onnx(loaded, plan, normalize=normalize, batch_invariant=not rounds)
    run, shape = exported.open(), loaded.model.task_head.shape
    inside = normalize and loaded.processor.do_normalize
    given = loaded if not inside else LoadedModel(loaded.model, type(loaded.processor)(do_normalize=False))
    ordered = sorted(utterances, key=lambda item: len(item.samples))
    expected = np.concatenate([_ask_model(loaded, item) for item in ordered])
    worst, changed, gap = 0.0, 0, 0.0
    for size in (1,) if rounds else (1, *BATCH_SIZES):
        rows = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        batches = [collate_silent(items, given) for items in rows]
        found = np.concatenate([
            run(batch.input_values.numpy(), batch.attention_mask.sum(-1).numpy())[0] for batch in batches
        ])  # fmt: skip
        # A NaN difference is no agreement, although comparisons with NaN are false.
        worst = max(worst, float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max()))
        changed = max(changed, _count_changed(found, expected, shape))
        gap = max(gap, _score_difference(found, expected, shape))
    parity = TaskParity(worst, changed, len(ordered), gap, not rounds)
    if rounds:
        _check_rounded(parity)
        return exported, parity
    limit = rounding_limit(float(np.abs(expected).max()))
    if not worst <= limit or changed:
        tolerated = f"{limit:.2g} is tolerated, and no answer may change"
        raise ExportError(f"refused, nothing was written: {parity.describe()}; {tolerated}")
    return exported, parity


def _check_rounded(parity: TaskParity) -> None:
    """Refuse an int8 file whose answers are not those of the model."""
    if not parity.score_difference <= _MOST_SCORES or parity.labels_changed > _MOST_CHANGED * parity.num_utterances:
        tolerated = f"scores may differ by {_MOST_SCORES:g} on average, and {_MOST_CHANGED:.0%} of answers may change"
        raise ExportError(
            f"refused, nothing was written: {parity.describe()}; {tolerated}. Try more audio for --calibrate, or fp32"
        )


def _score_difference(found: np.ndarray, expected: np.ndarray, shape: TaskShape) -> float:
    if shape.kind != "regression":
        facts = TaskFacts(shape.kind, shape.labels, shape.link)
        found, expected = (compute_scores(each, facts) for each in (found, expected))
    return float(np.nan_to_num(np.abs(found - expected), nan=np.inf).mean())


def _ask_model(loaded: LoadedModel, item: LoadedUtterance) -> np.ndarray:
    batch = collate_silent([item], loaded)
    logits: torch.Tensor = loaded.model(batch.input_values, batch.attention_mask).task_logits
    return logits.numpy()


def _count_changed(found: np.ndarray, expected: np.ndarray, shape: TaskShape) -> int:
    facts = TaskFacts(shape.kind, shape.labels, shape.link, shape.center, shape.scale)
    ours, theirs = (choose_labels(compute_scores(each, facts), facts) for each in (found, expected))
    return sum(one != other for one, other in zip(ours, theirs, strict=True))
