"""An alignment as JSON, CTM, TextGrid, SubRip or WebVTT."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bigfoot.alignment.aligner import AlignedPart, AlignedWord, Alignment  # noqa: F401 - AlignedWord is in an example
from bigfoot.runtime.formats import render_srt, render_vtt
from bigfoot.runtime.outputs import Kinds
from bigfoot.runtime.transcript import Transcript, Word
from bigfoot.types import Seconds

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""What ends a line or a file for its readers."""
Render = Callable[[Alignment], str]


def to_dict(alignment: Alignment) -> dict[str, Any]:
    """Convert an alignment to a JSON object; times in seconds, to the millisecond.

    Args:
        alignment: the result, or one with an error.
    """
    if alignment.error is not None:
        return {"source": alignment.source, "error": alignment.error}
    words = [
        _part(word) | ({"joined": True} if word.joined else {}) | {alignment.unit: [_part(p) for p in word.parts]}
        for word in alignment.words
    ]
    return {
        "source": alignment.source, "seconds": round(alignment.seconds, 3), "text": alignment.text,
        "confidence": _rounded(alignment.confidence), "words": words,
        "untranscribed": [{"start": round(start, 3), "end": round(end, 3)} for start, end in alignment.untranscribed],
    }  # fmt: skip


def _part(part: AlignedPart) -> dict[str, Any]:
    return {
        "text": part.text, "start": round(part.start, 3), "end": round(part.end, 3),
        "confidence": _rounded(part.confidence),
    }  # fmt: skip


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 4)


def render_json(alignment: Alignment) -> str:
    """Format an object with words and their characters or phonemes."""
    return json.dumps(to_dict(alignment), ensure_ascii=False, indent=1) + "\n"


def render_ctm(alignment: Alignment, unit: str = "words") -> str:
    """NIST's CTM: recording, channel, start, duration, word and confidence a line.

    Args:
        alignment: without an error.
        unit: ``words``, or that of the alignment. White space and control characters are ``_`` in names and words, as
            is the ``;;`` of a comment; a word that the vocabulary cannot write has no confidence.

    Examples:
        >>> print(render_ctm(Alignment("a.wav", 2.0, "ONE", (AlignedWord("ONE", 0.5, 1.7, 0.9),))), end="")
        a.wav 1 0.500 1.200 ONE 0.9000
    """
    name = _as_field(alignment.source)
    parts: Sequence[AlignedPart] = alignment.words
    if unit != "words":
        parts = [part for word in alignment.words for part in word.parts]
    lines = []
    for part in parts:
        text = _as_field(part.text)
        start, end = round(part.start, 3), round(part.end, 3)
        confidence = "" if part.confidence is None else f" {part.confidence:.4f}"
        lines.append(f"{name} 1 {start:.3f} {end - start:.3f} {text}{confidence}\n")
    return "".join(lines)


def _as_field(text: str) -> str:
    field = "_".join(_CONTROL.sub(" ", text).split()) or "_"
    return f"__{field[2:]}" if field.startswith(";;") else field


def render_textgrid(alignment: Alignment) -> str:
    """Praat's TextGrid: a tier of words, and one of their characters or phonemes.

    Examples:
        >>> grid = render_textgrid(Alignment("a.wav", 2.0, "ONE", (AlignedWord("ONE", 0.5, 1.7, 0.9),)))
        >>> [line.strip() for line in grid.splitlines() if "text" in line]
        ['text = ""', 'text = "ONE"', 'text = ""']
    """
    tiers = {"words": list(alignment.words)}
    if any(word.parts for word in alignment.words):
        tiers[alignment.unit] = [part for word in alignment.words for part in word.parts]  # type: ignore[misc]
    end = max([alignment.seconds, *(word.end for word in alignment.words)])
    lines = [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_exact(end)}",
        "tiers? <exists>", f"size = {len(tiers)}", "item []:",
    ]  # fmt: skip
    for number, (name, parts) in enumerate(tiers.items(), 1):
        intervals = list(_fill(parts, end))
        lines += [
            f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"', "        xmin = 0",
            f"        xmax = {_exact(end)}", f"        intervals: size = {len(intervals)}",
        ]  # fmt: skip
        for index, (start, stop, text) in enumerate(intervals, 1):
            quoted = _CONTROL.sub(" ", text).replace('"', '""')
            lines += [
                f"        intervals [{index}]:", f"            xmin = {_exact(start)}",
                f"            xmax = {_exact(stop)}", f'            text = "{quoted}"',
            ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _fill(parts: Sequence[AlignedPart], end: Seconds) -> Iterator[tuple[Seconds, Seconds, str]]:
    """Intervals without gaps, as a tier must have them."""
    place = 0.0
    for part in parts:
        if part.start > place:
            yield place, part.start, ""
        yield part.start, part.end, part.text
        place = part.end
    if place < end or not parts:
        yield place, end, ""


def _exact(seconds: Seconds) -> str:
    # Rounded to milliseconds, an interval of a short token could be empty, which Praat refuses.
    return f"{seconds:.9f}".rstrip("0").rstrip(".")


def _transcript(alignment: Alignment) -> Transcript:
    words = tuple(Word(word.text, word.start, word.end, word.joined) for word in alignment.words)
    return Transcript(alignment.source, alignment.seconds, words)


_FORMATS: dict[str, Render] = {
    "ctm": render_ctm,
    "json": render_json,
    "textgrid": render_textgrid,
    "srt": lambda alignment: render_srt(_transcript(alignment)),
    "vtt": lambda alignment: render_vtt(_transcript(alignment)),
}
KINDS = Kinds(_FORMATS, to_dict, alone=("srt", "vtt", "textgrid"), suffixes={"textgrid": "TextGrid"})
"""Formats of alignments."""


def with_unit(unit: str) -> Kinds:
    """Formats whose CTM has a line for each of a unit.

    Args:
        unit: see ``render_ctm``.
    """
    return replace(KINDS, render=_FORMATS | {"ctm": partial(render_ctm, unit=unit)})
