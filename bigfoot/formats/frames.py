"""Encoders of other kinds: Whisper's folders, and new models around an encoder of a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoConfig, WhisperConfig

from bigfoot.errors import ModelError
from bigfoot.formats.choices import Choices
from bigfoot.formats.filling import refuse_quantized
from bigfoot.formats.weight_files import read_weights
from bigfoot.models.configuration import build_config
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.finite import find_non_finite
from bigfoot.models.frames.base import FrameEncoder
from bigfoot.models.frames.registry import build_frame_encoder, gives_states
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import Processor

_PREFIXES = ("model.encoder.", "encoder.")
_SHAPE = (
    "d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins", "max_source_positions",
    "activation_function", "dropout", "attention_dropout", "activation_dropout",
)  # fmt: skip
_FRONT = ("hop_length", "n_fft")
"""Of the feature extractor."""


def build_around(kind: str, settings: dict[str, Any], source: object = "frame_encoder") -> BigfootForCTC:
    """Build a model around an encoder of another kind, without any head; weights are random.

    Args:
        kind: registered, or ``whisper``.
        settings: of its kind.
        source: where they come from, for messages.

    Raises:
        ModelError: it cannot be built.

    Examples:
        >>> settings = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
        >>> build_around("whisper", settings).config.hidden_size
        16
    """
    encoder: FrameEncoder = build_frame_encoder({"kind": kind, "settings": settings})
    fields = {
        "frame_encoder": {"kind": kind, "settings": settings}, "hidden_size": encoder.hidden_size,
        "num_hidden_layers": encoder.num_layers, "num_attention_heads": 1, "num_conv_pos_embedding_groups": 1,
        "ctc_head": False, "mask_time_prob": 0.0,
    }  # fmt: skip
    return BigfootForCTC(build_config(fields, source)).eval()


def is_whisper(path: Path) -> bool:
    """Return whether a folder holds a Whisper model of transformers."""
    file = path / "config.json"
    return path.is_dir() and file.exists() and read_json(file).get("model_type") == "whisper"


def load_whisper(folder: Path, _: Choices) -> tuple[BigfootForCTC, Processor]:
    """Load the encoder of a Whisper model, and the settings of its feature extractor.

    Args:
        folder: of ``WhisperModel`` or ``WhisperForConditionalGeneration``.

    Raises:
        ModelError: its weights do not fit its configuration.
    """
    config = AutoConfig.from_pretrained(folder)
    assert isinstance(config, WhisperConfig)
    file, raw = folder / "preprocessor_config.json", dict[str, Any]()
    if file.is_file():
        raw = read_json(file)
    settings = {name: getattr(config, name) for name in _SHAPE} | {name: raw[name] for name in _FRONT if name in raw}
    model = build_around("whisper", settings, folder / "config.json")
    _fill(model, read_weights(folder), folder)
    return model, Processor(do_normalize=raw.get("do_normalize") is True)


def _fill(model: BigfootForCTC, tensors: dict[str, Tensor], folder: Path) -> None:
    inner = model.get_submodule(f"{model.config.weight_prefix}.encoder.inner.encoder")
    prefix = next((each for each in _PREFIXES if any(name.startswith(each) for name in tensors)), "encoder.")
    state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    expected = inner.state_dict()
    wrong = sorted(name for name in expected if name not in state or state[name].shape != expected[name].shape)
    if wrong:
        raise ModelError(f"{folder}: its weights do not fit its config.json: {wrong[0]} is missing or of another shape")
    refuse_quantized(state, expected, folder)
    if faults := find_non_finite({name: state[name] for name in expected}):
        raise ModelError(f"{folder}: its weights are damaged: {', '.join(faults[:5])}")
    inner.load_state_dict({name: state[name].float() for name in expected})


def refuse_to_keep(model: BigfootForCTC) -> None:
    """Refuse to write a graph or a teacher of texts as a model folder: nothing could be done with it.

    Args:
        model: to be written.

    Raises:
        ModelError: it is one.
    """
    if not gives_states(model.config.frame_encoder):
        assert model.config.frame_encoder is not None
        kind = model.config.frame_encoder["kind"]
        raise ModelError(f"a model of the kind {kind!r} can teach, but cannot be written as another model")


def refuse_to_save(model: BigfootForCTC, processor: Processor, folder: Path) -> None:
    """Refuse to write a format of which bigfoot has a part alone, such as Whisper's encoder.

    Raises:
        ModelError: always.
    """
    raise ModelError(f"{folder}: models of this format are read, not written; keep the bigfoot format")
