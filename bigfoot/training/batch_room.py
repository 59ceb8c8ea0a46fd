"""How much audio of a batch fits the memory: ``data.batch_seconds: auto``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bigfoot.data.batches import Batch, training_batches
from bigfoot.data.settings import DataConfig
from bigfoot.errors import TrainingError
from bigfoot.storage.digests import is_plain_file
from bigfoot.storage.processes import available_memory
from bigfoot.storage.state import write_whole
from bigfoot.training.masking import draw_masks
from bigfoot.training.protocol import TrainingObjective
from bigfoot.training.run import TrainingRun
from bigfoot.types import Seconds

log = logging.getLogger("bigfoot")

FOUND_FILE = "batch_seconds.json"
_MARGIN = 0.9
"""Share of what fits that is taken: batches differ, and memory is fragmented."""
_ON_PROCESSOR: Seconds = 160.0
"""Most on a CPU, where a larger batch is no faster."""
_ON_ACCELERATOR: Seconds = 1280.0
_SHARE = 0.25
"""Of the memory that is available, for the activations of a pass on a CPU: backward needs as much again."""
_ADAM = 8
"""Bytes of AdamW's averages for each weight."""
_READ = 16
"""Batches among which the longest utterance is taken for trials."""


def fit_batches(
    objective: TrainingObjective, run: TrainingRun, accelerator: Accelerator, *, sharded: bool
) -> DataConfig:
    """Return the settings of a training's data with a number for ``batch_seconds: auto``.

    Args:
        objective: on its device.
        run: settings, data and folder.
        accelerator: of the training.
        sharded: whether every process has a part of each weight.

    Raises:
        TrainingError: see ``find_batch_seconds``; or it is to be found where weights are sharded.
    """
    if run.data.batch_seconds != "auto":
        return run.data
    if sharded:
        raise TrainingError(f"{run.name}: batch_seconds is not found where weights are sharded; give a number")
    return replace(run.data, batch_seconds=find_batch_seconds(objective, run, accelerator))


def find_batch_seconds(objective: TrainingObjective, run: TrainingRun, accelerator: Accelerator) -> Seconds:
    """Find how much audio a batch may hold, or read what was found before a training was stopped.

    On a GPU passes forward and backward are tried with more and more utterances until memory runs out; on a CPU the
    bytes that a pass keeps are counted, and bounded by a share of what is available. Random numbers, weights and
    buffers are as they were.

    Args:
        objective: on its device.
        run: settings, data and folder, where what was found is written.
        accelerator: of the training.

    Returns:
        Seconds, the same for all processes.

    Raises:
        TrainingError: not one utterance of the longest fits.
    """
    file = run.folder / FOUND_FILE
    known = _read(file, run.fingerprint)
    if known is None:
        known = _smallest(_find_here(objective, run, accelerator), accelerator)
        if accelerator.is_main_process:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps({"fingerprint": run.fingerprint, "batch_seconds": known}).encode())
    known = _smallest(known, accelerator)
    log.info("%s: batch_seconds is auto: %g s of audio in a batch of each process (%s)", run.name, known, file)
    return known


def _read(file: Path, fingerprint: str) -> Seconds | None:
    if not is_plain_file(file):
        return None
    try:
        found = json.loads(file.read_bytes())
        return float(found["batch_seconds"]) if found["fingerprint"] == fingerprint else None
    except (ValueError, KeyError, TypeError):  # damaged: found anew
        return None


def _smallest(seconds: Seconds, accelerator: Accelerator) -> Seconds:
    if accelerator.num_processes == 1:
        return seconds
    gathered = cast(Tensor, accelerator.gather(torch.tensor([seconds], device=accelerator.device)))
    return float(gathered.min())


def _find_here(objective: TrainingObjective, run: TrainingRun, accelerator: Accelerator) -> Seconds:
    longest = _find_longest(run)
    seconds = longest.seconds(run.processor.sample_rate)
    on_processor = accelerator.device.type == "cpu"
    most = max(1, int((_ON_PROCESSOR if on_processor else _ON_ACCELERATOR) / seconds))
    trial = _Trial(objective, run, accelerator, longest)
    with trial.untouched():
        fitting = trial.count_kept(most) if on_processor else search(trial.fits, most)
    if not fitting:
        raise TrainingError(
            f"{run.name}: batch_seconds is auto, and not even one utterance of {seconds:.1f} s fits the memory of "
            f"{accelerator.device}; lower data.max_seconds, or set checkpoint_activations"
        )
    return round_down(fitting * seconds * (1.0 if fitting == most else _MARGIN), seconds)


