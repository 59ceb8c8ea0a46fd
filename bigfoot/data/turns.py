"""Dialogues: JSON lines of turns.

One turn a line, the turns of a dialogue in order of time; an audio path is relative to the file's folder::

    {"dialogue": "d1", "audio": "d1.flac", "start": 1.3, "end": 4.4, "speaker": "ann", "text": "i will quit"}

All other keys are metadata, and may hold labels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bigfoot.audio.files import read_audio, read_header
from bigfoot.errors import DataError
from bigfoot.storage.places import is_remote
from bigfoot.text.json_files import parse_json
from bigfoot.types import Samples, Seconds

Place: TypeAlias = tuple[str, Seconds, Seconds | None]

_OWN = ("dialogue", "audio", "start", "end", "speaker", "text")


@dataclass(frozen=True)
class Turn:
    """A turn of a dialogue.

    Args:
        id: dialogue and number, such as ``d1#2``.
        dialogue: its name.
        speaker: who speaks.
        text: the transcript; empty where there is none.
        audio: recording, which may hold the whole dialogue.
        start: in the recording.
        end: in the recording; None for its end.
        metadata: all other columns, as text.
    """

    id: str
    dialogue: str
    speaker: str
    text: str
    audio: Path
    start: Seconds = 0.0
    end: Seconds | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Which part of which file is read: a name is a turn's own in its file of turns alone."""
        return str(self.audio), self.start, self.end

    def read(self, sample_rate: int) -> Samples:
        """Read its audio, (N,)."""
        duration = None if self.end is None else self.end - self.start
        return read_audio(self.audio, offset=self.start, duration=duration, sample_rate=sample_rate)

    def column(self, name: str) -> str:
        """Return a column: metadata, or ``speaker``, ``text`` and ``dialogue``; empty where there is none."""
        own = {"speaker": self.speaker, "text": self.text, "dialogue": self.dialogue}
        return self.metadata.get(name, own.get(name, ""))


def read_turns(path: str | Path) -> list[list[Turn]]:
    """Read a file of turns.

    Args:
        path: JSON lines, see above.

    Returns:
        Turns by dialogue, dialogues in order of their first turns.

    Raises:
        DataError: the file is missing or holds no turn, or a line is no turn, or stands behind a later one of the same
            recording; its number is given.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "turns.jsonl"
        >>> _ = file.write_text('{"audio": "a.wav", "text": "yes", "dialogue": 3, "mood": "good"}')
        >>> [[turn.id, turn.column("mood")] for turn in read_turns(file)[0]]
        [['3#1', 'good']]
    """
    if is_remote(path):
        raise DataError(f"{path}: turns are read from this machine, with the audio beside them; copy the folder here")
    file = Path(path).expanduser()
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: expected JSON lines of turns, and it cannot be read ({error})") from error
    dialogues: dict[str, list[Turn]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            turn = _read_turn(line, f"{file}:{number}", file.parent, dialogues)
            dialogues.setdefault(turn.dialogue, []).append(turn)
    if not dialogues:
        raise DataError(f"{file}: holds no turn; expected a JSON object a line with audio, text and dialogue")
    return list(dialogues.values())


def check_recordings(turns: Iterable[Turn]) -> None:
    """Check by the headers of their files that turns lie in recordings: training would find out hours later.

    Args:
        turns: of one or more files.

    Raises:
        DataError: recordings are missing, or a turn lies beyond the end of its own.
        AudioError: a recording cannot be read.
    """
    lasts: dict[Path, Turn] = {}
    for turn in turns:
        before = lasts.get(turn.audio)
        if before is None or _reach(turn) > _reach(before):
            lasts[turn.audio] = turn
    if missing := [path for path in sorted(lasts) if not path.is_file()]:
        raise DataError(f"{missing[0]}: no such file; {len(missing)} of {len(lasts)} recordings of turns are missing")
    for path, turn in lasts.items():
        seconds = read_header(path).seconds
        # Ends are rounded; a tenth of a second is no rounding.
        if turn.start >= seconds or _reach(turn) > seconds + 0.1:
            raise DataError(f"{turn.id}: from {turn.start} s to {turn.end} s, but {path} ends at {seconds:.3f} s")


def _reach(turn: Turn) -> Seconds:
    return turn.start if turn.end is None else turn.end


def _read_turn(line: str, place: str, folder: Path, dialogues: Mapping[str, Sequence[Turn]]) -> Turn:
    try:
        raw = parse_json(line)
    except ValueError as error:
        raise DataError(f"{place}: expected a JSON object, and this is no JSON ({error})") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("audio"), str) or not raw["audio"]:
        raise DataError(f"{place}: expected a JSON object with a path under audio")
    start, end = _seconds(raw, "start", place) or 0.0, _seconds(raw, "end", place)
    if end is not None and end <= start:
        raise DataError(f"{place}: the end, {end} s, is not after the start, {start} s")
    audio = folder / Path(raw["audio"]).expanduser()
    dialogue = _text(raw.get("dialogue")) or audio.stem
    before = dialogues.get(dialogue, ())
    if before and before[-1].audio == audio and start < before[-1].start:
        # It would be the history of what it follows.
        raise DataError(
            f"{place}: starts at {start} s, before the turn above it ({before[-1].start} s): put the turns of "
            f"{dialogue} in order of time"
        )
    name = f"{dialogue}#{len(before) + 1}"
    metadata = {key: _text(value) for key, value in raw.items() if key not in _OWN}
    return Turn(
        name, dialogue, _text(raw.get("speaker")), " ".join(_text(raw.get("text")).split()), audio, start, end,
        metadata,
    )  # fmt: skip


def _seconds(raw: Mapping[str, Any], key: str, place: str) -> Seconds | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise DataError(f"{place}: {key} should be seconds, 0 or more, not {value!r}")
    return float(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
