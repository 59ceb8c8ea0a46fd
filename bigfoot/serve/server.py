"""Run an application until it is stopped, requests in flight included."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from bigfoot.serve.service import Service
from bigfoot.serve.streams import MOST_BYTES
from bigfoot.types import Seconds

_MARGIN = 5
"""Seconds beyond the grace in which the answers to what was given up are sent."""


def run_server(
    app: FastAPI, host: str, port: int, grace: Seconds, on_open: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, and answer what is in flight, with 503 beyond the grace.

    Args:
        app: of ``build_app``, or a page's.
        host: address to listen on.
        port: 0 for any that is free.
        grace: for requests in flight at the end.
        on_open: called with the server's address once connections are taken.

    Raises:
        OSError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as opened:
        found = opened.getsockname()[1]
        on_open(f"http://{f'[{host}]' if ':' in host else host}:{found}")
        # uvicorn raises the signal again when it is done: an orderly end is no death by it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        GracefulServer(app, grace).run(sockets=[opened])


class GracefulServer(uvicorn.Server):
    """A server that ends its streams, and answers with 503 what it cannot finish.

    Args:
        app: see ``run_server``.
        grace: see there.
    """

    def __init__(self, app: FastAPI, grace: Seconds) -> None:
        super().__init__(uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="on", ws="wsproto", ws_max_size=MOST_BYTES,
            timeout_graceful_shutdown=math.ceil(grace) + _MARGIN,
        ))  # fmt: skip
        self._app, self._grace = app, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more, and end what is there within the grace."""
        for server in self.servers:
            server.close()
        service: Service | None = getattr(self._app.state, "service", None)
        if service is not None:
            asyncio.get_running_loop().call_later(self._grace, service.stop)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(service.streams.stop(), self._grace)
        await super().shutdown(sockets)
