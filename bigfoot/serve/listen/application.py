"""The routes of the page: what it offers, and a comparison of models on a recording."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

import bigfoot
from bigfoot.errors import AudioError, BigfootError
from bigfoot.serve.limits import Limits, RefusedError
from bigfoot.serve.listen.compare import compare_model, compute_peaks, load_samples
from bigfoot.serve.listen.models import Listed, OpenedModels
from bigfoot.serve.uploads import Body, Upload, receive_upload, unreadable

log = logging.getLogger("bigfoot")

_FILES = {
    "": ("listen.html", "text/html"), "listen.css": ("listen.css", "text/css"), "page.css": ("page.css", "text/css"),
    "listen.js": ("listen.js", "text/javascript"), "microphone.js": ("microphone.js", "text/javascript"),
    "recorder.js": ("recorder.js", "text/javascript"),
}  # fmt: skip
_POLICY = "default-src 'self'; media-src blob: data:; connect-src 'self' data: blob:; img-src data:"


class _Page:
    """Compares models, one recording at a time, so that speeds are those of a model alone."""

    def __init__(self, listed: Listed, opened: OpenedModels, limits: Limits, folder: Path) -> None:
        self._listed, self._opened, self._limits, self._folder = listed, opened, limits, folder
        self._turn = asyncio.Lock()

    async def answer(self, request: Request) -> Response:
        body = Body(request.receive)
        try:
            async with receive_upload(Request(request.scope, body), self._limits, self._folder) as upload:
                names = self._names(upload.fields)
                async with self._turn:
                    return JSONResponse(await run_in_threadpool(self._compare, upload, names))
        except RefusedError as error:
            await body.drain(self._limits.bytes)
            return JSONResponse(error.to_dict(), error.status)
        except ClientDisconnect:
            return Response(status_code=499)

    def _names(self, fields: Mapping[str, list[str]]) -> list[str]:
        names = list(dict.fromkeys(fields.get("model", [])))
        known = [model.name for model in self._listed.models]
        if not names or not set(names) <= set(known):
            message = f"model should be of {', '.join(known)}, and is {', '.join(names) or 'missing'}"
            raise RefusedError(404, "model_not_found", message, "model")
        return names

    def _compare(self, upload: Upload, names: Sequence[str]) -> dict[str, Any]:
        text, compared, peaks = upload.fields.get("text", [""])[-1], list[dict[str, Any]](), list[float]()
        for name in names:
            try:
                engine = self._opened.get(name)
                samples = load_samples(upload.path, engine.facts.sample_rate)
                peaks = peaks or compute_peaks(samples)
                compared.append({"name": name, **compare_model(engine, samples, text)})
            except AudioError as error:
                raise unreadable(error.reason) from error
            except BigfootError as error:
                log.error("%s: %s", name, error)
                compared.append({"name": name, "failed": "the model failed; see the terminal"})
        return {"seconds": round(upload.seconds, 3), "peaks": peaks, "models": compared}


def build_page(listed: Listed, opened: OpenedModels, limits: Limits) -> FastAPI:
    """Build the application.

    Args:
        listed: what the page offers.
        opened: the models of it.
        limits: of uploads.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with TemporaryDirectory(prefix="bigfoot-listen-") as folder:
            app.state.page = _Page(listed, opened, limits, Path(folder))
            yield

    app = FastAPI(title="bigfoot", version=bigfoot.__version__, lifespan=lifespan)

    @app.get("/api/offer")
    def offer() -> dict[str, Any]:
        return listed.to_dict()

    @app.post("/api/compare", response_model=None)
    async def compare(request: Request) -> Response:
        page: _Page = app.state.page
        return await page.answer(request)

    @app.get("/{name:path}", response_model=None)
    def file(name: str) -> Response:
        if name not in _FILES:
            return Response(status_code=404)
        asset, kind = _FILES[name]
        content = (files("bigfoot") / "assets" / "pages" / asset).read_bytes()
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return Response(content, media_type=kind, headers=headers)

    return app
