"""Write transcripts: one stream for all of them, or a file each in a folder."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Protocol, TextIO

from bigfoot.config.problems import Problem
from bigfoot.errors import AudioError, ConfigError, OutputError
from bigfoot.runtime.arguments import STDIN, Argument, spooled_stdin
from bigfoot.runtime.formats import FORMATS, to_dict
from bigfoot.runtime.transcriber import OnProgress, Transcriber
from bigfoot.runtime.transcript import Transcript
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_file
from bigfoot.storage.places import refuse_inside
from bigfoot.storage.replace import replacing, write_file


@dataclass(frozen=True)
class Kinds:
    """Kinds of files that results are written as.

    Args:
        render: formats by name; of a result without an error.
        to_dict: a JSON object of any result.
        alone: formats of which a stream holds one recording.
        named: formats whose lines start with the name where there are several recordings.
        suffixes: of files, where they are not the format's name.
    """

    render: Mapping[str, Callable[[Any], str]]
    to_dict: Callable[[Any], dict[str, Any]]
    alone: Collection[str]
    named: Collection[str] = ()
    suffixes: Mapping[str, str] = field(default_factory=dict)

    def place(self, argument: Argument, kind: str) -> Path:
        """Name the file of a result, below its folder."""
        return argument.place.with_suffix(f".{self.suffixes.get(kind, kind)}")


class Result(Protocol):
    """Of one recording, or why there is none."""

    @property
    def source(self) -> str:
        """Name of the recording."""

    @property
    def error(self) -> str | None:
        """Why there is nothing, or None."""


TRANSCRIPTS = Kinds(FORMATS, to_dict, alone=("srt", "vtt"), named=("txt",))
Write = Callable[[Argument | None, Any], None]


def is_folder(output: str | None) -> bool:
    """Return whether an ``--output`` is a folder: it exists as one, or ends in a slash."""
    return output is not None and (output.endswith(("/", os.sep)) or Path(output).is_dir())


def is_stream(output: str) -> bool:
    """Return whether an ``--output`` is a stream: a pipe, a device, a descriptor."""
    path = Path(output)
    described = output in ("/dev/stdout", "/dev/stderr") or output.startswith(("/dev/fd/", "/proc/self/fd/"))
    return described or (path.exists() and not path.is_file() and not path.is_dir())


def check_output(
    arguments: Sequence[Argument], kind: str, output: str | None, may: MayReplace = OWN_ONLY,
    kinds: Kinds = TRANSCRIPTS,
) -> None:  # fmt: skip
    """Refuse what cannot be written, before anything is computed.

    Args:
        arguments: what is to be transcribed.
        kind: of ``kinds``.
        output: a file, a folder, or None for standard output.
        may: what may be replaced, with the model in it; the audio never is.
        kinds: formats that there are.

    Raises:
        ConfigError: no such format, subtitles of several files in one stream, or two results in one file.
        OutputError: a file that was not written by bigfoot, or changed since, would be replaced, or the output lies
            in the model.
    """
    problems = []
    if kind not in kinds.render:
        problems.append(Problem("--format", "unknown_word", f"{kind!r} is none of {', '.join(kinds.render)}"))
    elif kind in kinds.alone and len(arguments) > 1 and not is_folder(output):
        message = f"{len(arguments)} files need a folder for their .{kind} files, such as subtitles/"
        problems.append(Problem("--output", "no_folder", message))
    if is_folder(output):
        seen: dict[Path, str] = {}
        for argument in arguments:
            place = kinds.place(argument, kind)
            if place in seen:
                message = f"{seen[place]} and {argument.name} would both become {place}"
                problems.append(Problem("--output", "same_place", message))
            seen.setdefault(place, argument.name)
    if problems:
        raise ConfigError(problems)
    if output is not None and not is_stream(output):
        refuse_inside(may.models, output)
        places = {argument: Path(output) / kinds.place(argument, kind) for argument in arguments}
        _check_places(places, output, replace(may, report=lambda _: None))


def _check_places(places: Mapping[Argument, Path], output: str, may: MayReplace) -> None:
    audio = [argument.path for argument in places if argument.path != Path(STDIN)]
    if not is_folder(output):
        if not Path(output).parent.exists():
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), output)  # no folder is made for a single file
        check_file(output, replace(may, inputs=[*may.inputs, *audio]))
        return
    if Path(output).exists() and not Path(output).is_dir():
        raise OutputError(f"{output} is a file, where a folder should be written; name another place")
    read = {(status.st_dev, status.st_ino) for path in audio if path.exists() and (status := path.stat())}
    for place in places.values():
        if place.exists() and (place.stat().st_dev, place.stat().st_ino) in read:
            raise OutputError(f"{place} is what is read and would be overwritten; name another folder")
        check_file(place, may)


def write_transcripts(
    transcriber: Transcriber,
    found: Sequence[Argument | AudioError],
    kind: str,
    output: str | None,
    complain: Callable[[str], None],
    on_progress: OnProgress | None = None,
    may: MayReplace = OWN_ONLY,
) -> int:
    """Transcribe what arguments name, and write each result as soon as it is there.

    Args:
        transcriber: the model.
        found: of ``expand_arguments``, checked by ``check_output``.
        kind: of ``FORMATS``.
        output: a file, a folder, or None for standard output.
        complain: called with a line for each that cannot be read; the others are transcribed.
        on_progress: see ``Transcriber.iterate``.
        may: what may be replaced.

    Returns:
        How many could not be read.
    """
    arguments = [item for item in found if isinstance(item, Argument)]
    missing = [Transcript(item.path, error=item.reason) for item in found if isinstance(item, AudioError)]
    failed = 0
    with ExitStack() as stack:
        write = stack.enter_context(open_output(kind, output, len(found) > 1, may))
        paths = [stack.enter_context(spooled_stdin()) if a.path == Path(STDIN) else a.path for a in arguments]
        results = transcriber.iterate(paths, lambda _: None, on_progress)
        for argument, result in chain(zip(repeat(None), missing, strict=False), zip(arguments, results, strict=True)):
            if argument is not None:
                result = replace(result, source=argument.name)
            if result.error is not None:
                failed += 1
                complain(f"{result.source}: {result.error}")
            write(argument, result)
    return failed


@contextmanager
def open_output(
    kind: str, output: str | None, several: bool, may: MayReplace = OWN_ONLY, kinds: Kinds = TRANSCRIPTS
) -> Iterator[Write]:
    """Open what results are written to.

    Args:
        kind: of ``kinds``.
        output: see ``check_output``.
        several: whether there is more than one argument; text lines then start with the name.
        may: what may be replaced.
        kinds: formats that there are.

    Yields:
        A function that writes a result; its argument is None where nothing stood behind an error.

    Raises:
        OSError: it cannot be written.
        OutputError: what is there was not written by bigfoot, or another process writes it.
    """
    if is_folder(output):
        folder = Path(output or "")
        yield lambda argument, result: _write_file(folder, kind, argument, result, may, kinds)
        return
    with ExitStack() as stack:
        # Standard output is looked up late: a progress bar may have put itself before it.
        stream = sys.stdout if output is None else stack.enter_context(_open_file(output, may))
        if kind == "json":
            yield stack.enter_context(_json_list(stream, kinds))
        else:
            prefix = several and kind in kinds.named
            yield lambda _, result: _write_text(stream, kinds.render[kind], result, prefix)


@contextmanager
def _open_file(output: str, may: MayReplace) -> Iterator[TextIO]:
    """Open a text file that is renamed into place at the end, in part where writing stops early."""
    if is_stream(output):
        with Path(output).open("w", encoding="utf-8") as stream:
            yield stream
        return
    with replacing(output, may=may, keep_part=True) as beside, beside.open("w", encoding="utf-8") as stream:
        yield stream


def _write_file(
    folder: Path, kind: str, argument: Argument | None, result: Result, may: MayReplace, kinds: Kinds
) -> None:
    if argument is not None and result.error is None:
        content = kinds.render[kind](result).encode("utf-8")
        # The audio was compared before; to do it for each would take its square.
        write_file(folder / kinds.place(argument, kind), content, may=replace(may, inputs=()))


def _write_text(stream: TextIO, render: Callable[[Any], str], result: Result, prefix: bool) -> None:
    if result.error is None:
        named = f"{result.source}\t" if prefix else ""
        stream.write(named + render(result))
        stream.flush()


@contextmanager
def _json_list(stream: TextIO, kinds: Kinds) -> Iterator[Write]:
    """Write a JSON list that is valid even where writing stops early."""
    head = "["

    def write(_: Argument | None, result: Result) -> None:
        nonlocal head
        stream.write(f"{head}\n{json.dumps(kinds.to_dict(result), ensure_ascii=False)}")
        stream.flush()
        head = ","

    try:
        yield write
    finally:
        stream.write("[]\n" if head == "[" else "\n]\n")
