"""Export to a folder that a browser runs: the graph, a page with a microphone, and onnxruntime-web where it is found.

The page takes the best token of every frame, as ``GreedyForm`` has it. Audio is not sent anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.forms import SAMPLES
from bigfoot.export.onnx import build_onnx
from bigfoot.export.runtime_folder import RuntimeFolder, name_runtime, pad_rows, read_greedy
from bigfoot.formats.folder import LoadedModel

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NAME = "web"
TOKENS_FILE = "tokens.json"
PACKAGE = "onnxruntime-web"
PAGES = ("index.html", "page.js", "worker.js", "capture.js")
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""Of the npm package, what runs a graph on the processor."""
_ASSETS = Path(__file__).parent.parent / "assets" / "web"


def build_web(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, batch_invariant: bool = False
) -> RuntimeFolder:
    """Write a model as a page that transcribes.

    Args:
        loaded: with a CTC head.
        plan: layers that compute in int8.
        normalize: always, where the model asks for it.
        batch_invariant: never asked for, since the page runs one utterance at a time.

    Raises:
        ModelError: see ``read_greedy``.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    symbols, form = read_greedy(loaded)
    origin = build_onnx(loaded, plan, normalize=True, batch_invariant=False, form=form)
    facts = {"symbols": symbols.names, "blank": symbols.blank, "sample_rate": loaded.processor.sample_rate}
    files = {name: (_ASSETS / name).read_bytes() for name in PAGES}
    files |= {TOKENS_FILE: (json.dumps(facts, ensure_ascii=False) + "\n").encode(), **read_runtime([Path.cwd()])}
    return RuntimeFolder(name_runtime(origin, NAME), form, files, run_alone)


def read_runtime(places: Iterable[Path]) -> dict[str, bytes]:
    """Read the files of onnxruntime-web, where npm has installed it.

    Args:
        places: folders; ``node_modules`` is searched for in them and in those above, as Node does.

    Returns:
        Content by name within the export, below ``ort``; empty where there is none.
    """
    for place in places:
        for folder in (place, *place.parents):
            files = [folder / "node_modules" / PACKAGE / "dist" / name for name in RUNTIME_FILES]
            if all(file.is_file() for file in files):
                return {f"ort/{file.name}": file.read_bytes() for file in files}
    return {}


def run_alone(
    session: InferenceSession, input_values: np.ndarray, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Run a graph without lengths on each utterance; see ``RunSession``."""
    rows, frames = [], []
    for samples, length in zip(input_values, lengths, strict=True):
        logits, count = session.run(["logits", "frames"], {SAMPLES: samples[None, :length]})
        rows.append(logits[0])
        frames.append(int(count[0]))
    return pad_rows(rows), np.array(frames)
