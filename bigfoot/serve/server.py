"""Run an application until it is stopped, requests in flight included."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from bigfoot.types import Seconds


def run_server(
    app: FastAPI, host: str, port: int, grace: Seconds, on_open: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, and answer what is in flight.

    Args:
        app: of ``build_app``.
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
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=max(1, round(grace)), lifespan="on"
        )
        # uvicorn raises the signal again when it is done: an orderly end is no death by it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[opened])
