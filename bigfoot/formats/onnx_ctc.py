"""ONNX files with CTC logits, of bigfoot's own export, onnx-asr, sherpa-onnx, NeMo or any other: read to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.formats.checkpoint import TENSOR_SUFFIXES
from bigfoot.formats.choices import Choices
from bigfoot.models.configuration import BigfootConfig, build_config
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.frames.measuring import MeasuredFrames, measure_frames
from bigfoot.models.frames.onnx_graph import GraphSettings, build_run
from bigfoot.models.frames.registry import GRAPH
from bigfoot.runtime.engine import ModelFacts
from bigfoot.runtime.graph_of_audio import AudioGraph
from bigfoot.runtime.graph_weights import count_weights
from bigfoot.runtime.metadata import read_facts
from bigfoot.text.huggingface import load_head_tokenizer
from bigfoot.text.json_files import read_json_if_there
from bigfoot.text.symbol_files import SYMBOL_FILES, find_symbol_file, load_symbols
from bigfoot.text.symbols import read_symbols
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import Processor, extractor_settings, load_processor
from bigfoot.types import SAMPLE_RATE, Hertz

SUFFIX = ".onnx"
_FIRST = "model.onnx"
_RAW_SAMPLES = ("wav2vec2-ctc",)
"""Models of onnx-asr that take samples as they are."""
_NORMALIZED_BANDS = "per_feature"
_LEAST_OF_BANDS = 1600
"""Samples below which normalization over two or three spectra is none."""


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is known of a graph.

    Args:
        settings: see ``GraphSettings``.
        processor: of its audio and tokens.
        blank: id of CTC's blank.
    """

    settings: GraphSettings
    processor: Processor
    blank: int


def is_onnx(path: Path) -> bool:
    """Return whether a path is an ONNX file, or a folder with one and no weights of another format."""
    if path.is_file():
        return path.suffix == SUFFIX
    suffixes = {file.suffix for file in path.iterdir()} if path.is_dir() else set[str]()
    return SUFFIX in suffixes and not suffixes.intersection(TENSOR_SUFFIXES)


def find_graph(path: Path) -> Path:
    """Find the graph of a path that ``is_onnx``: the only one of a folder, or its ``model.onnx``.

    Raises:
        ModelError: a folder holds several, none of them of that name.
    """
    if path.is_file():
        return path
    found = sorted(path.glob(f"*{SUFFIX}"))
    if len(found) > 1 and (path / _FIRST) not in found:
        raise ModelError(f"{path}: holds several ONNX files; name one of {', '.join(file.name for file in found)}")
    return found[0] if len(found) == 1 else path / _FIRST


