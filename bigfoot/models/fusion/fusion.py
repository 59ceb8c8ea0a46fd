"""From the hidden states of a text model and streams of speech to logits: three kinds of fusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.models.fusion.attention import GatedCrossAttention
from bigfoot.models.fusion.streams import Frames, StreamProjection, StreamShape, join_streams
from bigfoot.models.tasks.pooling.base import masked_mean

FUSIONS = ("late", "concat", "gated")


@dataclass(frozen=True)
class FusionShape:
    """Shape of a fusion.

    Args:
        text_width: D, of the text model.
        num_outputs: K logits.
        streams: of speech, by name; at least one.
        kind: ``late`` averages the logits of both branches, ``concat`` classifies both pooled vectors, ``gated`` lets
            each attend to the other before.
        width: common to all streams.
        norm: whether a LayerNorm follows each projection.
        num_heads: of ``gated``.
        dropout: before the outputs and of the attention, in training.
        embedding_size: E, of the embeddings that a contrastive loss compares.
    """

    text_width: int
    num_outputs: int
    streams: dict[str, StreamShape] = field(default_factory=dict)
    kind: str = "gated"
    width: int = 512
    norm: bool = True
    num_heads: int = 4
    dropout: float = 0.1
    embedding_size: int = 256


class FusedAnswers(NamedTuple):
    """Output of a fusion.

    Args:
        logits: (B, K).
        text: (B, E), embedding of the text alone.
        speech: (B, E), of the speech alone.
    """

    logits: Tensor
    text: Tensor
    speech: Tensor


class Fusion(nn.Module):
    """Speech and text to one answer; padding of either changes nothing.

    Args:
        shape: of the fusion.

    Examples:
        >>> fusion = Fusion(FusionShape(text_width=8, num_outputs=2, streams={"fbank": StreamShape(4)}, width=6))
        >>> text = Frames(torch.zeros(1, 3, 8), torch.ones(1, 3, dtype=torch.bool))
        >>> fusion(text, {"fbank": Frames(torch.zeros(1, 9, 4), torch.ones(1, 9, dtype=torch.bool))}).logits.shape
        torch.Size([1, 2])
    """

    def __init__(self, shape: FusionShape) -> None:
        super().__init__()
        self.shape, width = shape, shape.text_width
        self.projections = nn.ModuleDict({
            name: StreamProjection(stream, shape.width, width, shape.norm) for name, stream in shape.streams.items()
        })  # fmt: skip
        self.text_embedding = nn.Linear(width, shape.embedding_size)
        self.speech_embedding = nn.Linear(width, shape.embedding_size)
        self.dropout = nn.Dropout(shape.dropout)
        if shape.kind == "gated":
            self.to_speech = GatedCrossAttention(width, shape.num_heads, shape.dropout)
            self.to_text = GatedCrossAttention(width, shape.num_heads, shape.dropout)
        if shape.kind == "late":
            self.text_output = nn.Linear(width, shape.num_outputs)
            self.speech_output = nn.Linear(width, shape.num_outputs)
        else:
            self.output = nn.Linear(2 * width, shape.num_outputs)

    def forward(self, text: Frames, streams: dict[str, Frames]) -> FusedAnswers:
        """Answer.

        Args:
            text: (B, U, D), the text model's last hidden state.
            streams: of speech, by name, each at its own rate.

        Returns:
            See ``FusedAnswers``.
        """
        speech = join_streams([project(streams[name]) for name, project in self.projections.items()])
        pooled_text, pooled_speech = masked_mean(*text), masked_mean(*speech)
        text_embedding, speech_embedding = self.text_embedding(pooled_text), self.speech_embedding(pooled_speech)
        if self.shape.kind == "gated":
            asking = self.to_speech(text, speech)
            pooled_speech = masked_mean(self.to_text(speech, text), speech.frame_mask)
            pooled_text = masked_mean(asking, text.frame_mask)
        if self.shape.kind == "late":
            logits = self.text_output(self.dropout(pooled_text)) + self.speech_output(self.dropout(pooled_speech))
            return FusedAnswers(logits / 2, text_embedding, speech_embedding)
        both = self.dropout(torch.cat([pooled_text, pooled_speech], -1))
        return FusedAnswers(self.output(both), text_embedding, speech_embedding)
