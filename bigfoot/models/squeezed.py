"""An encoder whose layers see several frames as one, as SEW and SEW-D have it (Wu et al., 2021, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from bigfoot.models.attention import attention_key_mask
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.outputs import SpeechEncoderOutput
from bigfoot.models.streaming import Chunks
from bigfoot.models.transformer import TransformerEncoder


class Upsampling(nn.Module):
    """A linear map that makes several frames of one.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.factor = config.squeeze_factor
        self.projection = nn.Linear(config.hidden_size, config.hidden_size * self.factor)
        self.activation = ACT2FN[config.feat_extract_activation]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T', D) to (B, T' * factor, D)."""
        return self.activation(self.projection(x)).unflatten(-1, (self.factor, -1)).flatten(1, 2)


class SqueezedEncoder(TransformerEncoder):
    """Means of ``squeeze_factor`` frames, with positions of a convolution that strides as far, go into the layers.

    Frames at the end that make no whole group are in no layer; what comes out for them is zero, in a batch as alone.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__(config)
        self.factor = config.squeeze_factor
        self.upsample = Upsampling(config)

    def squeeze(self, x: Tensor, frame_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Make one frame of several, and add positions.

        Args:
            x: (B, T, D), zero in the padding.
            frame_mask: (B, T), True = real; None where all are.

        Returns:
            (B, T', D), T' at least 1, and its mask: true where all frames of a group are real.
        """
        groups = x.shape[1] // self.factor
        if groups == 0:
            x = nn.functional.pad(x, (0, 0, 0, self.factor - x.shape[1]))
            groups, frame_mask = 1, x.new_zeros(len(x), self.factor, dtype=torch.bool)
        pooled = x[:, : groups * self.factor].unflatten(1, (groups, -1)).mean(2)
        positions = self.pos_conv_embed(x, frame_mask)[:, :groups]
        if frame_mask is not None:
            frame_mask = frame_mask[:, : groups * self.factor].unflatten(1, (groups, -1)).all(-1)
        return pooled + positions, frame_mask

    def _spread(self, x: Tensor, mask: Tensor | None, frames: int) -> Tensor:
        """Bring (B, T' * factor, D) to (B, T, D), zero where no layer saw a frame."""
        if mask is not None:
            x = x * mask.repeat_interleave(self.factor, 1).unsqueeze(-1)
        return nn.functional.pad(x, (0, 0, 0, frames - x.shape[1]))

    def forward(
        self, x: Tensor, frame_mask: Tensor | None, output_hidden_states: bool, output_attentions: bool,
        chunks: Chunks | None = None,
    ) -> SpeechEncoderOutput:  # fmt: skip
        """Encode (B, T, D) frames; hidden states of the layers come at the rate of the frames, each repeated."""
        frames = x.shape[1]
        if frame_mask is not None:
            x = x * frame_mask.unsqueeze(-1)
        x, mask = self.squeeze(x, frame_mask)
        key_mask = attention_key_mask(mask)
        hidden_states, attentions = self._run_layers(self.enter(x), key_mask, output_attentions)
        repeated = tuple(
            self._spread(state.repeat_interleave(self.factor, 1), mask, frames)
            for state in (hidden_states if output_hidden_states else ())
        )
        return SpeechEncoderOutput(
            last_hidden_state=self._spread(self.upsample(hidden_states[-1]), mask, frames),
            hidden_states=repeated if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


def build_encoder(config: BigfootConfig) -> TransformerEncoder:
    """Build positions and layers of a shape.

    Args:
        config: the shape.
    """
    return SqueezedEncoder(config) if config.squeeze_factor > 1 else TransformerEncoder(config)
