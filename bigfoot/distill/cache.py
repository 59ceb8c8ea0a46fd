"""The teacher's outputs on disk, so that a second student trains without running the teacher.

A cache is a folder: ``cache.json`` holds its key, ``shard_00000.safetensors`` holds tensors by utterance,
and ``shard_00000.json``, written after it, vouches for it. Packed rows are of real frames alone: padding never changes
an output, so an utterance's targets do not depend on the batch that it is in.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigfoot.data.batches import Batch, evaluation_batches, evaluation_order
from bigfoot.distill.loss import Targets
from bigfoot.distill.packing import TUPLES, Packing, width_of
from bigfoot.distill.targets import compute_targets, freeze_teacher
from bigfoot.distill.vouchers import (
    is_vouched,
    open_shard_file,
    read_tensor,
    read_voucher,
    replace_text,
    write_shard,
)
from bigfoot.errors import DataError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.storage.lock import locked
from bigfoot.storage.replace import remove_leftovers
from bigfoot.storage.state import parse_as
from bigfoot.text.tokenizers import Processor

log = logging.getLogger("bigfoot")

_FORMAT = 2
_SHARD_BYTES = 256 << 20
_OPEN_SHARDS = 64
# Samples of an utterance by which it is recognized; enough to distinguish recordings of one length.
_PROBES = 16
# Where the last bits of a waveform differ (another machine's sums), it is still the same audio.
_SAME_AUDIO = 1e-3


@dataclass(frozen=True)
class CacheKey:
    """Settings and inputs that decide the contents of a cache.

    The waveform is always as it is in the manifest: augmentation that changes it gives other targets every time.

    Args:
        teacher: digest of its files.
        corpus: digest of the utterances' names, lengths and audio.
        normalized: whether waveforms are normalized.
        dtype: see ``Packing``.
        top_k: see ``Packing``.
        targets: layers by field of the teacher's output.
    """

    teacher: str
    corpus: str
    normalized: bool
    dtype: str
    top_k: int
    targets: dict[str, list[int]]

    @classmethod
    def of(
        cls, corpus: str, processor: Processor, teacher: str, targets: Targets, dtype: str, top_k: int
    ) -> CacheKey:
        """Build the key of a run.

        Args:
            corpus: ``PreparedData.audio`` of train.
            processor: of the run.
            teacher: digest of its files.
            targets: of all terms.
            dtype: see ``Packing``.
            top_k: see ``Packing``.
        """
        layers = {field: sorted(found) for field, found in sorted(targets.items())}
        return cls(teacher, corpus, processor.do_normalize, dtype, top_k, layers)

    @property
    def packing(self) -> Packing:
        """How its tensors are stored."""
        return Packing(self.dtype, self.top_k)

    def why_not(self, needed: CacheKey) -> str:
        """Return why the cache cannot serve a key; empty where it can."""
        reasons = {
            "another teacher": self.teacher != needed.teacher,
            "other utterances or audio": self.corpus != needed.corpus,
            "audio of another loudness (do_normalize)": self.normalized != needed.normalized,
            f"cache_dtype {self.dtype}": self.dtype != needed.dtype,
            f"cache_top_k {self.top_k}": self.top_k != needed.top_k,
        }
        for field, layers in needed.targets.items():
            missing = sorted(set(layers) - set(self.targets.get(field, [])))
            reasons[f"no {field}" + (f" {missing}" if field in TUPLES else "")] = bool(missing)
        return ", ".join(reason for reason, holds in reasons.items() if holds)


def write_cache(
    folder: Path, key: CacheKey, teacher: BigfootForCTC, manifest: Path, processor: Processor, batch_size: int
) -> None:
    """Write what is not written yet; log its size first.

    A killed writing goes on with the first shard that is missing. What lies there is checked, byte by byte.

    Args:
        folder: of the cache; made if need be.
        key: what is needed.
        teacher: on the device where it runs.
        manifest: of train.
        processor: of the run.
        batch_size: utterances run together.

    Raises:
        DataError: something else lies there, it is damaged or of other settings, or the disk is too small.
    """
    # Runs may share a cache: the second waits, and finds it written.
    with locked(os.path.realpath(folder), wait=math.inf, on_wait=log.info):
        _write_cache(folder, key, teacher, manifest, processor, batch_size)


def _write_cache(
    folder: Path, key: CacheKey, teacher: BigfootForCTC, manifest: Path, processor: Processor, batch_size: int
) -> None:
    held = _claim(folder, key)
    remove_leftovers(folder)
    plan, sizes = _plan(held, teacher, manifest, processor)
    first = next((number for number in range(len(plan)) if not is_vouched(folder, number, plan[number])), len(plan))
    done = sum(map(len, plan[:first]))
    if first == len(plan):
        log.info("distill: the teacher's targets of %d utterances are in %s", done, folder)
        return
    _check_room(folder, sum(sizes[done:]), len(sizes) - done)
    rows = _run_teacher(held, teacher, manifest, processor, batch_size, done, "computing the teacher's targets")
    for number in range(first, len(plan)):
        _write_rows(folder, number, plan[number], rows)


def plan_cache(
    folder: Path, key: CacheKey, teacher: BigfootForCTC, manifest: Path, processor: Processor
) -> list[list[str]]:
    """Make the folder of a cache whose shards several processes write, by ``write_cache_shard``.

    Args:
        folder: see ``write_cache``, as the others.
        key: what is needed.
        teacher: its shape.
        manifest: of train.
        processor: of the run.

    Returns:
        Names of the utterances of every shard.

    Raises:
        DataError: something else lies there, or a shard is damaged.
    """
    with locked(os.path.realpath(folder), wait=math.inf, on_wait=log.info):
        return _plan(_claim(folder, key), teacher, manifest, processor)[0]


def write_cache_shard(
    folder: Path, teacher: BigfootForCTC, manifest: Path, processor: Processor, batch_size: int, number: int
) -> bool:
    """Write one shard of a cache, unless it is there and whole.

    Args:
        folder: of ``plan_cache``.
        teacher: see ``write_cache``, as the others.
        manifest: of train.
        processor: of the run.
        batch_size: see there.
        number: of the shard.

    Returns:
        Whether it was written.

    Raises:
        DataError: it is damaged or cannot be written.
    """
    held = _read_key(folder)
    plan = _plan(held, teacher, manifest, processor)[0]
    if is_vouched(folder, number, plan[number]):
        return False
    rows = _run_teacher(held, teacher, manifest, processor, batch_size, sum(map(len, plan[:number])))
    _write_rows(folder, number, plan[number], rows)
    return True


def _plan(
    key: CacheKey, teacher: BigfootForCTC, manifest: Path, processor: Processor
) -> tuple[list[list[str]], list[int]]:
    """Names of the utterances of every shard, and the bytes of every utterance."""
    order = evaluation_order(manifest)
    samples = torch.tensor([round(seconds * processor.sample_rate) for _, seconds in order])
    frames = teacher.speech_encoder.feature_encoder.frame_lengths(samples).tolist()
    sizes = _estimate_sizes(frames, key, teacher.config)
    return _plan_shards([name for name, _ in order], sizes), sizes


def _run_teacher(
    key: CacheKey, teacher: BigfootForCTC, manifest: Path, processor: Processor, batch_size: int, skip: int,
    doing: str | None = None,
) -> Iterator[dict[str, Tensor]]:  # fmt: skip
    audio = Processor(None, processor.do_normalize, processor.sample_rate)
    batches = evaluation_batches(manifest, audio, batch_size, skip=skip, doing=doing)
    return _teacher_rows(freeze_teacher(teacher), batches, key)


def _write_rows(folder: Path, number: int, names: Sequence[str], rows: Iterator[dict[str, Tensor]]) -> None:
    found: dict[str, Tensor] = {}
    for _ in names:
        found |= next(rows)
    write_shard(folder, number, names, found)


def _claim(folder: Path, key: CacheKey) -> CacheKey:
    """Return the key of the cache that is there, which may hold more than is needed, or a new one."""
    if (folder / "cache.json").exists():
        held = _read_key(folder)
        reasons = held.why_not(key)
        if reasons:
            raise DataError(
                f"distill.cache: {folder} is not for this run, it holds {reasons}; name another folder, or remove it"
            )
        return held
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise DataError(f"distill.cache: {folder} is not empty and no cache (no cache.json); name another folder")
        replace_text(folder / "cache.json", json.dumps({"format": _FORMAT, "key": asdict(key)}, indent=1))
    except OSError as error:
        raise DataError(f"distill.cache: {folder} cannot be written ({error})") from error
    return key


def _read_key(folder: Path) -> CacheKey:
    try:
        content = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']}, not {_FORMAT}")
        key: CacheKey = parse_as(CacheKey, content["key"])
        return key
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"distill.cache: {folder}/cache.json cannot be read ({error}); remove the folder") from error


def _estimate_sizes(frames: Sequence[int], key: CacheKey, config: BigfootConfig) -> list[int]:
    stored = [(field, width_of(field, layer, config)) for field, layers in key.targets.items() for layer in layers]
    count = key.packing.count_bytes
    return [sum(count(field, max(0, length), width) for field, width in stored) for length in frames]


def _plan_shards(names: Sequence[str], sizes: Sequence[int]) -> list[list[str]]:
    shards: list[list[str]] = []
    filled = _SHARD_BYTES
    for name, size in zip(names, sizes, strict=True):
        if filled + size > _SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def _check_room(folder: Path, needed: int, utterances: int) -> None:
    free = shutil.disk_usage(folder).free
    size = f"{needed / 1e6:,.1f} MB of the teacher's targets of {utterances} utterances"
    if needed > free:
        raise DataError(
            f"distill.cache: {size} do not fit into {folder}, where {free / 1e6:,.1f} MB are free; set "
            "cache_dtype=int8, compare fewer layers, or name a folder on a larger disk"
        )
    log.info("distill: %s will be written to %s (%s MB free)", size, folder, f"{free / 1e6:,.0f}")


def _teacher_rows(teacher: BigfootForCTC, batches: Iterator[Batch], key: CacheKey) -> Iterator[dict[str, Tensor]]:
    outputs = {f"output_{field}": True for field in key.targets if field in TUPLES}
    for batch in (each.to(teacher.device) for each in batches):
        output = compute_targets(teacher, batch.input_values, batch.attention_mask, **outputs)
        assert output.frame_mask is not None
        probes = _probe(batch.input_values, batch.input_lengths)
        for row, (name, length) in enumerate(zip(batch.ids, output.frame_mask.sum(-1).tolist(), strict=True)):
            found = {f"{name}/probe": probes[row]}
            for field, layers in key.targets.items():
                for layer in layers:
                    whole = output[field][layer] if isinstance(output[field], tuple) else output[field]
                    for part, tensor in key.packing.pack(field, whole[row, :length]).items():
                        found[_name(name, field, layer, part)] = tensor
            yield found


def _name(utterance: str, field: str, layer: int, part: str) -> str:
    return f"{utterance}/{field}.{layer}.{part}"


def _probe(input_values: Tensor, lengths: Tensor) -> Tensor:
    """Length and a few samples of every waveform, (B, 1 + _PROBES) on the CPU."""
    steps = torch.arange(_PROBES, device=lengths.device)
    at = steps * (lengths[:, None] - 1).clamp(min=0) // (_PROBES - 1)
    return torch.cat([lengths[:, None].float(), input_values.gather(1, at)], dim=1).cpu()


class TeacherCache:
    """A written cache in the teacher's place.

    Args:
        folder: of ``write_cache``.
        config: the teacher's shape.
        targets: what is read of it, which may be less than it holds.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, folder: Path, config: BigfootConfig, targets: Targets) -> None:
        self.folder, self.config, self._targets = folder, config, targets
        key = _read_key(folder)
        self._packing, self._normalized = key.packing, key.normalized
        shards = sorted(folder.glob("shard_*.safetensors"))
        self._shard_of = {name: path for path in shards for name in read_voucher(path)["utterances"]}
        self._open = lru_cache(maxsize=_OPEN_SHARDS)(open_shard_file)

    def read(self, batch: Batch, num_frames: int | None) -> CTCOutput:
        """Read the teacher's output for a batch.

        Args:
            batch: with waveforms as they were.
            num_frames: T of the result, which the longest utterance may not fill; None for as many as it has.

        Returns:
            Its output on the batch's device, 0 on padding, with its frame mask; what no loss reads is None, or empty
            in a tuple.

        Raises:
            DataError: an utterance is not in it, or was another when it was written.
        """
        device = batch.input_values.device
        # lhotse renames an utterance that it gives twice, where an epoch ends with fewer than there are processes.
        names = [name if name in self._shard_of else re.sub(r"_dup\d+$", "", name) for name in batch.ids]
        files = [self._open(self._find(name)) for name in names]
        self._compare_audio(names, files, _probe(batch.values_for(self._normalized), batch.input_lengths))
        fields: dict[str, Any] = {}
        for field, layers in self._targets.items():
            rows = {layer: self._read_field(names, files, field, layer) for layer in layers}
            lengths = torch.tensor([len(row) for row in next(iter(rows.values()))])
            size = int(lengths.max()) if num_frames is None else num_frames
            read = {layer: _stack(found, size).to(device) for layer, found in rows.items()}
            fields["frame_mask"] = (torch.arange(size) < lengths[:, None]).to(device)
            if field in TUPLES:
                fields[field] = tuple(read.get(at, torch.empty(0)) for at in range(self.config.num_hidden_layers + 1))
            else:
                fields[field] = read[0]
        return CTCOutput(**fields)

    def _find(self, name: str) -> Path:
        if name not in self._shard_of:
            raise DataError(f"distill.cache: {self.folder} holds nothing of {name}; remove the folder")
        return self._shard_of[name]

    def _compare_audio(self, names: Sequence[str], files: Sequence[Any], probes: Tensor) -> None:
        for name, file, probe in zip(names, files, probes, strict=True):
            stored = read_tensor(file, f"{name}/probe")
            largest = stored[1:].abs().max()
            if stored[0] != probe[0] or (stored - probe)[1:].abs().max() > _SAME_AUDIO * largest + 1e-6:
                raise DataError(
                    f"distill.cache: {name} has other audio than when {self.folder} was written; remove the folder"
                )

    def _read_field(self, names: Sequence[str], files: Sequence[Any], field: str, layer: int) -> list[Tensor]:
        """(T, D) of each utterance."""
        width, packing, rows = width_of(field, layer, self.config), self._packing, []
        for name, file in zip(names, files, strict=True):
            parts = packing.parts(field, width)
            packed = {part: read_tensor(file, _name(name, field, layer, part)) for part in parts}
            rows.append(packing.unpack(field, packed, width))
        return rows


def _stack(rows: Sequence[Tensor], frames: int) -> Tensor:
    return torch.stack([torch.nn.functional.pad(row, (0, 0, 0, frames - len(row))) for row in rows])
