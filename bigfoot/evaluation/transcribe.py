"""Text from audio files, one at a time, in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bigfoot.audio_io import read_audio
from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.errors import AudioError, ModelError
from bigfoot.evaluation.evaluate import missing_wer_reason
from bigfoot.models.folder import LoadedModel


@dataclass(frozen=True)
class FileTranscript:
    """What was heard in a file.

    Args:
        path: the file.
        text: what the model heard; empty where it could not be read.
        error: why it could not be read, or None.
    """

    path: Path
    text: str = ""
    error: str | None = None


def transcribe_files(loaded: LoadedModel, files: Iterable[Path]) -> Iterator[FileTranscript]:
    """Transcribe files greedily; a bad one costs itself alone.

    Args:
        loaded: with CTC head and vocabulary.
        files: of any rate and channel count.

    Yields:
        A transcript or an error for each, in order.

    Raises:
        ModelError: no head or no vocabulary.
    """
    reason, tokenizer = missing_wer_reason(loaded), loaded.processor.tokenizer
    if reason or tokenizer is None:
        raise ModelError(f"{loaded.folder}: no text can come out of this model: {reason}")
    for path in files:
        try:
            samples = read_audio(path, sample_rate=loaded.processor.sample_rate)
        except AudioError as error:
            yield FileTranscript(path, error=error.reason)
            continue
        batch = collate([LoadedUtterance(str(path), "", "", samples)], loaded.processor)
        yield FileTranscript(path, transcribe_batches(loaded.model, [batch], tokenizer).hypotheses[0])
