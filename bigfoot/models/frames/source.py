"""What stands in the place of an encoder that does not learn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor, nn

from bigfoot.models.outputs import SpeechEncoderOutput


class FrameSource(Protocol):
    """Has the frames of utterances without the encoder."""

    def serves(self, *, training: bool) -> bool:
        """Return whether a batch is encoded here.

        Args:
            training: whether it is one of training.
        """

    def encode(self, input_values: Tensor, attention_mask: Tensor | None) -> SpeechEncoderOutput:
        """Encode a batch; see ``SpeechEncoder.forward``.

        Args:
            input_values: (B, N).
            attention_mask: (B, N), True or 1 = real; None where all are.
        """

    def pool_audio(
        self, parts: Iterable[nn.Module], input_values: Tensor, attention_mask: Tensor | None
    ) -> list[Tensor]:
        """Return what parts of a head take of the waveform, (B, P) each; nothing in them is learned.

        Args:
            parts: with a ``key``.
            input_values: (B, N).
            attention_mask: (B, N), True or 1 = real; None where all are.
        """
