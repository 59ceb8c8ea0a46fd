"""The server's routes: OpenAI's transcriptions and models, streams, health and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI, Request, Response, WebSocket
from starlette.responses import PlainTextResponse

import bigfoot
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.serve.limits import Limits
from bigfoot.serve.service import Service


def build_app(models: Mapping[str, Transcriber], limits: Limits) -> FastAPI:
    """Build the application.

    Args:
        models: by the name that a request gives.
        limits: of the server.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with TemporaryDirectory(prefix="bigfoot-serve-") as folder:
            app.state.service = Service(models, limits, Path(folder))
            yield
            app.state.service.close()

    app = FastAPI(title="bigfoot", version=bigfoot.__version__, lifespan=lifespan)

    @app.post("/v1/audio/transcriptions", response_model=None)
    async def transcriptions(request: Request) -> Response:
        return await app.state.service.answer(request)

    @app.websocket("/v1/audio/stream")
    async def stream(websocket: WebSocket) -> None:
        await app.state.service.streams.serve(websocket)

    @app.get("/v1/models")
    def list_models() -> dict[str, object]:
        found = [{"id": name, "object": "model", "created": 0, "owned_by": "bigfoot"} for name in models]
        return {"object": "list", "data": found}

    @app.get("/health")
    def health() -> dict[str, object]:
        return {"status": "ok", "models": list(models)}

    @app.get("/metrics", response_model=None)
    def metrics() -> Response:
        return PlainTextResponse(app.state.service.metrics.render(), media_type="text/plain; version=0.0.4")

    return app
