"""Where transcripts go: one stream for all of them, or a file each in a folder."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import TextIO

from bigfoot.errors import AudioError, ConfigError
from bigfoot.runtime.arguments import STDIN, Argument, spooled_stdin
from bigfoot.runtime.formats import FORMATS, to_dict
from bigfoot.runtime.transcriber import OnProgress, Transcriber
from bigfoot.runtime.transcript import Transcript

Write = Callable[[Argument | None, Transcript], None]


def is_folder(output: str | None) -> bool:
    """Whether an ``--output`` means a folder: there is one, or it ends in a slash."""
    return output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())


def check_output(arguments: Sequence[Argument], kind: str, output: str | None) -> None:
    """Refuse what cannot be written, before anything is computed.

    Args:
        arguments: what is to be transcribed.
        kind: of ``FORMATS``.
        output: a file, a folder, or None for standard output.

    Raises:
        ConfigError: no such format, subtitles of several files in one stream, or two results in one file.
    """
    problems = []
    if kind not in FORMATS:
        problems.append(f"--format: {kind!r} is none of {', '.join(FORMATS)}")
    elif kind in ("srt", "vtt") and len(arguments) > 1 and not is_folder(output):
        problems.append(f"--output: {len(arguments)} files need a folder for their .{kind} files, such as subtitles/")
    if is_folder(output):
        seen: dict[Path, str] = {}
        for argument in arguments:
            place = argument.place.with_suffix(f".{kind}")
            if place in seen:
                problems.append(f"--output: {seen[place]} and {argument.name} would both become {place}")
            seen.setdefault(place, argument.name)
    if problems:
        raise ConfigError(problems)


def write_transcripts(
    transcriber: Transcriber,
    found: Sequence[Argument | AudioError],
    kind: str,
    output: str | None,
    complain: Callable[[str], None],
    on_progress: OnProgress | None = None,
) -> int:
    """Transcribe what arguments name, and write each result as soon as it is there.

    Args:
        transcriber: the model.
        found: of ``expand_arguments``, looked through by ``check_output``.
        kind: of ``FORMATS``.
        output: a file, a folder, or None for standard output.
        complain: told of each that cannot be read, which costs itself alone.
        on_progress: see ``Transcriber.iterate``.

    Returns:
        How many could not be read.
    """
    arguments = [item for item in found if isinstance(item, Argument)]
    missing = [Transcript(item.path, error=item.reason) for item in found if isinstance(item, AudioError)]
    failed = 0
    with ExitStack() as stack:
        write = stack.enter_context(open_output(kind, output, several=len(found) > 1))
        paths = [stack.enter_context(spooled_stdin()) if a.path == Path(STDIN) else a.path for a in arguments]
        results = transcriber.iterate(paths, lambda _: None, on_progress)
        for argument, heard in chain(zip(repeat(None), missing, strict=False), zip(arguments, results, strict=True)):
            result = heard if argument is None else replace(heard, source=argument.name)
            if result.error is not None:
                failed += 1
                complain(f"{result.source}: {result.error}")
            write(argument, result)
    return failed


@contextmanager
def open_output(kind: str, output: str | None, several: bool) -> Iterator[Write]:
    """Open what transcripts are written to.

    Args:
        kind: of ``FORMATS``.
        output: see ``check_output``.
        several: whether there is more than one argument; text lines then begin with the name.

    Yields:
        A function that writes a transcript; its argument is None where nothing stood behind an error.

    Raises:
        OSError: it cannot be written.
    """
    if is_folder(output):
        folder = Path(output or "")
        yield lambda argument, transcript: _write_file(folder, kind, argument, transcript)
        return
    with ExitStack() as stack:
        # Standard output is looked up late: a progress bar may have put itself before it.
        stream = sys.stdout if output is None else stack.enter_context(Path(output).open("w", encoding="utf-8"))
        if kind == "json":
            yield stack.enter_context(_json_list(stream))
        else:
            yield lambda _, transcript: _write_text(stream, kind, transcript, several)


def _write_file(folder: Path, kind: str, argument: Argument | None, transcript: Transcript) -> None:
    if argument is None or transcript.error is not None:
        return
    path = (folder / argument.place).with_suffix(f".{kind}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FORMATS[kind](transcript), encoding="utf-8")


def _write_text(stream: TextIO, kind: str, transcript: Transcript, several: bool) -> None:
    if transcript.error is None:
        named = f"{transcript.source}\t" if several and kind == "txt" else ""
        stream.write(named + FORMATS[kind](transcript))
        stream.flush()


@contextmanager
def _json_list(stream: TextIO) -> Iterator[Write]:
    """A list that is whole whatever happens between its brackets."""
    head = "["

    def write(_: Argument | None, transcript: Transcript) -> None:
        nonlocal head
        stream.write(f"{head}\n{json.dumps(to_dict(transcript), ensure_ascii=False)}")
        stream.flush()
        head = ","

    try:
        yield write
    finally:
        stream.write("[]\n" if head == "[" else "\n]\n")
