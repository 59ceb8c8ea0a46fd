"""What is drawn for a batch of training: SpecAugment's masks, and the chunks of a student that streams."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bigfoot.data.augment import spec_augment_masks, stable_seed
from bigfoot.data.batches import Batch
from bigfoot.data.settings import SpecAugmentConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.streaming_shape import StreamingShape

WHOLE = 1_000_000
"""Frames of a chunk that holds any recording."""


def draw_chunk(shape: StreamingShape, seed: int, key: str) -> int:
    """Draw the frames of a batch's chunks (Zhang et al., 2020, section 3.2).

    Half of the batches have the model's own; of the others as many have chunks half as long, two and four times as
    long, and whole recordings.

    Args:
        shape: of the model.
        seed: of the run.
        key: of the batch, unique to a step.

    Examples:
        >>> [draw_chunk(StreamingShape(16, 4, dynamic=True), 7, str(step)) for step in range(6)]
        [16, 16, 1000000, 32, 16, 16]
    """
    if not shape.dynamic:
        return shape.chunk
    others = (max(1, shape.chunk // 2), 2 * shape.chunk, 4 * shape.chunk, WHOLE)
    drawn = np.random.default_rng(stable_seed(seed, "chunk", key)).integers(2 * len(others))
    return others[drawn] if drawn < len(others) else shape.chunk


@dataclass(frozen=True)
class MaskDrawer:
    """Draws all of it, from the batch's position in the stream alone: the same in any process.

    Args:
        count_frames: gives the frames of (B,) samples.
        channels: of the features.
        config: shares and lengths of the masks.
        seed: of the run.
        stream: of a student that streams.
    """

    count_frames: Callable[[Tensor], Tensor]
    channels: int
    config: SpecAugmentConfig
    seed: int
    stream: StreamingShape | None

    @classmethod
    def of(cls, student: BigfootForCTC, config: SpecAugmentConfig, seed: int) -> MaskDrawer:
        """Take what is needed of a student.

        Args:
            student: that the batches are for.
            config: shares and lengths of the masks.
            seed: of the run.
        """
        frames = student.speech_encoder.feature_encoder.frame_lengths
        return cls(frames, student.config.hidden_size, config, seed, student.config.stream)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Draw the masks of a batch of the stream.

        Returns:
            ``mask_time_indices``, ``mask_feature_indices``, and ``chunk_frames`` for a student that streams.
        """
        lengths = self.count_frames(batch.input_lengths)
        # Padding the longest utterance to a whole frame may add one frame to the real ones.
        keys = [f"{batch.position}/{name}" for name in batch.ids]
        time_mask, feature_mask = spec_augment_masks(lengths.tolist(), self.channels, self.config, self.seed, keys)
        masks = {
            "mask_time_indices": torch.from_numpy(time_mask),
            "mask_feature_indices": torch.from_numpy(feature_mask),
        }
        if self.stream is not None:
            masks["chunk_frames"] = torch.tensor(draw_chunk(self.stream, self.seed, str(batch.position)))
        return masks


def draw_masks(student: BigfootForCTC, batch: Batch, config: SpecAugmentConfig, seed: int) -> dict[str, Tensor]:
    """Draw the masks of one batch; see ``MaskDrawer``.

    Args:
        student: that the batch is for.
        batch: of the stream.
        config: shares and lengths of the masks.
        seed: of the run.
    """
    return MaskDrawer.of(student, config, seed)(batch)


def drawer_for_workers(student: BigfootForCTC, config: SpecAugmentConfig, seed: int) -> MaskDrawer | None:
    """Return what workers draw masks with; None where they could not have it without a copy of the student.

    Args:
        student: that the batches are for.
        config: shares and lengths of the masks.
        seed: of the run.
    """
    # Elsewhere a worker gets all it has by way of pickle.
    return MaskDrawer.of(student, config, seed) if multiprocessing.get_start_method() == "fork" else None
