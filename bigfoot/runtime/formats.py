"""A transcript as plain text, JSON, or subtitles (SubRip, WebVTT)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bigfoot.runtime.cues import make_cues
from bigfoot.runtime.transcript import Transcript, Word
from bigfoot.types import Seconds


def to_dict(transcript: Transcript) -> dict[str, Any]:
    """Convert a transcript to a JSON object; times in seconds, to the millisecond.

    Args:
        transcript: the result, or one with an error.
    """
    if transcript.error is not None:
        return {"source": transcript.source, "error": transcript.error}
    words = [_word_to_dict(word) for word in transcript.words]
    segments = [
        {"text": s.text, "start": round(s.start, 3), "end": round(s.end, 3)} for s in transcript.segments
    ]  # fmt: skip
    seconds = round(transcript.seconds, 3)
    return {
        "source": transcript.source, "seconds": seconds, "text": transcript.text, "words": words, "segments": segments,
    }  # fmt: skip


def _word_to_dict(word: Word) -> dict[str, Any]:
    fields = {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
    return fields | {"joined": True} if word.joined else fields


def format_time(seconds: Seconds, mark: str) -> str:
    """Format a time for subtitles.

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
    """Format the text as a line."""
    return transcript.text + "\n"


def render_json(transcript: Transcript) -> str:
    """Format an object with text, words and segments."""
    return json.dumps(to_dict(transcript), ensure_ascii=False, indent=1) + "\n"


def render_srt(transcript: Transcript) -> str:
    """SubRip: numbered cues.

    Examples:
        >>> print(render_srt(Transcript("a.wav", 2.0, (Word("ONE", 0.5, 1.7),))))
        1
        00:00:00,500 --> 00:00:01,700
        ONE
        <BLANKLINE>
    """
    return "\n".join(f"{n}\n{cue}" for n, cue in enumerate(_render_cues(transcript, ","), start=1))


def render_vtt(transcript: Transcript) -> str:
    """WebVTT: a head, then cues."""
    return "\n".join(["WEBVTT\n", *_render_cues(transcript, ".", _VTT_ESCAPES)])


# WebVTT reads < and & as marks of its own, and --> as a line of times.
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def _render_cues(transcript: Transcript, mark: str, escapes: dict[int, str] | None = None) -> list[str]:
    return [
        f"{format_time(cue.start / 1000, mark)} --> {format_time(cue.end / 1000, mark)}\n"
        + "".join(f"{line.translate(escapes or {})}\n" for line in cue.lines)
        for cue in make_cues(transcript.segments)
    ]


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": render_txt,
    "json": render_json,
    "srt": render_srt,
    "vtt": render_vtt,
}
"""Formats of transcripts, by the suffix of the file."""
