"""Transcribe a stream from a pipe or a file, and write text as soon as it is there."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TextIO, TypeAlias

import numpy as np

from bigfoot.audio.recording import open_recording
from bigfoot.config.problems import Problem
from bigfoot.errors import AudioError
from bigfoot.runtime.arguments import STDIN, STDIN_NAME, Argument
from bigfoot.runtime.segments import Segment
from bigfoot.runtime.streaming import StreamingTranscriber, StreamUpdate
from bigfoot.types import Hertz, Samples, Seconds

CUT: Seconds = 0.1
"""Of what is read and fed at a time."""
_SCALE = 1 / 32768
_CLEAR = "\r\x1b[K"

Write: TypeAlias = Callable[[StreamUpdate], None]


def stream_problems(arguments: int, kind: str, unread: Mapping[str, object]) -> Iterator[Problem]:
    """Find what does not go with a stream.

    Args:
        arguments: recordings that were named.
        kind: format of the results.
        unread: options that a stream does not read, None or empty where not given.

    Examples:
        >>> [problem.key for problem in stream_problems(2, "srt", {"--output": None})]
        ['AUDIO', '--format']
    """
    if arguments != 1:
        yield Problem("AUDIO", "one_stream", f"--stream takes one recording, or - for a pipe, and got {arguments}")
    if kind not in ("txt", "json"):
        yield Problem("--format", "unknown_word", f"--stream writes txt or json, a line a result, not {kind}")
    for key, value in unread.items():
        if value:
            yield Problem(key, "not_with_stream", "not read with --stream; leave one of them out")


def read_cuts(argument: Argument, rate: Hertz, pipe: BinaryIO) -> Iterator[Samples]:
    """Read audio in cuts of ``CUT``.

    Args:
        argument: a file of any format and rate, or standard input.
        rate: wanted.
        pipe: standard input: 16-bit samples of one channel at that rate, little-endian, bare or behind a WAV header.

    Raises:
        AudioError: it cannot be read.
    """
    size = round(CUT * rate)
    if str(argument.path) != STDIN:
        for block in open_recording(argument.path, 0, rate).blocks():
            yield from (block[start : start + size] for start in range(0, len(block), size))
        return
    rest = _skip_header(pipe, rate)
    while content := pipe.read(2 * size - len(rest)):
        content = rest + content
        whole = len(content) // 2 * 2
        rest = content[whole:]
        yield np.frombuffer(content[:whole], "<i2").astype(np.float32) * np.float32(_SCALE)


def _skip_header(pipe: BinaryIO, rate: Hertz) -> bytes:
    """Read a WAV header if there is one, as ``arecord`` writes it; return what was read of the samples."""
    start = pipe.read(4)
    if start != b"RIFF":
        return start
    pipe.read(8)
    while len(head := pipe.read(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            return b""
        content = pipe.read(size + size % 2)
        if name == b"fmt " and len(content) >= 16:
            kind, channels, given, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if (channels, given, bits) != (1, rate, 16) or kind not in (1, 0xFFFE):
                found = f"{channels} channels of {bits} bits at {given} Hz"
                raise AudioError(STDIN_NAME, f"a pipe should bring one channel of 16 bits at {rate} Hz, got {found}")
    raise AudioError(STDIN_NAME, "a WAV header without samples behind it")


def write_stream(transcriber: StreamingTranscriber, argument: Argument, write: Write, pipe: BinaryIO) -> None:
    """Transcribe a stream to its end.

    Args:
        transcriber: at the start of a stream.
        argument: what to read.
        write: called with every update, the last one's partial text empty.
        pipe: standard input.

    Raises:
        AudioError: it cannot be read; what came before is final then.
    """
    try:
        for samples in read_cuts(argument, transcriber.facts.sample_rate, pipe):
            write(transcriber.feed(samples))
    finally:
        write(transcriber.flush())


def text_writer(out: TextIO, beside: TextIO | None) -> Write:
    """Return what writes final segments, a line each, and shows what may change on a terminal.

    Args:
        out: of the lines.
        beside: the terminal; None where there is none.
    """

    def write(update: StreamUpdate) -> None:
        if beside is not None:
            beside.write(_CLEAR)
        for segment in update.final:
            out.write(f"{segment.text}\n")
        out.flush()
        if beside is not None:
            beside.write(update.partial[-100:])
            beside.flush()

    return write


def json_writer(out: TextIO) -> Write:
    """Return what writes a JSON object a line: final segments, and partial texts where they changed.

    Args:
        out: of the lines.
    """
    before = ""

    def write(update: StreamUpdate) -> None:
        nonlocal before
        lines = [_segment_to_dict(segment) for segment in update.final]
        if update.partial != before:
            lines.append({"partial": update.partial})
        before = update.partial
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
        out.flush()

    return write


def _segment_to_dict(segment: Segment) -> dict[str, object]:
    words = [{"text": word.text, "start": word.start, "end": word.end} for word in segment.words]
    return {"text": segment.text, "start": segment.start, "end": segment.end, "words": words}
