"""A transcript in the formats of OpenAI's interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from bigfoot.runtime.formats import render_srt, render_txt, render_vtt
from bigfoot.runtime.transcript import Transcript
from bigfoot.serve.limits import RefusedError

Answer = Callable[[Transcript, Mapping[str, list[str]]], Response]
"""From a transcript and the form's fields to what the client gets."""

_GRANULARITIES = "timestamp_granularities[]"


def _in_json(transcript: Transcript, fields: Mapping[str, list[str]]) -> Response:
    return JSONResponse({"text": transcript.text})


def _in_verbose_json(transcript: Transcript, fields: Mapping[str, list[str]]) -> Response:
    wanted = fields.get(_GRANULARITIES) or ["segment"]
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": fields.get("language", [""])[-1],
        "duration": round(transcript.seconds, 3),
        "text": transcript.text,
    }
    if "word" in wanted:
        answer["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)} for word in transcript.words
        ]
    if "segment" in wanted:
        answer["segments"] = [
            {"id": index, "start": round(each.start, 3), "end": round(each.end, 3), "text": each.text}
            for index, each in enumerate(transcript.segments)
        ]
    return JSONResponse(answer)


def _as_text(render: Callable[[Transcript], str], kind: str = "text/plain") -> Answer:
    return lambda transcript, fields: PlainTextResponse(render(transcript), media_type=kind)


ANSWERS: dict[str, Answer] = {
    "json": _in_json,
    "verbose_json": _in_verbose_json,
    "text": _as_text(render_txt),
    "srt": _as_text(render_srt),
    "vtt": _as_text(render_vtt, "text/vtt"),
}
"""By ``response_format``."""


def choose_answer(fields: Mapping[str, list[str]]) -> Answer:
    """Return the format that a form asks for.

    Args:
        fields: of the form.

    Raises:
        RefusedError: there is no such format, or an answer in pieces is asked for.
    """
    if fields.get("stream", ["false"])[-1].lower() in ("true", "1"):
        raise RefusedError(400, "no_stream", "answers come whole; leave stream out", "stream")
    name = fields.get("response_format", ["json"])[-1]
    if name not in ANSWERS:
        message = f"response_format should be one of {', '.join(ANSWERS)}, and is {name!r}"
        raise RefusedError(400, "unknown_format", message, "response_format")
    return ANSWERS[name]
