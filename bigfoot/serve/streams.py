"""Streams over a websocket: one session a client, gone with it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from bigfoot.errors import BigfootError
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.runtime.words import join_words
from bigfoot.serve.limits import Limits, RefusedError, stopping_error
from bigfoot.serve.metrics import Metrics
from bigfoot.serve.sessions import Resampler, StreamSession, Update, open_session
from bigfoot.types import HIGHEST_RATE, LOWEST_RATE, Hertz, Seconds

log = logging.getLogger("bigfoot")

MOST_BYTES = 1 << 20
"""Of one message: half a minute at 16 kHz."""
_DONE, _GOING_AWAY, _REFUSED, _FAILED = 1000, 1001, 1008, 1011
"""Codes of RFC 6455 with which a stream is closed."""
_RETRY_SECONDS = 10

OpenSession = Callable[[Transcriber], StreamSession]


class Streams:
    """Streams of a server.

    A message is read when the one before it is computed, so that a client that sends faster than the model computes
    waits, and nothing piles up.

    Args:
        models: by the name that a request gives.
        limits: of the server.
        metrics: of the server.
        open_session: makes the state of a client.

    Attributes:
        limits: of the server.
        stopping: set once no more is taken.
        pool: where sessions compute.
    """

    def __init__(
        self, models: Mapping[str, Transcriber], limits: Limits, metrics: Metrics,
        open_session: OpenSession = open_session,
    ) -> None:  # fmt: skip
        self._models, self.limits, self._metrics, self._open = models, limits, metrics, open_session
        self._count, self.stopping, self._empty = 0, asyncio.Event(), asyncio.Event()
        self._empty.set()
        self.pool = ThreadPoolExecutor(max(1, min(limits.streams, 4)), thread_name_prefix="bigfoot-stream")

    async def stop(self) -> None:
        """End all streams: their clients get what they sent as final text."""
        self.stopping.set()
        await self._empty.wait()

    def close(self) -> None:
        """Finish what is being computed."""
        self.pool.shutdown()

    async def serve(self, websocket: WebSocket) -> None:
        """Transcribe a stream until its client or the server ends it; its state goes with this call."""
        try:
            with self._admitted(), suppress(WebSocketDisconnect):
                name, rate = self._read_query(websocket)
                model = self._models[name]
                stream = _Stream(self, websocket, self._open(model), Resampler(rate, model.facts.sample_rate))
                await websocket.accept()
                await stream.send({"type": "ready", "model": name, "sample_rate": rate})
                await stream.run()
        except RefusedError as error:
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            await websocket.send_denial_response(JSONResponse(error.to_dict(), error.status, headers))

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self.stopping.is_set():
            raise stopping_error()
        if self._count >= self.limits.streams:
            message = f"{self._count} streams are open, as many as are served; try again in {_RETRY_SECONDS} s"
            raise RefusedError(429, "too_many_streams", message, retry_after=_RETRY_SECONDS)
        self._change(1)
        try:
            yield
        finally:
            self._change(-1)

    def _change(self, by: int) -> None:
        self._count += by
        self._metrics.streams.set(self._count)
        (self._empty.clear if self._count else self._empty.set)()

    def _read_query(self, websocket: WebSocket) -> tuple[str, Hertz]:
        name, asked = websocket.query_params.get("model", ""), websocket.query_params.get("sample_rate")
        if name not in self._models:
            message = f"model should be one of {', '.join(self._models)}, and is {name!r}"
            raise RefusedError(404, "model_not_found", message, "model")
        if asked is None:
            return name, self._models[name].facts.sample_rate
        if not (asked.isdecimal() and len(asked) < 9 and LOWEST_RATE <= int(asked) <= HIGHEST_RATE):
            message = f"sample_rate should be {LOWEST_RATE} to {HIGHEST_RATE} Hz, and is {asked[:40]!r}"
            raise RefusedError(400, "invalid_rate", message, "sample_rate")
        return name, int(asked)


class _Stream:
    """One client and its state."""

    def __init__(self, server: Streams, websocket: WebSocket, session: StreamSession, resampler: Resampler) -> None:
        self._server, self._socket, self._session, self._resampler = server, websocket, session, resampler
        self._received, self._partial = 0, ""

    async def run(self) -> None:
        """Read messages until the end, and send what comes of them."""
        try:
            while (content := await self._receive()) is not None:
                await self._send_update(await self._compute(self._feed, content))
            await self._send_update(await self._compute(self._finish))
            await self.send({"type": "end", "seconds": round(self._seconds(), 3)})
            await self._socket.close(_GOING_AWAY if self._server.stopping.is_set() else _DONE)
        except RefusedError as error:
            await self.send({"type": "error", **error.to_dict()})
            await self._socket.close(_REFUSED if error.status < 500 else _FAILED)

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message as JSON."""
        await self._socket.send_text(json.dumps(message, ensure_ascii=False))

    def _seconds(self) -> Seconds:
        return self._received / 2 / self._resampler.source

    async def _receive(self) -> bytes | None:
        """Bytes of the next message; None at the end."""
        limits, stopping = self._server.limits, asyncio.ensure_future(self._server.stopping.wait())
        reading = asyncio.ensure_future(self._socket.receive())
        try:
            either: set[asyncio.Future[Any]] = {reading, stopping}
            await asyncio.wait(either, timeout=limits.idle, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done() and stopping.done():
                return None
            if not reading.done():
                raise RefusedError(408, "idle", f"the stream sent nothing for {limits.idle:g} s")
            message = reading.result()
        finally:
            reading.cancel()
            stopping.cancel()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        content = message.get("bytes")
        if content is None:
            _check_end(message.get("text") or "")
            return None
        self._received += len(content)
        if self._seconds() > limits.seconds:
            raise RefusedError(413, "audio_too_long", f"streams of up to {limits.seconds:g} s are served")
        return bytes(content)

    async def _compute(self, function: Callable[..., Update], *given: bytes) -> Update:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._server.pool, function, *given)
        except BigfootError as error:
            log.error("%s", error)
            raise RefusedError(500, "model_failed", "the model failed at this stream; see the server's log") from error

    def _feed(self, content: bytes) -> Update:
        return self._session.feed(self._resampler.feed(content))

    def _finish(self) -> Update:
        before = self._session.feed(self._resampler.finish())
        return Update("", before.final + self._session.finish().final)

    async def _send_update(self, update: Update) -> None:
        if update.final:
            words = [
                {"word": each.text, "start": round(each.start, 3), "end": round(each.end, 3)} for each in update.final
            ]
            await self.send({"type": "final", "text": join_words(update.final), "words": words})
        if update.final or update.partial != self._partial:
            await self.send({"type": "partial", "text": update.partial})
        self._partial = update.partial


def _check_end(text: str) -> None:
    """Check that a message of text ends the stream."""
    try:
        message = json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict) or message.get("type") != "end":
        raise RefusedError(400, "unknown_message", 'messages are bytes of audio, or the text {"type": "end"}')