def round_down(seconds: Seconds, least: Seconds) -> Seconds:
    """Round to 5 s, or to 1 s where that is little; never below one utterance.

    Examples:
        >>> round_down(163.9, 10.0), round_down(13.7, 12.2), round_down(13.7, 13.5)
        (160.0, 13.0, 13.5)
    """
    step = 5.0 if seconds >= 50 else 1.0
    return max(least, seconds // step * step)


def search(fits: Callable[[int], bool], most: int) -> int:
    """Find the highest number that fits, by doubling and halving, to within a sixteenth.

    Args:
        fits: whether a number does; where one does, all lower ones do.
        most: highest number tried.

    Returns:
        0 where not even 1 fits.

    Examples:
        >>> search(lambda number: number <= 21, 100), search(lambda number: False, 9), search(lambda number: True, 9)
        (21, 0, 9)
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _find_longest(run: TrainingRun) -> Batch:
    """Return a batch of one utterance, the longest of some batches."""
    data = replace(run.data, batch_seconds=run.data.known_batch_seconds, num_workers=0)
    batches = training_batches(run.manifests["train"], run.processor, data, run.seed)
    longest = max(islice(batches, _READ), key=lambda batch: int(batch.input_lengths.max()))
    return longest.repeat_row(int(longest.input_lengths.argmax()), 1)


class _Trial:
    """Passes of a training, of which nothing stays."""

    def __init__(
        self, objective: TrainingObjective, run: TrainingRun, accelerator: Accelerator, one: Batch
    ) -> None:
        self._objective, self._run, self._accelerator, self._one = objective, run, accelerator, one
        self._module = cast(nn.Module, objective)

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Leave weights, buffers, gradients and random numbers as they are."""
        module, device = self._module, self._accelerator.device
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        mode = module.training
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            module.train()
            try:
                yield
            finally:
                module.train(mode)
                self._clear()
                with torch.no_grad():
                    for name, buffer in module.named_buffers():
                        buffer.copy_(buffers[name])

    def _clear(self) -> None:
        for parameter in self._module.parameters():
            parameter.grad = None

    def _forward(self, times: int) -> Tensor:
        batch = self._one.repeat_row(0, times)
        masks = draw_masks(self._objective.student, batch, self._run.config.spec_augment, self._run.seed)
        device = self._accelerator.device
        moved = {name: mask.to(device) if mask.ndim else mask for name, mask in masks.items()}
        with self._accelerator.autocast():
            terms = self._objective(batch.to(device), moved)
            return cast(Tensor, sum(self._objective.weights[name] * term.total for name, term in terms.items()))

    def fits(self, times: int) -> bool:
        """Return whether a pass with so many utterances leaves room for AdamW."""
        weights = sum(parameter.numel() for parameter in self._module.parameters() if parameter.requires_grad)
        try:
            taken = torch.empty(_ADAM * weights, dtype=torch.uint8, device=self._accelerator.device)
            self._forward(times).backward()
            del taken
        except torch.OutOfMemoryError:
            return False
        finally:
            self._clear()
            if self._accelerator.device.type == "cuda":
                torch.cuda.empty_cache()
        return True

    def count_kept(self, most: int) -> int:
        """Return how many utterances keep no more for the backward pass than there is room for."""
        free = available_memory()
        if free is None:
            return most
        one, two = (self._count_bytes(times) for times in (1, 2))
        each = max(1, two - one)
        return max(0, min(most, int((_SHARE * free - (one - each)) // each)))

    def _count_bytes(self, times: int) -> int:
        kept: dict[int, int] = {}
        own = {parameter.untyped_storage().data_ptr() for parameter in self._module.parameters()}

        def note(tensor: Tensor) -> Any:  # noqa: ANN401
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self._forward(times)
        return sum(kept.values())
