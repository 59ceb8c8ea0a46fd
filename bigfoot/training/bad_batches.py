"""Batches on which a training went wrong, kept so that one can look at them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.storage.replace import swapped_in

log = logging.getLogger("bigfoot")


def save_bad_batch(batch: Batch, terms: Mapping[str, float], step: int, folder: Path, rank: int = 0) -> Path | None:
    """Write a batch as tensors and, beside them, what it is as JSON.

    The JSON comes last: where it is, the tensors are whole. Its first lines read::

        {
         "step": 123, "epoch": 0, "batch": 124, "rank": 0,
         "terms": {"ctc": "nan"}, ...

    Args:
        batch: as it was taken from the stream.
        terms: value of every loss term on it; written as a word where it is no finite number.
        step: 1-based, of the training.
        folder: where, made if it is missing.
        rank: of the process that met it.

    Returns:
        The JSON; None where it could not be written, which is said in the log and no reason to stop.

    Examples:
        >>> import tempfile, torch
        >>> batch = Batch(torch.zeros(1, 8), torch.ones(1, 8, dtype=torch.bool), None, ["a"], ["A"], ["ann"])
        >>> save_bad_batch(batch, {"ctc": float("nan")}, 123, Path(tempfile.mkdtemp())).name
        'step_000123.json'
    """
    where = batch.position
    # Windows left out do not count as steps, so that several may carry one number: the place in the stream tells them
    # apart, and a run that is taken up again writes the same names.
    name = f"step_{step:06d}" + ("" if where is None else f"_epoch_{where.epoch}_batch_{where.batch}_rank_{rank}")
    facts = {
        "step": step, "epoch": where and where.epoch, "batch": where and where.batch, "rank": rank,
        "terms": {name: value if math.isfinite(value) else str(value) for name, value in terms.items()},
        "ids": batch.ids, "speakers": batch.speakers, "texts": batch.texts,
    }  # fmt: skip
    tensors, described = folder / f"{name}.safetensors", folder / f"{name}.json"
    try:
        with swapped_in(tensors) as beside:
            save_file(_tensors(batch), beside)
        with swapped_in(described) as beside:
            beside.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        log.warning("the batch of step %d could not be saved to %s (%s)", step, folder, error)
        return None
    return described


def _tensors(batch: Batch) -> dict[str, Tensor]:
    found = {"input_values": batch.input_values, "input_lengths": batch.input_lengths}
    if batch.labels is not None:
        found["labels"] = batch.labels
    return {name: tensor.cpu().contiguous() for name, tensor in found.items()}
