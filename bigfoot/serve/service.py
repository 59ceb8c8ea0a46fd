"""What answers requests for transcripts: admission, upload, model, and the errors of each."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from bigfoot.errors import BigfootError
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.runtime.transcript import Transcript
from bigfoot.serve.answers import choose_answer
from bigfoot.serve.batcher import Batcher, Ticket
from bigfoot.serve.limits import Limits, RefusedError, stopping_error
from bigfoot.serve.metrics import Metrics
from bigfoot.serve.streams import Streams
from bigfoot.serve.uploads import Body, Upload, receive_upload, unreadable

log = logging.getLogger("bigfoot")

_LONGEST_WAIT = 60
_GONE = 499
"""Status of a request whose client went away, as nginx counts them."""


class Service:
    """Models behind one queue.

    Args:
        models: by the name that a request gives.
        limits: of the server.
        folder: for uploads, of this server alone.
    """

    def __init__(self, models: Mapping[str, Transcriber], limits: Limits, folder: Path) -> None:
        self.limits, self.folder, self.metrics = limits, folder, Metrics()
        self.batchers = {name: Batcher(model, self.metrics.together.observe) for name, model in models.items()}
        self.streams = Streams(models, limits, self.metrics)
        self._in_flight, self._usual, self._stopped = 0, 1.0, asyncio.Event()

    def stop(self) -> None:
        """Give up: whoever still waits for a transcript gets 503."""
        self._stopped.set()

    def close(self) -> None:
        """Finish what is being computed and is still waited for."""
        self.streams.close()
        for batcher in self.batchers.values():
            batcher.close()

    async def answer(self, request: Request) -> Response:
        """Answer a request for a transcription, whatever comes."""
        body = Body(request.receive)
        try:
            with self._admitted():
                response = await self._until_stopped(self._transcribe(Request(request.scope, body)))
        except RefusedError as error:
            await body.drain(self.limits.bytes)
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            response = JSONResponse(error.to_dict(), error.status, headers)
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        except BigfootError as error:
            log.error("%s", error)
            refused = RefusedError(500, "model_failed", "the model failed at this recording; see the server's log")
            response = JSONResponse(refused.to_dict(), refused.status)
        self.metrics.requests.labels(str(response.status_code)).inc()
        return response

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._in_flight >= self.limits.requests:
            wait = min(_LONGEST_WAIT, math.ceil(self._usual))
            message = f"{self._in_flight} requests are in flight, as many as are served; try again in {wait} s"
            raise RefusedError(429, "queue_full", message, retry_after=wait)
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)

    async def _until_stopped(self, answer: Coroutine[Any, Any, Response]) -> Response:
        answering, stopped = asyncio.ensure_future(answer), asyncio.ensure_future(self._stopped.wait())
        try:
            either: set[asyncio.Future[Any]] = {answering, stopped}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
            raise stopping_error()
        finally:
            stopped.cancel()
            answering.cancel()
            await asyncio.wait([answering])  # its upload is removed

    async def _transcribe(self, request: Request) -> Response:
        start = time.perf_counter()
        async with receive_upload(request, self.limits, self.folder) as upload:
            answer, name = choose_answer(upload.fields), self._model_of(upload)
            ticket = self.batchers[name].submit(upload.path, upload.seconds)
            transcript = await _wait(request, ticket, self.limits.timeout)
        if transcript.error is not None:
            raise unreadable(transcript.error)
        seconds = time.perf_counter() - start
        self._usual = 0.9 * self._usual + 0.1 * seconds
        self.metrics.latency.observe(seconds)
        self.metrics.audio.labels(name).inc(transcript.seconds)
        return answer(transcript, upload.fields)

    def _model_of(self, upload: Upload) -> str:
        name = upload.fields.get("model", [""])[-1]
        if name not in self.batchers:
            message = f"model should be one of {', '.join(self.batchers)}, and is {name!r}"
            raise RefusedError(404, "model_not_found", message, "model")
        return name


async def _wait(request: Request, ticket: Ticket, timeout: float) -> Transcript:
    """Wait for a result, and give up with the client."""
    result = asyncio.wrap_future(ticket)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        either: set[asyncio.Future[Any]] = {result, gone}
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        if gone.done():
            raise ClientDisconnect
        raise RefusedError(503, "timeout", f"no transcript within {timeout:g} s", retry_after=_LONGEST_WAIT)
    finally:
        gone.cancel()
        result.cancel()
        ticket.give_up()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
