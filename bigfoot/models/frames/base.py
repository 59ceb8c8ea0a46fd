"""The protocol of an encoder of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class AudioBatch(NamedTuple):
    """Utterances of a batch.

    Args:
        input_values: (B, N) samples at 16 kHz, normalized where the processor asks for it; 0 on padding.
        attention_mask: (B, N) bool, True = real, from the front of each row on.
        masked_frames: (B, T) bool, True where SpecAugment hides a frame; None for none.
        prompts: (P, D) learned frames to put in front of the layers' input; None for none.
    """

    input_values: Tensor
    attention_mask: Tensor
    masked_frames: Tensor | None = None
    prompts: Tensor | None = None


class Frames(NamedTuple):
    """Output of an encoder.

    Args:
        hidden_states: L+1 of (B, T, D): the layers' input, then the output of each layer; the last one is pooled.
        frame_mask: (B, T) bool, True = real, prompts among them; real frames stand at the front of a row.
    """

    hidden_states: Sequence[Tensor]
    frame_mask: Tensor


class FrameEncoder(nn.Module):
    """Turns audio into frames; what is real in them must not depend on padding.

    A subclass sets ``hidden_size`` and ``num_layers``, and implements ``frames`` and ``frame_lengths``. ``layers`` and
    ``front`` say what ``freeze``, adapters and learning rates mean by ``layers.0-3`` and ``feature_encoder``.

    Args:
        settings: of its kind, as they stand in the model's configuration: plain JSON values.
    """

    takes_prompts: ClassVar[bool] = False
    """Whether ``frames`` puts ``prompts`` in front."""
    gives_logits: ClassVar[bool] = False
    """Whether its last frames are CTC logits already, so that the head passes them on."""

    hidden_size: int
    num_layers: int
    num_held_params: int = 0
    """Parameters that are none of PyTorch's."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings

    @property
    def layers(self) -> nn.ModuleList:
        """Its layers, ``num_layers`` of them; none by default."""
        return nn.ModuleList()

    @property
    def front(self) -> Sequence[nn.Module]:
        """Modules before the layers, which ``feature_encoder`` means; none by default."""
        return ()

    def frames(self, audio: AudioBatch) -> Frames:
        """Encode a batch.

        Args:
            audio: see ``AudioBatch``.

        Returns:
            See ``Frames``.
        """
        raise NotImplementedError

    def frame_lengths(self, samples: Tensor) -> Tensor:
        """Return how many frames so many samples give, prompts not among them.

        Args:
            samples: any shape of whole numbers.
        """
        raise NotImplementedError


def prepend_prompts(x: Tensor, frame_mask: Tensor | None, prompts: Tensor) -> tuple[Tensor, Tensor | None]:
    """Put learned frames in front of the real ones.

    Args:
        x: (B, T, D).
        frame_mask: (B, T), True = real; None where all are.
        prompts: (P, D).

    Returns:
        (B, P + T, D), and its mask, in which prompts are real.

    Examples:
        >>> x, mask = prepend_prompts(torch.zeros(1, 2, 3), torch.tensor([[True, False]]), torch.ones(1, 3))
        >>> x[..., 0].tolist(), mask.tolist()
        ([[1.0, 0.0, 0.0]], [[True, True, False]])
    """
    joined = torch.cat([prompts.to(x.dtype).expand(len(x), -1, -1), x], 1)
    if frame_mask is not None:
        frame_mask = torch.cat([frame_mask.new_ones(len(x), len(prompts)), frame_mask], 1)
    return joined, frame_mask
