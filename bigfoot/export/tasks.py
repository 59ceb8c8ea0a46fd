"""The gate of exported task models: a file gives its model's answers on real audio, or there is no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ExportError, ModelError
from bigfoot.export.onnx import OnnxExport, build_onnx
from bigfoot.export.outputs import BATCH_SIZES, collate_silent
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.rounding import rounding_limit
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.runtime.task_answers import TaskFacts, choose_labels, compute_scores


@dataclass(frozen=True)
class TaskParity:
    """Measurements of the gate.

    Args:
        max_difference: largest difference of a logit, alone and in batches.
        labels_changed: utterances whose labels by the file are not the model's.
        num_utterances: compared.
    """

    max_difference: float
    labels_changed: int
    num_utterances: int

    def describe(self) -> str:
        """Summarize the measurements in a line.

        Examples:
            >>> TaskParity(1e-6, 0, 4).describe()
            'logits within 1e-06, alone and in batches; 0 of 4 answers changed'
        """
        changed = f"{self.labels_changed} of {self.num_utterances} answers changed"
        return f"logits within {self.max_difference:.2g}, alone and in batches; {changed}"


@torch.no_grad()
def export_task(
    loaded: LoadedModel, utterances: Sequence[LoadedUtterance], *, normalize: bool = False
) -> tuple[OnnxExport, TaskParity]:
    """Build a file of a task model that has passed the gate.

    Args:
        loaded: with a task head.
        utterances: on which it is judged.
        normalize: inside the file.

    Returns:
        The file and what was measured.

    Raises:
        ExportError: its answers differ from the model's.
        ModelError: the model has no task head.
    """
    if loaded.model.task_head is None:
        raise ModelError(f"{loaded.folder}: it has no task head")
    exported = build_onnx(loaded, normalize=normalize, batch_invariant=True)
    run, shape = exported.open(), loaded.model.task_head.shape
    inside = normalize and loaded.processor.do_normalize
    given = loaded if not inside else LoadedModel(loaded.model, type(loaded.processor)(do_normalize=False))
    ordered = sorted(utterances, key=lambda item: len(item.samples))
    expected = np.concatenate([_ask_model(loaded, item) for item in ordered])
    worst, changed = 0.0, 0
    for size in (1, *BATCH_SIZES):
        rows = [ordered[start : start + size] for start in range(0, len(ordered), size)]
        batches = [collate_silent(items, given) for items in rows]
        found = np.concatenate([
            run(batch.input_values.numpy(), batch.attention_mask.sum(-1).numpy())[0] for batch in batches
        ])  # fmt: skip
        # A NaN difference is no agreement, although comparisons with NaN are false.
        worst = max(worst, float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max()))
        changed = max(changed, _count_changed(found, expected, shape))
    parity = TaskParity(worst, changed, len(ordered))
    limit = rounding_limit(float(np.abs(expected).max()))
    if not worst <= limit or changed:
        tolerated = f"{limit:.2g} is tolerated, and no answer may change"
        raise ExportError(f"refused, nothing was written: {parity.describe()}; {tolerated}")
    return exported, parity


def _ask_model(loaded: LoadedModel, item: LoadedUtterance) -> np.ndarray:
    batch = collate_silent([item], loaded)
    logits: torch.Tensor = loaded.model(batch.input_values, batch.attention_mask).task_logits
    return logits.numpy()


def _count_changed(found: np.ndarray, expected: np.ndarray, shape: TaskShape) -> int:
    facts = TaskFacts(shape.kind, shape.labels, shape.link, shape.center, shape.scale)
    ours, theirs = (choose_labels(compute_scores(each, facts), facts) for each in (found, expected))
    return sum(one != other for one, other in zip(ours, theirs, strict=True))