def outline_onnx(path: Path, _: Choices) -> tuple[BigfootConfig, Processor]:
    """Read shape and processor of a graph; where no file says when its frames are, some thirty runs do.

    Args:
        path: that ``is_onnx``.

    Raises:
        ModelError: see ``AudioGraph``; or there is no vocabulary, or not of as many tokens.
        MissingExtraError: ONNX Runtime is not installed.
    """
    file = find_graph(path)
    stat = file.stat()
    beside = tuple(sorted((each.name, each.stat().st_mtime_ns) for each in file.parent.iterdir() if each.is_file()))
    known = _read(file.resolve(), stat.st_size, beside)
    settings = dataclasses.asdict(known.settings)
    fields = {
        "frame_encoder": {"kind": GRAPH, "settings": settings}, "hidden_size": known.settings.tokens,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_conv_pos_embedding_groups": 1, "ctc_head": True,
        "mask_time_prob": 0.0, "vocab_size": known.settings.tokens, "pad_token_id": known.blank,
        "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    return build_config(fields, file), known.processor


def load_onnx(path: Path, choices: Choices) -> tuple[BigfootForCTC, Processor]:
    """Load a graph; see ``outline_onnx``."""
    config, processor = outline_onnx(path, choices)
    return BigfootForCTC(config).eval(), processor


@lru_cache(maxsize=16)
def _read(file: Path, *_: object) -> _Known:
    """Open a graph; once while nothing changes there."""
    bands = read_json_if_there(file.parent / "config.json").get("features_size", 0)
    graph = AudioGraph(file, bands if isinstance(bands, int) else 0)
    if "bigfoot_format" in graph.metadata:
        return _read_own(file, graph.metadata)
    return _read_other(file, graph)


def _read_own(file: Path, metadata: Mapping[str, str]) -> _Known:
    """Of bigfoot's own export, in any runtime's form: its metadata says it all."""
    runtime = metadata.get("runtime")
    facts: ModelFacts = read_facts({key: value for key, value in metadata.items() if key != "runtime"}, str(file))
    merged = () if runtime is None else read_symbols(facts.tokenizer, str(file)).merged
    scale = SAMPLE_RATE / facts.sample_rate
    settings = GraphSettings(
        file=str(file), tokens=len(facts.tokenizer),
        timing=(facts.stride * scale, (facts.receptive_field - 1) / 2 * scale),
        receptive=facts.receptive_field * scale, shortest=round(facts.receptive_field * scale),
        sample_rate=facts.sample_rate, dropped=tuple(index for ids in merged for index in ids[1:]),
        parameters=_count(file),
    )  # fmt: skip
    return _Known(settings, Processor(facts.tokenizer, do_normalize=facts.normalizes), facts.tokenizer.blank_id)


def _read_other(file: Path, graph: AudioGraph) -> _Known:
    bands, rate = graph.signature.bands, _find_rate(file)
    if bands and graph.metadata.get("normalize_type", _NORMALIZED_BANDS) != _NORMALIZED_BANDS:
        raise ModelError(
            f"{file}: its log-mel bands are normalized by {graph.metadata['normalize_type']!r}, and the front end that "
            f"is known here is NeMo's with {_NORMALIZED_BANDS}"
        )
    if bands and rate != SAMPLE_RATE:
        raise ModelError(f"{file}: its audio has {rate} Hz, and the log-mel bands known here are of {SAMPLE_RATE} Hz")
    found: MeasuredFrames = measure_frames(build_run(file, bands, rate), str(file), _LEAST_OF_BANDS if bands else 1)
    tokenizer = _find_tokenizer(file, found.tokens)
    given = load_processor(file.parent) if extractor_settings(file.parent) else None
    raw = read_json_if_there(file.parent / "config.json").get("model_type") in _RAW_SAMPLES
    normalizes = False if bands or raw else True if given is None else given.do_normalize
    settings = GraphSettings(
        file=str(file), tokens=found.tokens, timing=(found.period, found.first), receptive=found.receptive,
        shortest=found.shortest, sample_rate=rate, bands=bands, probabilities=found.probabilities,
        assumed=not bands and not raw and given is None, parameters=_count(file),
    )  # fmt: skip
    return _Known(settings, Processor(tokenizer, do_normalize=normalizes), tokenizer.blank_id)


def _find_rate(file: Path) -> Hertz:
    rate = extractor_settings(file.parent).get("sampling_rate", SAMPLE_RATE)
    return load_processor(file.parent).sample_rate if rate != SAMPLE_RATE else SAMPLE_RATE


def _find_tokenizer(file: Path, tokens: int) -> Tokenizer:
    """Find the vocabulary beside a graph.

    Raises:
        ModelError: there is none, or it has not as many tokens as the graph gives.
    """
    folder = file.parent
    blank: Any = read_json_if_there(folder / "config.json").get("pad_token_id")
    blank = blank if isinstance(blank, int) and 0 <= blank < tokens else None
    symbols = find_symbol_file(folder)
    found: Tokenizer | None
    if symbols is not None:
        found = load_symbols(symbols, tokens, blank)
    else:
        found = load_head_tokenizer(folder, tokens, blank) or load_processor(folder, tokens).tokenizer
    if found is None:
        names = ", ".join([*SYMBOL_FILES, "tokenizer.json", "vocab.json"])
        raise ModelError(f"{file}: no vocabulary beside it; put one of {names} into {folder}")
    if not found.fits(tokens):
        raise ModelError(f"{file}: gives {tokens} logits a frame, and the vocabulary beside it has {found.describe()}")
    return found


def _count(file: Path) -> int:
    try:
        return count_weights(file)
    except ValueError as error:
        raise ModelError(f"{file}: its weights cannot be counted: {error}") from error


def list_graph_files(path: Path) -> list[Path]:
    """List the graph and the files beside it that hold its weights.

    Args:
        path: that ``is_onnx``.
    """
    file = find_graph(path)
    named = (f"{file.name}.data", f"{file.name}_data", f"{file.stem}.data", f"{file.stem}.weights")
    return [file, *(file.with_name(name) for name in named if file.with_name(name).is_file())]


def describe_assumed_audio(config: BigfootConfig) -> str | None:
    """Describe what is assumed of the audio of a graph; None where a file says it, or for another model.

    Args:
        config: of a model.
    """
    fields = config.frame_encoder or {}
    if fields.get("kind") != GRAPH or not fields["settings"]["assumed"]:
        return None
    return (
        f"{fields['settings']['file']}: no preprocessor_config.json beside it; assumed are 16000 Hz and do_normalize: "
        "true. Check the original model, or write the file"
    )


