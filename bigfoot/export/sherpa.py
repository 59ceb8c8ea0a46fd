"""Export to a folder for sherpa-onnx, whose slot for raw samples is ``OfflineRecognizer.from_omnilingual_asr_ctc``.

It gives the graph one utterance without its length, brings it to zero mean and unit variance itself, takes the best
token of every frame and joins the symbols of ``tokens.txt``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.forms import SAMPLES
from bigfoot.export.onnx import build_onnx
from bigfoot.export.runtime_folder import RuntimeFolder, check_rate, name_runtime, pad_rows, read_greedy
from bigfoot.formats.folder import LoadedModel

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NAME = "sherpa"
TOKENS_FILE = "tokens.txt"
_VARIANCE_FLOOR = 1e-5
"""What the runtime adds to the variance of an utterance."""


def check_sherpa(loaded: LoadedModel) -> None:
    """Check that a model can be exported.

    Raises:
        ModelError: it takes samples as they are, which that runtime has none of; or see ``check_rate``.
    """
    check_rate(loaded)
    if not loaded.processor.do_normalize:
        raise ModelError(
            f"{loaded.folder}: takes samples as they are (do_normalize: false), and sherpa-onnx brings every utterance "
            "to zero mean and unit variance; --to onnx or onnx-asr keeps them"
        )


def build_sherpa(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, batch_invariant: bool = False
) -> RuntimeFolder:
    """Write a model in the form of sherpa-onnx.

    Args:
        loaded: with a CTC head.
        plan: layers that compute in int8.
        normalize: always: the graph evens out what the runtime adds to the variance of quiet audio.
        batch_invariant: never asked for, since the runtime runs one utterance at a time.

    Raises:
        ModelError: see ``check_sherpa`` and ``read_greedy``.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    check_sherpa(loaded)
    symbols, form = read_greedy(loaded)
    origin = build_onnx(loaded, plan, normalize=True, batch_invariant=False, form=form)
    return RuntimeFolder(name_runtime(origin, NAME), form, {TOKENS_FILE: symbols.to_lines()}, _run)


def _run(session: InferenceSession, input_values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, frames = [], []
    for samples, length in zip(input_values, lengths, strict=True):
        real = samples[:length].astype(np.float64)
        real = (real - real.mean()) / np.sqrt(real.var() + _VARIANCE_FLOOR)
        logits, count = session.run(["logits", "frames"], {SAMPLES: real[None].astype(np.float32)})
        rows.append(logits[0])
        frames.append(int(count[0]))
    return pad_rows(rows), np.array(frames)
