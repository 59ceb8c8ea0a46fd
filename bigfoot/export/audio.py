"""Audio on which an export is calibrated and judged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from bigfoot.audio.account import Account, LeftOut
from bigfoot.audio.files import read_header
from bigfoot.audio.folders import find_audio
from bigfoot.audio.pauses import LONGEST_PIECE, cut_at_pauses
from bigfoot.audio.recording import open_recording
from bigfoot.data.batches import LoadedUtterance, collate, iterate_utterances
from bigfoot.data.cuts import path_of, read_cuts
from bigfoot.errors import AudioError, DataError
from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.progress import track
from bigfoot.text.tokenizers import Processor
from bigfoot.types import Seconds

log = logging.getLogger("bigfoot")

MOST_UTTERANCES = 64
JUDGED_SECONDS: Seconds = 1200.0
"""Of audio at least, where so much is there, to judge a rise of the word error rate on: some 2,000 words."""
_BEYOND = "beyond the first pieces, which are enough"
_ROUNDING: Seconds = 0.05
_NOISE_SECONDS = (0.5, 2.0, 5.0, 9.0)


@dataclass
class _Listed:
    """What a place holds, each by name, file and seconds as its header has them, and why files were left out."""

    rows: list[tuple[str, str, Seconds | None]]
    reasons: dict[str, str] = field(default_factory=dict)

    def leave_out(self, error: AudioError) -> None:
        log.warning("%s; left out", error)
        self.reasons[error.path] = error.reason

    def account(self, used: Sequence[LoadedUtterance], sample_rate: int) -> Account:
        seconds: dict[str, float] = {}
        for item in used:
            seconds[item.id] = seconds.get(item.id, 0.0) + len(item.samples) / sample_rate
        left_out = []
        for name, path, length in self.rows:
            if name not in seconds:
                left_out.append(LeftOut(name, self.reasons.pop(path, _BEYOND), length))
            elif length is not None and length - seconds[name] > _ROUNDING:
                left_out.append(LeftOut(f"{name} (rest)", _BEYOND, length - seconds[name]))
        left_out += [LeftOut(path, reason) for path, reason in self.reasons.items()]
        return Account(len(seconds), sum(seconds.values()), left_out)


def read_speech(
    place: Path | None,
    processor: Processor,
    limit: int = MOST_UTTERANCES,
    on_account: Callable[[Account], None] = lambda _: None,
    seconds: Seconds = 0.0,
) -> list[LoadedUtterance]:
    """Read utterances; what is longer than ``LONGEST_PIECE`` comes in pieces of one id, cut at its pauses.

    A piece is normalized by itself, as a file does that normalizes inside.

    Args:
        place: a lhotse manifest (``.jsonl.gz``), a folder of audio or one file; None for noise with the spectrum and
            syllables of speech, which is enough to compare an fp32 file.
        processor: of the model, for its rate.
        limit: pieces to read at most; those of a folder in the order of their names.
        on_account: called with what of the place was used and what was left out.
        seconds: of audio to read, where ``limit`` pieces are less.

    Returns:
        One or more, with transcripts where a manifest has them: the first piece of a recording has the whole's.

    Raises:
        DataError: nothing readable is there.
    """
    if place is None:
        noise = (make_speechlike_noise(seconds, seed) for seed, seconds in enumerate(_NOISE_SECONDS))
        return [LoadedUtterance(f"noise {index}", "", "", wave[0].numpy()) for index, wave in enumerate(noise)]
    if not place.exists():
        raise DataError(f"{place}: no manifest, folder or file of audio is there")
    if place.is_file() and ".jsonl" in place.suffixes:
        listed = _Listed([(cut.id, path_of(cut), cut.duration) for cut in read_cuts(place)])
        pieces = iterate_utterances(place, processor.sample_rate, LONGEST_PIECE, listed.leave_out)
        found = _whole_recordings(pieces, limit, seconds * processor.sample_rate)
    else:
        problems: list[AudioError] = []
        files = find_audio(place, problems) if place.is_dir() else [place]
        listed = _Listed([(str(path), str(path), _length_of(path)) for path in files])
        for error in problems:
            listed.leave_out(error)
        found = list(_take(_readable(files, processor, listed.leave_out), limit, seconds * processor.sample_rate))
    if not found:
        raise DataError(f"{place}: no audio in it that can be read")
    on_account(listed.account(found, processor.sample_rate))
    return found


def read_option(
    option: str, place: Path | None, processor: Processor, on_note: Callable[[str], None], seconds: Seconds = 0.0
) -> list[LoadedUtterance]:
    """Read the audio of a command's option, and report what was used of it.

    Args:
        option: such as ``--check``.
        place: see ``read_speech``.
        processor: of the model.
        on_note: called with the account in a line.
        seconds: see ``read_speech``.
    """
    return read_speech(
        place, processor, on_account=lambda account: on_note(f"{option}: {account.describe()}"), seconds=seconds
    )


def read_judged(
    place: Path | None, calibration: Sequence[LoadedUtterance], processor: Processor, on_note: Callable[[str], None]
) -> Sequence[LoadedUtterance]:
    """Read the audio of ``--calibrate`` again where it has more to judge a rise of the word error rate on.

    Args:
        place: see ``read_speech``.
        calibration: what was read of it.
        processor: of the model.
        on_note: called with the account in a line.
    """
    seconds = sum(len(item.samples) for item in calibration) / processor.sample_rate
    if len(calibration) < MOST_UTTERANCES or seconds >= JUDGED_SECONDS:
        return calibration
    return read_option("--check, that of --calibrate", place, processor, on_note, JUDGED_SECONDS)


def _length_of(path: Path) -> Seconds | None:
    try:
        return read_header(path).seconds
    except AudioError:
        return None


def _take(pieces: Iterator[LoadedUtterance], limit: int, samples: float) -> Iterator[LoadedUtterance]:
    """Yield so many pieces, and more until there are so many samples."""
    read = 0
    for count, piece in enumerate(pieces, 1):
        yield piece
        read += len(piece.samples)
        if count >= limit and read >= samples:
            return


def _whole_recordings(pieces: Iterator[LoadedUtterance], limit: int, samples: float) -> list[LoadedUtterance]:
    """Take pieces, and no part of a recording, whose transcript is of the whole."""
    found = [replace(piece, moments=None) for piece in _take(pieces, limit, samples)]
    beyond = next(pieces, None)
    if beyond is None:
        return found
    whole = [piece for piece in found if piece.id != beyond.id]
    # Of the only one there is, the transcript cannot be used.
    return whole or [replace(piece, text="") for piece in found]


def _readable(
    files: Sequence[Path], processor: Processor, on_error: Callable[[AudioError], None]
) -> Iterator[LoadedUtterance]:
    for path in files:
        try:
            recording = open_recording(path, 0, processor.sample_rate)
            for piece in cut_at_pauses(recording, longest=LONGEST_PIECE):
                yield LoadedUtterance(str(path), "", "", piece.samples)
        except AudioError as error:
            on_error(error)


def padded_audio(utterances: Sequence[LoadedUtterance], processor: Processor) -> Iterator[PaddedAudio]:
    """Yield the utterances as the model's inputs, one by one.

    Args:
        utterances: of ``read_speech``.
        processor: of the model.
    """
    for item in track(utterances, "calibrating", unit="utterances"):
        batch = collate([item], Processor(do_normalize=processor.do_normalize))
        yield PaddedAudio(batch.input_values, torch.ones_like(batch.attention_mask))


def join_pieces(utterances: Sequence[LoadedUtterance], texts: Sequence[str]) -> list[str]:
    """One text a recording out of those of its pieces.

    Args:
        utterances: of ``read_speech``.
        texts: one each.

    Examples:
        >>> import numpy as np
        >>> wave = np.zeros(1, np.float32)
        >>> join_pieces([LoadedUtterance(name, "", "", wave) for name in "aab"], ["ONE", "TWO", ""])
        ['ONE TWO', '']
    """
    joined: dict[str, list[str]] = {}
    for item, text in zip(utterances, texts, strict=True):
        joined.setdefault(item.id, []).append(text)
    return [" ".join(filter(None, parts)) for parts in joined.values()]
