"""Export to a folder for transformers.js, whose pipeline of speech recognition opens it as a ``Wav2Vec2ForCTC``.

It gives the graph one utterance, takes the best token of every frame, and joins the symbols of ``tokenizer.json``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ModelError
from bigfoot.export.onnx import build_onnx
from bigfoot.export.runtime_folder import RuntimeFolder, name_runtime, read_greedy
from bigfoot.export.web import run_alone
from bigfoot.formats.folder import LoadedModel
from bigfoot.text.symbols import BLANK, WORD_START, Symbols

NAME = "transformers-js"
GRAPH_FILE = "onnx/model.onnx"


def build_transformers_js(
    loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False, batch_invariant: bool = False
) -> RuntimeFolder:
    """Write a model in the form of transformers.js.

    Args:
        loaded: with a CTC head.
        plan: layers that compute in int8.
        normalize: always, where the model asks for it.
        batch_invariant: never asked for, since the pipeline runs one utterance at a time.

    Raises:
        ModelError: see ``read_greedy``; or two tokens of one text.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    symbols, form = read_greedy(loaded)
    if len(set(symbols.names)) < len(symbols.names):
        raise ModelError(f"{loaded.folder}: two tokens are one text, which transformers.js would merge; --to onnx can")
    origin = build_onnx(loaded, plan, normalize=True, batch_invariant=False, form=form)
    files = {name: (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode("utf-8")
             for name, found in _describe(symbols, loaded.processor.sample_rate).items()}  # fmt: skip
    return RuntimeFolder(name_runtime(origin, NAME), form, files, run_alone, GRAPH_FILE)


def _describe(symbols: Symbols, sample_rate: int) -> Mapping[str, Mapping[str, Any]]:
    """Return the JSON files by name."""
    vocabulary = {name: index for index, name in enumerate(symbols.names)}
    # Tokens of a text are merged by CTC, and its repeated spaces are one.
    spaces = {"type": "Replace", "pattern": {"Regex": " +"}, "content": " "}
    merging = {"type": "CTC", "pad_token": BLANK, "word_delimiter_token": WORD_START, "cleanup": True}
    return {
        "config.json": {
            "model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], "vocab_size": len(symbols.names),
            "pad_token_id": symbols.blank,
            # In a browser it would ask for model_quantized.onnx.
            "transformers.js_config": {"dtype": "fp32"},
        },
        "preprocessor_config.json": {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor", "processor_class": "Wav2Vec2Processor",
            "sampling_rate": sample_rate, "feature_size": 1, "padding_value": 0.0, "do_normalize": False,
        },
        "tokenizer.json": {
            "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": [merging, spaces]}, "model": {"vocab": vocabulary},
        },
        "tokenizer_config.json": {
            "tokenizer_class": "Wav2Vec2CTCTokenizer", "pad_token": BLANK, "clean_up_tokenization_spaces": False,
        },
    }  # fmt: skip
