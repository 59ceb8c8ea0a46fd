"""Export to a folder for onnx-asr, whose models of the type ``wav2vec2-ctc`` take raw samples and their lengths."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.forms import SAMPLES, GreedyForm
from bigfoot.export.onnx import build_onnx
from bigfoot.export.runtime_folder import RuntimeFolder, check_rate, name_runtime
from bigfoot.formats.folder import LoadedModel
from bigfoot.text.symbols import read_symbols

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NAME = "onnx-asr"
MODEL_TYPE = "wav2vec2-ctc"
_LENGTHS, _LOG_PROBS = "input_lengths", "logprobs"


def build_onnx_asr(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, batch_invariant: bool | None = None
) -> RuntimeFolder:
    """Write a model in the form of onnx-asr.

    Args:
        loaded: with a CTC head.
        plan: layers that compute in int8.
        normalize: always, where the model asks for it: the runtime gives samples as they are.
        batch_invariant: see ``build_onnx``.

    Raises:
        ModelError: see ``check_rate`` and ``read_symbols``.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    check_rate(loaded)
    assert loaded.processor.tokenizer is not None
    symbols = read_symbols(loaded.processor.tokenizer, str(loaded.folder))
    form = GreedyForm(
        _LENGTHS, _LOG_PROBS, size=len(symbols.names), blank=symbols.blank, merged=symbols.merged, log_probs=True
    )
    origin = build_onnx(loaded, plan, normalize=True, batch_invariant=batch_invariant, form=form)
    config = {"model_type": MODEL_TYPE, "subsampling_factor": loaded.model.config.inputs_to_logits_ratio}
    files = {"vocab.txt": symbols.to_lines(), "config.json": (json.dumps(config) + "\n").encode()}
    return RuntimeFolder(name_runtime(origin, NAME), form, files, _run)


def _run(session: InferenceSession, input_values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    log_probs, frames = session.run([_LOG_PROBS, "frames"], {SAMPLES: input_values, _LENGTHS: lengths})
    return log_probs, frames
