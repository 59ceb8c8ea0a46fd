"""The protocol of an encoder of another kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def run_one_by_one(audio: AudioBatch, encode: Callable[[Tensor], Sequence[Tensor]]) -> Frames:
    """Encode a batch utterance by utterance, where what padding does inside a model is not ours to promise.

    Args:
        audio: see ``AudioBatch``; nothing is masked.
        encode: from (N,) samples to L+1 of (T, D).

    Examples:
        >>> batch = AudioBatch(torch.ones(2, 4), torch.tensor([[True] * 4, [True, True, False, False]]))
        >>> found = run_one_by_one(batch, lambda samples: [samples[:, None]])
        >>> found.frame_mask.sum(-1).tolist(), found.hidden_states[0][..., 0].tolist()
        ([4, 2], [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]])
    """
    device = audio.input_values.device
    found = [
        encode(row[: int(length)])
        for row, length in zip(audio.input_values, audio.attention_mask.sum(-1), strict=True)
    ]
    lengths = torch.tensor([len(states[0]) for states in found], device=device)
    longest = max(1, int(lengths.max()))
    joined = [
        torch.stack([nn.functional.pad(state, (0, 0, 0, longest - len(state))) for state in layer]).to(device)
        for layer in zip(*found, strict=True)
    ]
    return Frames(joined, torch.arange(longest, device=device) < lengths[:, None])


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
