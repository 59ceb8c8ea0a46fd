"""The shape of a decoder as it stands in a model's configuration, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bigfoot.text.json_fields import build_from_json, describe_stray, has_fields_of, quote

KINDS = ("mini_gpt", "pretrained")
STREAMS = ("encoder", "layers", "fbank", "posteriors")
_WORDS = {"kind": KINDS, "fuse": ("pool", "attention", "decoder"), "projection": ("linear", "conv"),
          "train": ("full", "lora", "frozen")}  # fmt: skip
# Far beyond what is ever trained, so that a config.json cannot fill the memory before its weights are checked.
_MOST = {"hidden_size": 2**14, "num_layers": 200, "num_heads": 2**10, "stride": 64, "lora_rank": 2**12}
_MOST_OF_MODEL = 200, 10**6
"""Layers of a language model, and any other count."""


@dataclass(frozen=True)
class DecoderShape:
    """Shape of a decoder.

    Args:
        kind: ``mini_gpt`` or ``pretrained``.
        hidden_size: width of ``mini_gpt`` and of the streams; a pretrained model has its own.
        num_layers: of ``mini_gpt``.
        num_heads: of ``mini_gpt``, and where streams are fused by attention.
        dropout: of ``mini_gpt``.
        streams: its input, of ``STREAMS``: the encoder's last state, all its layers by learned weights, log-mel
            energies, the CTC head's posteriors. Each is projected by itself.
        fuse: how several become one: ``pool`` (their sum by learned weights), ``attention`` (the first attends to the
            others, through gates that are closed at the start), or ``decoder`` (not at all: every layer of
            ``mini_gpt`` attends to each, to all but the first through gates that are closed at the start).
        projection: ``linear``, or ``conv`` over three frames.
        stride: frames that become one.
        language_model: transformers' configuration of a pretrained model.
        train: what of a pretrained model is trained: ``full``, ``lora``, ``frozen``.
        lora_rank: of ``lora``.

    Examples:
        >>> DecoderShape.read({"num_layers": 2}).num_layers
        2
    """

    kind: str = "mini_gpt"
    hidden_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    dropout: float = 0.1
    streams: list[str] = field(default_factory=lambda: ["encoder"])
    fuse: str = "pool"
    projection: str = "linear"
    stride: int = 1
    language_model: dict[str, Any] = field(default_factory=dict)
    train: str = "full"
    lora_rank: int = 8

    @classmethod
    def read(cls, raw: object) -> DecoderShape:
        """Read a shape from a configuration.

        Raises:
            ModelError: with all that is wrong.
        """
        return build_from_json(cls, raw, decoder_problems, "this decoder cannot be built")


def decoder_problems(raw: object) -> Iterator[str]:
    """Explain why a decoder cannot be built.

    Args:
        raw: fields of ``DecoderShape`` by name.

    Yields:
        One sentence a problem.
    """
    if not has_fields_of(raw, DecoderShape):
        yield describe_stray("decoder", DecoderShape, raw)
        return
    for name, words in _WORDS.items():
        if name in raw and raw[name] not in words:
            yield f"decoder.{name} {quote(raw[name])} is none of {', '.join(words)}"
    for name, most in _MOST.items():
        value = raw.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            yield f"decoder.{name} {quote(value)} should be a whole number from 1 to {most}"
            return
    dropout = raw.get("dropout", 0.0)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        yield f"decoder.dropout {quote(dropout)} should be a number from 0 to 1"
    if not isinstance(raw.get("language_model", {}), dict):
        yield "decoder.language_model should hold a configuration of transformers'"
    elif raw.get("kind") == "pretrained" and not raw.get("language_model", {}).get("model_type"):
        yield "decoder.language_model has no model_type"
    else:
        yield from _language_model_problems(raw.get("language_model", {}))
    yield from _stream_problems(raw)


def _stream_problems(raw: dict[str, Any]) -> Iterator[str]:
    streams = raw.get("streams", ["encoder"])
    if not isinstance(streams, list) or not streams or len(set(map(str, streams))) < len(streams):
        yield f"decoder.streams {quote(streams)} should list some of {', '.join(STREAMS)}, each once"
    elif unknown := [stream for stream in streams if stream not in STREAMS]:
        yield f"decoder.streams: unknown {unknown}; streams are {', '.join(STREAMS)}"
    if raw.get("fuse") == "decoder" and raw.get("kind") == "pretrained":
        yield "decoder.fuse decoder is for mini_gpt; a pretrained model attends to one stream: take pool or attention"
    size, heads = raw.get("hidden_size", 256), raw.get("num_heads", 4)
    if raw.get("kind", "mini_gpt") == "mini_gpt" and (size % heads or size % 2):
        yield f"decoder.hidden_size {size} should be even and a multiple of num_heads {heads}"


def _language_model_problems(raw: dict[str, Any]) -> Iterator[str]:
    """Counts of transformers' configuration that no model needs."""
    for key, value in raw.items():
        most = _MOST_OF_MODEL[0] if "layer" in key else _MOST_OF_MODEL[1]
        if isinstance(value, int) and not isinstance(value, bool) and value > most:
            yield f"decoder.language_model.{key} {value} is more than the {most} that are built at most"
