"""Text that a model's decoder writes about a recording, going on from a prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bigfoot.audio.pauses import cut_at_pauses
from bigfoot.audio.recording import open_recording
from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.decoding.autoregressive import END, LENGTH, REPETITION
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.decoding.spoken import decode_batch, require_spelling
from bigfoot.errors import DataError
from bigfoot.formats.folder import LoadedModel

_WORST_FIRST = (REPETITION, LENGTH, END)


@dataclass(frozen=True)
class GeneratedText:
    """What was written.

    Args:
        text: without the prompt.
        score: see ``Hypothesis``.
        ended: by the decoder itself (``end``), at the longest text (``length``), or cut (``repetition``).
    """

    text: str
    score: float
    ended: str


def generate_text(loaded: LoadedModel, audio: Path, prompt: str, config: DecodingConfig) -> GeneratedText:
    """Write text conditioned on a recording and the beginning of the text.

    A recording longer than ``LONGEST_PIECE`` is transcribed in pieces that are cut at its pauses and do not overlap,
    since the decoder has no times for its words; the texts are joined by spaces, and the prompt starts the first.

    Args:
        loaded: with a decoder and its vocabulary.
        audio: of any rate and channel count.
        prompt: start of the text; may be empty.
        config: how the decoder is searched.

    Returns:
        See ``GeneratedText``; of pieces, the sum of the scores, and the worst end.

    Raises:
        ModelError: no decoder, no vocabulary, or one that is not the decoder's.
        DataError: the prompt cannot be tokenized.
        AudioError: the recording cannot be read.
    """
    tokenizer = require_spelling(loaded)
    try:
        begun = tokenizer.encode(prompt) if prompt else []
    except ValueError as error:
        raise DataError(f"the prompt cannot be tokenized: {error}") from error
    silent = replace(loaded.processor, tokenizer=None)
    recording = open_recording(audio, 0, loaded.processor.sample_rate)
    outputs = []
    for piece in cut_at_pauses(recording):
        batch = collate([LoadedUtterance(str(audio), "", "", piece.samples, piece.moments)], silent)
        prompts = [begun] if begun and piece.index == 0 else None
        outputs.append(decode_batch(loaded.model, batch, config, prompts=prompts)[0].best)
    text = " ".join(filter(None, (tokenizer.decode(found.tokens) for found in outputs)))
    ends = {found.ended for found in outputs}
    return GeneratedText(text, sum(found.score for found in outputs), next(end for end in _WORST_FIRST if end in ends))
