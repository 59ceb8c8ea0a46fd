"""One answer of a speech LLM, passed on while it is generated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bigfoot.audio.recording import normalize_part
from bigfoot.decoding.language_model import generate
from bigfoot.formats.speech_llm import LoadedSpeechLLM
from bigfoot.models.speech_llm.model import SpeechInput
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.models.speech_llm.tokens import PromptTokenizer
from bigfoot.text.prompts import Piece
from bigfoot.types import Samples

log = logging.getLogger("bigfoot")

_UNFINISHED = "\ufffd"
"""Stands at the end of a text whose last character still lacks bytes."""


class TextStreamer:
    """Passes text on as soon as its characters are whole; a streamer of transformers'.

    Args:
        tokens: of the language model.
        on_text: called with each part.
    """

    def __init__(self, tokens: PromptTokenizer, on_text: Callable[[str], None]) -> None:
        self._tokens, self._on_text = tokens, on_text
        self._ids: list[int] = []
        self._shown = ""

    def put(self, value: Tensor) -> None:
        """Take tokens; of embeddings the prompt has none."""
        self._ids += [int(token) for token in value.flatten() if int(token) != self._tokens.end_id]
        text = self._tokens.decode(self._ids)
        if not text.endswith(_UNFINISHED):
            self._show(text)

    def end(self) -> None:
        """Pass the rest on."""
        self._show(self._tokens.decode(self._ids))

    def _show(self, text: str) -> None:
        if len(text) > len(self._shown):
            self._on_text(text[len(self._shown) :])
            self._shown = text


def answer(
    loaded: LoadedSpeechLLM, samples: Samples, values: Mapping[str, str | Sequence[Piece]],
    on_text: Callable[[str], None] = lambda _: None, *, most_new_tokens: int = 128,
) -> str:  # fmt: skip
    """Answer a prompt with one recording.

    Args:
        loaded: the model.
        samples: (N,) at the rate of its processor.
        values: of the template's slots besides ``{audio}``.
        on_text: called with each part of the answer while it is generated.
        most_new_tokens: the answer ends there at the latest.

    Returns:
        The whole answer.

    Raises:
        DataError: prompt and answer have more tokens than the language model takes.
    """
    wave = normalize_part(samples, None) if loaded.processor.do_normalize else samples
    values_in = torch.from_numpy(wave)[None].to(loaded.model.device)
    speech = SpeechInput(values_in, torch.ones_like(values_in, dtype=torch.bool))
    layout = loaded.tokens.lay_out(loaded.template.fill(values))
    device = loaded.model.device
    pieces = tuple(piece if isinstance(piece, int) else piece.to(device) for piece in layout.pieces)
    found = generate(
        loaded.model, [Layout(pieces, layout.output.to(device))], speech, most_new_tokens=most_new_tokens,
        streamer=TextStreamer(loaded.tokens, on_text),
    )  # fmt: skip
    if len(found[0]) >= most_new_tokens:
        log.warning("the answer is cut after %d tokens, before its end", most_new_tokens)
    return loaded.tokens.decode(found[0])
