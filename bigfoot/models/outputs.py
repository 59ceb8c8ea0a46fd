"""What the encoder gives."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class SpeechEncoderOutput(ModelOutput):
    """What the encoder gives.

    Args:
        last_hidden_state: (B, T, D); after the final norm where norms come first (``do_stable_layer_norm``).
        hidden_states: L+1 of (B, T, D) where asked for; 0 is the input of the first layer, i the output of layer i-1.
        attentions: L of (B, H, T, T) where asked for; None for a layer without attention, and where time is reduced
            of so many frames fewer.
        conv_features: (B, T, C), what the feature encoder gave.
        frame_mask: (B, T), True = real frame; None where no ``attention_mask`` was given.
        attention_values: L of (B, T, H * head_dim) where asked for, what attention mixes; None where there is none.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor | None, ...] | None = None
    conv_features: Tensor | None = None
    frame_mask: Tensor | None = None
    attention_values: tuple[Tensor | None, ...] | None = None
