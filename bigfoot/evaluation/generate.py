"""Text that a model's decoder writes about a recording, going on from a prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bigfoot.audio_io import read_audio
from bigfoot.config import DecodingConfig
from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.decoding.spoken import decode_batch
from bigfoot.errors import DataError, ModelError
from bigfoot.models.folder import LoadedModel


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

    Args:
        loaded: with a decoder and its vocabulary.
        audio: of any rate and channel count.
        prompt: what the text begins with; may be empty.
        config: how the decoder is searched.

    Returns:
        See ``GeneratedText``.

    Raises:
        ModelError: no decoder or no vocabulary.
        DataError: the prompt cannot be spelled.
        AudioError: the recording cannot be read.
    """
    tokenizer = loaded.processor.decoder_tokenizer or loaded.processor.tokenizer
    if tokenizer is None:
        raise ModelError(f"{loaded.folder}: no text can come out of this model: no vocabulary in its folder")
    try:
        begun = tokenizer.encode(prompt) if prompt else []
    except ValueError as error:
        raise DataError(f"the prompt cannot be spelled: {error}") from error
    samples = read_audio(audio, sample_rate=loaded.processor.sample_rate)
    batch = collate([LoadedUtterance(str(audio), "", "", samples)], replace(loaded.processor, tokenizer=None))
    (found,) = decode_batch(loaded.model, batch, config, prompts=[begun] if begun else None)
    return GeneratedText(tokenizer.decode(found.best.tokens), found.best.score, found.best.ended)
