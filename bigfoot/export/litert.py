"""Export to LiteRT (TensorFlow Lite): one ``.tflite`` file for a window of fixed length."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.window import WINDOW, WindowExport, build_window, import_converter
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.program import ExportableModel
from bigfoot.types import Seconds

SUFFIX = ".tflite"
_PACKAGES = ("litert-torch", "ai-edge-litert")


def require_litert() -> None:
    """Raise an error that names what is not installed.

    Raises:
        ModelError: litert-torch or ai-edge-litert is missing.
    """
    import_converter("litert_torch", *_PACKAGES)
    import_converter("ai_edge_litert.interpreter", *_PACKAGES)


def build_litert(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, window: Seconds = WINDOW
) -> WindowExport:
    """Convert a model by litert-torch; every pass computes the whole window.

    Args:
        loaded: with a CTC head.
        plan: None, for int8 has no form there.
        normalize: see ``build_window``.
        window: longest audio of a pass.

    Raises:
        ModelError: see ``build_window``; or an operator that LiteRT has not.
    """
    assert not (plan and plan.ranges), "refused before anything is loaded"
    return build_window(loaded, _convert, SUFFIX, normalize=normalize, window=window)


def _convert(model: ExportableModel, _: int, window: int) -> bytes:
    litert_torch = import_converter("litert_torch", *_PACKAGES)
    try:
        converted = litert_torch.convert(model, (torch.zeros(1, window), torch.tensor([window])))
    except Exception as error:  # What it raises has no base of its own.
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(f"litert-torch cannot convert this shape ({first}); --to onnx can") from error
    with tempfile.TemporaryDirectory(prefix="bigfoot-") as folder:
        path = Path(folder) / "model.tflite"
        converted.export(str(path))
        return path.read_bytes()
