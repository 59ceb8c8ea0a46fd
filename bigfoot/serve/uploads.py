"""Uploads: read within limits, into files whose names are the server's own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from bigfoot.audio.files import read_header
from bigfoot.errors import AudioError
from bigfoot.serve.limits import Limits, RefusedError
from bigfoot.types import Seconds

_MOST_FIELDS = 32
_MOST_DIGITS = 18
_DRAIN_SECONDS: Seconds = 5.0


@dataclass(frozen=True)
class Upload:
    """A recording that came in.

    Args:
        path: of its file, removed at the end of the request.
        seconds: of audio, by its header.
        fields: of the form beside it.
    """

    path: Path
    seconds: Seconds
    fields: Mapping[str, list[str]]


class Body:
    """The body of a request, as it comes in.

    Args:
        receive: of the request.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive, self._is_whole = receive, False

    async def __call__(self) -> Message:
        """Return the next part, or that the client went away."""
        message = await self._receive()
        self._is_whole |= message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drain(self, most: int) -> None:
        """Read what the client still sends: before it has sent all, many clients see no answer.

        Args:
            most: bytes.
        """

        async def read() -> None:
            left = most
            while left > 0 and not self._is_whole:
                left -= len((await self()).get("body", b""))

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(read(), _DRAIN_SECONDS)


@asynccontextmanager
async def receive_upload(request: Request, limits: Limits, folder: Path) -> AsyncIterator[Upload]:
    """Read the form of a request.

    Args:
        request: whose body is not read yet.
        limits: of the server.
        folder: for the file.

    Yields:
        The upload; its file is gone afterwards.

    Raises:
        RefusedError: no form with one file of audio, or more than is allowed.
        ClientDisconnect: the client went away.
    """
    form = await _read_form(request, limits)
    path = folder / uuid4().hex  # what the client calls it is never a path here
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RefusedError(400, "missing_file", "the form should have the recording in its field file", "file")
        await run_in_threadpool(_copy, file.file, path)
        try:
            header = await run_in_threadpool(read_header, path)
        except AudioError as error:
            raise unreadable(error.reason) from error
        if header.seconds > limits.seconds:
            message = f"the recording has {header.seconds:.0f} s, and {limits.seconds:g} s are served"
            raise RefusedError(413, "audio_too_long", message, "file")
        names = [name for name, value in form.multi_items() if isinstance(value, str)]
        fields = {name: [value for value in form.getlist(name) if isinstance(value, str)] for name in names}
        yield Upload(path, header.seconds, fields)
    finally:
        path.unlink(missing_ok=True)
        await form.close()


def unreadable(reason: str) -> RefusedError:
    """Return the answer to audio that cannot be decoded.

    Args:
        reason: without the file's name, which is the server's own.
    """
    return RefusedError(400, "invalid_audio", f"the recording cannot be read: {reason}", "file")


async def _read_form(request: Request, limits: Limits) -> FormData:
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limits.bytes:
            raise _too_large(limits)
        return message

    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal():
        raise RefusedError(400, "invalid_form", f"Content-Length should be a number of bytes, and is {claimed[:40]!r}")
    if len(claimed) > _MOST_DIGITS or int(claimed) > limits.bytes:
        raise _too_large(limits)
    form = Request(request.scope, receive).form(max_files=1, max_fields=_MOST_FIELDS)
    try:
        return await asyncio.wait_for(_awaited(form), limits.timeout)
    except asyncio.TimeoutError as error:
        raise RefusedError(408, "slow_upload", f"the upload took longer than {limits.timeout:g} s") from error
    except HTTPException as error:
        raise RefusedError(400, "invalid_form", f"no form that can be read: {error.detail}") from error


async def _awaited(form: object) -> FormData:
    return await form  # type: ignore[misc,no-any-return]


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(413, "upload_too_large", f"uploads of up to {limits.megabytes:g} MB are served", "file")


def _copy(source: IO[bytes], path: Path) -> None:
    with path.open("xb") as file:
        shutil.copyfileobj(source, file)
