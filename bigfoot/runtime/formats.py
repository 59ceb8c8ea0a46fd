"""A transcript as plain text, JSON, or subtitles (SubRip, WebVTT)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bigfoot.runtime.transcript import Transcript
from bigfoot.types import Seconds


def to_dict(transcript: Transcript) -> dict[str, Any]:
    """A transcript as JSON has it; times in seconds, to the millisecond.

    Args:
        transcript: heard, or with an error.
    """
    if transcript.error is not None:
        return {"source": transcript.source, "error": transcript.error}
    words = [{"text": w.text, "start": round(w.start, 3), "end": round(w.end, 3)} for w in transcript.words]
    segments = [
        {"text": s.text, "start": round(s.start, 3), "end": round(s.end, 3)} for s in transcript.segments
    ]  # fmt: skip
    seconds = round(transcript.seconds, 3)
    return {
        "source": transcript.source, "seconds": seconds, "text": transcript.text, "words": words, "segments": segments,
    }  # fmt: skip


def format_time(seconds: Seconds, mark: str) -> str:
    """A time as subtitles have it.

    Args:
        seconds: 0 or more.
        mark: between seconds and milliseconds: a comma in SubRip, a point in WebVTT.

    Examples:
        >>> format_time(3725.5, ",")
        '01:02:05,500'
    """
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"


def render_txt(transcript: Transcript) -> str:
    """The text on a line."""
    return transcript.text + "\n"


def render_json(transcript: Transcript) -> str:
    """An object with text, words and segments."""
    return json.dumps(to_dict(transcript), ensure_ascii=False, indent=1) + "\n"


def render_srt(transcript: Transcript) -> str:
    """SubRip: numbered segments.

    Examples:
        >>> from bigfoot.runtime.transcript import Word
        >>> print(render_srt(Transcript("a.wav", 2.0, (Word("ONE", 0.5, 1.0),))))
        1
        00:00:00,500 --> 00:00:01,000
        ONE
        <BLANKLINE>
    """
    return "\n".join(f"{n}\n{cue}" for n, cue in enumerate(_cues(transcript, ","), start=1))


def render_vtt(transcript: Transcript) -> str:
    """WebVTT: a head, then segments."""
    # The standard reads < and & as marks of its own.
    cues = (cue.replace("&", "&amp;").replace("<", "&lt;") for cue in _cues(transcript, "."))
    return "\n".join(["WEBVTT\n", *cues])


def _cues(transcript: Transcript, mark: str) -> list[str]:
    return [
        f"{format_time(segment.start, mark)} --> {format_time(segment.end, mark)}\n{segment.text}\n"
        for segment in transcript.segments
    ]


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": render_txt,
    "json": render_json,
    "srt": render_srt,
    "vtt": render_vtt,
}
"""What a transcript can be written as, by the suffix of its file."""
