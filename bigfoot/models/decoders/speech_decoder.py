"""``SpeechDecoder``: what a model with an encoder has besides, to write text one token at a time."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.models.decoders.mini_gpt import MiniGPT
from bigfoot.models.decoders.pretrained import PretrainedDecoder
from bigfoot.models.decoders.shape import DecoderShape
from bigfoot.models.decoders.streams import AudioStreams, Sizes
from bigfoot.models.decoders.text_model import TextModel


class SpeechDecoder(nn.Module):
    """Streams of features and the model of text that attends to them.

    Args:
        shape: of both.
        sizes: of what is heard.
        blank_id: CTC's blank, which begins and ends the texts of ``MiniGPT``.

    Raises:
        ModelError: see ``PretrainedDecoder``.

    Examples:
        >>> sizes = Sizes(encoder=16, num_states=3, vocab=32, window=400, hop=320)
        >>> SpeechDecoder(DecoderShape(hidden_size=8, num_layers=1, num_heads=2), sizes, 0).name
        'MiniGPT'
    """

    def __init__(self, shape: DecoderShape, sizes: Sizes, blank_id: int) -> None:
        super().__init__()
        self.shape = shape
        self.text: MiniGPT | PretrainedDecoder
        if shape.kind == "pretrained":
            self.text = PretrainedDecoder(shape.language_model, shape.train, shape.lora_rank)
        else:
            self.text = MiniGPT(
                sizes.vocab, blank_id, shape.hidden_size, shape.num_layers, shape.num_heads, dropout=shape.dropout,
                num_streams=len(shape.streams) if shape.fuse == "decoder" else 1,
            )  # fmt: skip
        self.streams = AudioStreams(shape, sizes, self.text.hidden_size)

    @property
    def text_model(self) -> TextModel:
        """The model of text."""
        return cast("TextModel", self.text)

    @property
    def name(self) -> str:
        """As reports have it."""
        return type(self.text).__name__

    @property
    def vocab_size(self) -> int:
        """Tokens V of its logits."""
        if isinstance(self.text, PretrainedDecoder):
            return int(self.text.model.config.vocab_size)
        return self.text.embedding.num_embeddings

    @property
    def max_tokens(self) -> int | None:
        """Most tokens of a text, its begin and end left out; None where there is no limit."""
        return self.text.max_tokens - 2 if isinstance(self.text, PretrainedDecoder) else None

    @property
    def has_ctc_tokens(self) -> bool:
        """Whether its tokens are the CTC head's, so that both can score one text."""
        return self.shape.kind == "mini_gpt"

    def forward(self, labels: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        """Give the logits of every token after those before it.

        Args:
            labels: (B, U), -100 = padding.
            memory: (B, T, M), of ``streams``.
            memory_mask: (B, T), True = real; None where all are.

        Returns:
            (B, U + 1, V): the last real one is that of the end.
        """
        model = self.text_model
        inputs, _ = teacher_forcing(labels, model.begin_id, model.end_id)
        return model(inputs, memory, memory_mask)


def teacher_forcing(labels: Tensor, begin_id: int, end_id: int) -> tuple[Tensor, Tensor]:
    """What a decoder reads and what it is to say.

    Args:
        labels: (B, U), -100 = padding behind them.
        begin_id: stands before the first.
        end_id: stands behind the last.

    Returns:
        Inputs (B, U + 1), and targets (B, U + 1) with -100 for what does not count: padding, and all of an utterance
        without labels, of which nobody knows what was said.

    Examples:
        >>> [x.tolist() for x in teacher_forcing(torch.tensor([[3, 4], [5, -100]]), 0, 1)]
        [[[0, 3, 4], [0, 5, 1]], [[3, 4, 1], [5, 1, -100]]]
    """
    lengths = (labels >= 0).sum(-1, keepdim=True)
    inputs = nn.functional.pad(labels.masked_fill(labels < 0, end_id), (1, 0), value=begin_id)
    targets = nn.functional.pad(labels, (0, 1), value=-100)
    places = torch.arange(targets.shape[1], device=labels.device)
    return inputs, targets.masked_fill((places == lengths) & (lengths > 0), end_id)
