"""Frames of a frozen encoder, computed once: for every epoch, every evaluation, and all seeds and folds of a task.

Frames are kept in files by their audio, so that runs with other splits and orders find them. An utterance is encoded by
itself, not within a batch: what is kept depends on no other utterance, to the last bit.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import zlib
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bigfoot.data.settings import DataConfig, SpecAugmentConfig
from bigfoot.errors import OutputError
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.encoder import SpeechEncoder
from bigfoot.models.outputs import SpeechEncoderOutput
from bigfoot.storage.caches import mark_cache
from bigfoot.storage.replace import swapped_in
from bigfoot.tasks.settings import TrainTaskConfig

log = logging.getLogger("bigfoot")

_FORMAT = 1
_GIGABYTE = 10**9
_LEAST_FREE = _GIGABYTE
"""Bytes that are left free on the disk."""
_MOST_POOLED = 100_000
"""Vectors of waveforms that are remembered."""
Frames = npt.NDArray[np.float32]


def is_at_rest(encoder: nn.Module, frozen: Sequence[nn.Parameter]) -> bool:
    """Return whether nothing of an encoder learns.

    Args:
        encoder: with its adapters and prompts.
        frozen: parameters that do not learn, from the first step to the last.

    Examples:
        >>> layer = nn.Linear(2, 3)
        >>> is_at_rest(layer, [layer.weight, layer.bias]), is_at_rest(layer, [layer.weight])
        (True, False)
    """
    return {id(parameter) for parameter in encoder.parameters()} <= {id(parameter) for parameter in frozen}


def find_random(data: DataConfig, masks: SpecAugmentConfig) -> list[str]:
    """List the settings by which an encoder's input or output differs from epoch to epoch.

    Args:
        data: of the run.
        masks: of the training.

    Examples:
        >>> find_random(DataConfig(crop_seconds=3.0), SpecAugmentConfig(mask_time_prob=0.0))
        ['data.crop_seconds']
    """
    augment = data.augment
    found = {
        "data.crop_seconds": data.crop_seconds is not None,
        "data.augment.speed": any(speed != 1.0 for speed in augment.speed),
        "data.augment.gain_db": any(augment.gain_db),
        "data.augment.noise_probability": augment.noise_probability > 0,
        "spec_augment.mask_time_prob": masks.mask_time_prob > 0 and masks.mask_time_length > 0,
        "spec_augment.mask_feature_prob": masks.mask_feature_prob > 0 and masks.mask_feature_length > 0,
    }
    return [name for name, holds in found.items() if holds]


def find_frames_folder(config: TrainTaskConfig, run_dir: Path) -> Path:
    """Return where the frames of a run are kept.

    Args:
        config: of the training.
        run_dir: of the run.
    """
    return Path(config.frames_folder or run_dir / "frames").expanduser()


class KeptFrames:
    """What a frozen encoder gives for an utterance, from a folder, or computed and kept there.

    Args:
        folder: of this encoder and others; made where missing, may be removed at any time.
        encoder: does not learn; run without dropout.
        gigabytes: what the folder may grow to; beyond it frames are computed anew each time, to the same bits.
        all_layers: keep all hidden states, not the last alone.
        in_training: serve batches of training too, which must be the same in every epoch.
    """

    def __init__(
        self, folder: Path, encoder: SpeechEncoder, gigabytes: float, *, all_layers: bool, in_training: bool
    ) -> None:
        self._encoder, self._all_layers, self._in_training = encoder, all_layers, in_training
        self._root, self._folder = folder, folder / digest_encoder(encoder, all_layers=all_layers)
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self._room: int | None = int(gigabytes * _GIGABYTE) - used
        self.computed = 0

    def serves(self, *, training: bool) -> bool:
        """Return whether a batch is encoded here.

        Args:
            training: whether it is one of training.
        """
        return self._in_training or not training

    @torch.no_grad()
    def encode(self, input_values: Tensor, attention_mask: Tensor | None) -> SpeechEncoderOutput:
        """Encode a batch; see ``SpeechEncoder.forward``.

        Args:
            input_values: (B, N), normalized by the processor.
            attention_mask: (B, N), True or 1 = real; None where all are.
        """
        rows = [self._frames(samples) for samples in _cut_rows(input_values, attention_mask)]
        longest = max(1, *(row.shape[1] for row in rows))
        batch = np.zeros((rows[0].shape[0], len(rows), longest, rows[0].shape[2]), np.float32)
        for index, row in enumerate(rows):
            batch[:, index, : row.shape[1]] = row
        states = torch.from_numpy(batch).to(input_values.device)
        lengths = torch.tensor([row.shape[1] for row in rows], device=states.device)
        return SpeechEncoderOutput(
            last_hidden_state=states[-1], hidden_states=tuple(states) if self._all_layers else None,
            frame_mask=torch.arange(longest, device=states.device) < lengths[:, None],
        )  # fmt: skip

    @torch.no_grad()
    def pool_audio(
        self, parts: Iterable[nn.Module], input_values: Tensor, attention_mask: Tensor | None
    ) -> list[Tensor]:
        """Return what parts of a head take of the waveform, (B, P) each, of each utterance by itself.

        Args:
            parts: with a ``key``, equal where their numbers are; nothing in them is learned.
            input_values: (B, N), normalized by the processor.
            attention_mask: (B, N), True or 1 = real; None where all are.
        """
        rows = _cut_rows(input_values, attention_mask)
        names = [_name(row) for row in rows]
        return [torch.stack([_pool(part, *pair) for pair in zip(names, rows, strict=True)]) for part in parts]

    def _frames(self, samples: Tensor) -> Frames:
        """Return (S, T, D), real frames alone."""
        name = _name(samples)
        path = self._folder / name[:2] / f"{name}.frames"
        found = _read(path)
        if found is None:
            found = self._compute(samples)
            self.computed += 1
            self._keep(path, found)
        return found

    def _compute(self, samples: Tensor) -> Frames:
        was_training = self._encoder.training
        self._encoder.eval()
        try:
            with torch.autocast(samples.device.type, enabled=False):
                mask = torch.ones((1, len(samples)), dtype=torch.bool, device=samples.device)
                output = self._encoder(samples[None].float(), mask, output_hidden_states=self._all_layers)
        finally:
            self._encoder.train(was_training)
        states = output.hidden_states if self._all_layers else (output.last_hidden_state,)
        frames: Frames = torch.stack([state[0, output.frame_mask[0]] for state in states]).float().cpu().numpy()
        return frames

    def _keep(self, path: Path, frames: Frames) -> None:
        size = frames.nbytes + 256
        if self._room is None:
            return
        if self._room < size:
            self._stop("is full (train_task.frames_gb)")
            return
        try:
            mark_cache(self._root)
            if shutil.disk_usage(self._root).free < size + _LEAST_FREE:
                self._stop("has too little room on its disk")
                return
            with swapped_in(path) as beside:
                beside.write_bytes(_encode(frames))
        except (OSError, OutputError) as error:
            self._stop(f"cannot be written ({error})")
            return
        self._room -= size

    def _stop(self, reason: str) -> None:
        """Keep no more: frames that are not there are computed in every epoch, to the same bits."""
        self._room = None
        log.warning("frames: %s %s; what is not in it is computed anew in every epoch", self._root, reason)


_pooled: dict[tuple[Hashable, str], Tensor] = {}
"""What parts of heads took of waveforms, for as long as the process lives: folds share it."""


def _pool(part: nn.Module, name: str, samples: Tensor) -> Tensor:
    key = (cast(Hashable, part.key), name)
    if key not in _pooled:
        found: Tensor = part(samples[None], None)[0]
        if len(_pooled) >= _MOST_POOLED:
            return found
        _pooled[key] = found.cpu()
    return _pooled[key].to(samples.device)


def _cut_rows(input_values: Tensor, attention_mask: Tensor | None) -> list[Tensor]:
    real = torch.ones_like(input_values) if attention_mask is None else attention_mask
    return [row[kept.bool()] for row, kept in zip(input_values, real, strict=True)]


def _name(samples: Tensor) -> str:
    content = samples.detach().float().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def find_kept(folder: Path, model: BigfootForCTC, gigabytes: float) -> KeptFrames | None:
    """Return the frames that a training kept of a model's encoder; None where there are none.

    Args:
        folder: see ``KeptFrames``.
        model: with a task head.
        gigabytes: see ``KeptFrames``.
    """
    assert model.task_head is not None
    layers, encoder = model.task_head.needs_layers, model.speech_encoder
    if not gigabytes or not folder.is_dir() or not (folder / digest_encoder(encoder, all_layers=layers)).is_dir():
        return None
    return KeptFrames(folder, encoder, gigabytes, all_layers=layers, in_training=False)


def digest_encoder(encoder: SpeechEncoder, *, all_layers: bool) -> str:
    """Compute a digest of an encoder's weights and shape, and of what is kept of its output.

    Args:
        encoder: any.
        all_layers: see ``KeptFrames``.
    """
    shape = encoder.config.to_dict()
    # Of heads behind it; and what was where.
    unread = ("task", "decoder", "ctc_head", "vocab_size", "_name_or_path", "architectures", "transformers_version")
    shape = {name: value for name, value in shape.items() if name not in unread}
    parts = [_FORMAT, all_layers, encoder.device.type, shape]
    found = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:32]


def _encode(frames: Frames) -> bytes:
    file = io.BytesIO()
    np.save(file, frames)
    content = file.getvalue()
    return content + zlib.crc32(content).to_bytes(4, "little")


def _read(path: Path) -> Frames | None:
    """Read what was kept; None where there is nothing, or it is damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None  # not there, or not to be read: computed anew, and what cannot be written is reported
    content = whole[:-4]
    if zlib.crc32(content).to_bytes(4, "little") != whole[-4:]:
        log.warning("frames: %s is damaged, and computed anew", path)
        return None
    frames: Frames = np.load(io.BytesIO(content), allow_pickle=False)
    return frames
