"""Input of a decoder: streams of features, each projected by itself, fused into one or concatenated."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bigfoot.models.attention import attention_key_mask
from bigfoot.models.decoders.attention import Attention, sinusoids, token_positions
from bigfoot.models.decoders.fbank import Fbank
from bigfoot.models.decoders.shape import DecoderShape

NUM_BANDS = 80
"""Bands of the stream ``fbank``."""


@dataclass(frozen=True)
class StreamInputs:
    """Features that streams are made of.

    Args:
        input_values: (B, N).
        last_hidden_state: (B, T, D).
        hidden_states: L+1 of (B, T, D); None where the stream ``layers`` is not asked for.
        logits: (B, T, V) of the CTC head; None without one.
        frame_mask: (B, T), True = real; None where all are.
    """

    input_values: Tensor
    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None
    logits: Tensor | None
    frame_mask: Tensor | None


@dataclass(frozen=True)
class Sizes:
    """Sizes of the features.

    Args:
        encoder: width D of the encoder.
        num_states: L+1 hidden states.
        vocab: tokens V of the CTC head.
        window: samples that a frame covers.
        hop: samples from frame to frame.
    """

    encoder: int
    num_states: int
    vocab: int
    window: int
    hop: int


class AudioStreams(nn.Module):
    """Fuse the streams of a shape into one sequence of vectors.

    Sinusoids, counted from the first real frame, give each vector its position: a text with repeated words cannot be
    followed from the sound of its frames alone.

    Args:
        shape: which streams, and how they are projected and fused.
        sizes: of the features.
        width: M of the output; of each stream, where ``fuse`` is ``decoder``.
    """

    def __init__(self, shape: DecoderShape, sizes: Sizes, width: int) -> None:
        super().__init__()
        self.names, self.fuse, self.stride = list(shape.streams), shape.fuse, shape.stride
        self.width = width
        widths = {"encoder": sizes.encoder, "layers": sizes.encoder, "fbank": NUM_BANDS, "posteriors": sizes.vocab}
        self.projections = nn.ModuleDict({name: self._build(shape, widths[name], width) for name in self.names})
        if "layers" in self.names:
            self.layer_weights = nn.Parameter(torch.zeros(sizes.num_states))
        if "fbank" in self.names:
            self.fbank = Fbank(NUM_BANDS, sizes.window, sizes.hop)
            self.fbank_norm = nn.LayerNorm(NUM_BANDS)
        others = self.names[1:]
        if others and self.fuse == "pool":
            self.stream_weights = nn.Parameter(torch.zeros(len(self.names)))
        elif others and self.fuse == "attention":
            self.attentions = nn.ModuleDict({n: Attention(width, width, shape.num_heads, 0.0) for n in others})
            self.gates = nn.Parameter(torch.zeros(len(others)))

    def _build(self, shape: DecoderShape, size: int, width: int) -> nn.Module:
        if shape.projection == "linear":
            return nn.Linear(size, width)
        return nn.Conv1d(size, width, kernel_size=3, stride=shape.stride, padding=1)

    @property
    def needs_layers(self) -> bool:
        """Whether hidden states of all layers are needed."""
        return "layers" in self.names

    def _features(self, name: str, inputs: StreamInputs) -> Tensor:
        if name == "encoder":
            return inputs.last_hidden_state
        if name == "layers":
            assert inputs.hidden_states is not None
            weights = self.layer_weights.softmax(0)
            return sum((w * s for w, s in zip(weights, inputs.hidden_states, strict=True)), start=weights.new_zeros(()))
        if name == "posteriors":
            assert inputs.logits is not None
            return inputs.logits.softmax(-1)
        found: Tensor = self.fbank_norm(self.fbank(inputs.input_values))
        frames = inputs.last_hidden_state.shape[1]
        # What is padded to a whole frame at the end of a batch may give the convolutions a frame more.
        return nn.functional.pad(found[:, :frames], (0, 0, 0, max(0, frames - found.shape[1])))

    def _project(self, name: str, inputs: StreamInputs) -> Tensor:
        x, projection = self._features(name, inputs), self.projections[name]
        if inputs.frame_mask is not None:
            # The convolution must find zeros where the utterance alone would have its border.
            x = x.where(inputs.frame_mask[..., None], 0.0)
        if isinstance(projection, nn.Conv1d):
            return projection(x.transpose(1, 2)).transpose(1, 2)
        return projection(x)[:, :: self.stride]

    def forward(self, inputs: StreamInputs) -> tuple[Tensor, Tensor | None]:
        """Compute the memory of a decoder.

        Args:
            inputs: features of a batch.

        Returns:
            (B, T', M), or (B, T', S * M) of streams side by side, every ``stride``-th frame, and which are real,
            (B, T') or None.
        """
        mask = None if inputs.frame_mask is None else inputs.frame_mask[:, :: self.stride]
        fused = self._fuse([self._project(name, inputs) for name in self.names], mask)
        places = token_positions(fused[..., 0], 0, mask)
        when = sinusoids(places, self.width).to(fused.dtype)
        return fused + when.repeat(1, 1, fused.shape[-1] // self.width), mask

    def _fuse(self, streams: list[Tensor], mask: Tensor | None) -> Tensor:
        if len(streams) == 1:
            return streams[0]
        if self.fuse == "decoder":
            return torch.cat(streams, dim=-1)
        if self.fuse == "pool":
            weights = self.stream_weights.softmax(0)
            return (torch.stack(streams, -1) * weights).sum(-1)
        first, key_mask = streams[0], attention_key_mask(mask)
        fused = first
        for gate, attention, stream in zip(self.gates.tanh(), self.attentions.values(), streams[1:], strict=True):
            assert isinstance(attention, Attention)
            fused = fused + gate * attention(first, *attention.project(stream), key_mask)
        return fused
