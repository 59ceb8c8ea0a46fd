"""Encoders of other kinds by name."""

from __future__ import annotations

import importlib
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.models.frames.base import FrameEncoder
from bigfoot.text.json_fields import quote

GRAPH = "onnx"
"""An ONNX graph, of which logits alone can be had, and whose weights lie in its own file."""
SEQ2SEQ = "transformers_seq2seq"
"""A sequence-to-sequence model, of which texts alone can be had."""
_OURS = {
    "whisper": "bigfoot.models.frames.whisper:WhisperFrames",
    "transformers_ctc": "bigfoot.models.frames.transformers_ctc:TransformersFrames",
    GRAPH: "bigfoot.models.frames.onnx_graph:GraphFrames",
    SEQ2SEQ: "bigfoot.models.frames.seq2seq:Seq2SeqFrames",
}
_ENCODERS: dict[str, type[FrameEncoder]] = {}


def register_frame_encoder(name: str, encoder: type[FrameEncoder]) -> None:
    """Register an encoder of a user's own, from a module that ``plugins`` names.

    Args:
        name: of its kind, as the configuration of a model has it.
        encoder: its class, which is built from its settings.

    Raises:
        ModelError: the name is taken by another class.
    """
    taken = _ENCODERS.get(name, encoder)
    # A module that is loaded again replaces its own class.
    other = (taken.__module__, taken.__qualname__) != (encoder.__module__, encoder.__qualname__)
    if name in _OURS or other:
        raise ModelError(f"an encoder {name!r} is registered already; choose another name")
    _ENCODERS[name] = encoder


def gives_states(fields: dict[str, Any] | None) -> bool:
    """Return whether a model has hidden states to learn from, which a graph and a teacher of texts have not.

    Args:
        fields: ``frame_encoder`` of its shape; None for our own encoder.

    Examples:
        >>> gives_states(None), gives_states({"kind": "onnx", "settings": {}})
        (True, False)
    """
    return fields is None or fields["kind"] not in (GRAPH, SEQ2SEQ)


def build_frame_encoder(fields: dict[str, Any]) -> FrameEncoder:
    """Build an encoder with random weights.

    Args:
        fields: ``kind`` and ``settings``.

    Raises:
        ModelError: the kind is not registered, or its settings cannot be built.
    """
    found = _ENCODERS.get(fields["kind"])
    if fields["kind"] in _OURS:
        module, _, name = _OURS[fields["kind"]].partition(":")
        found = getattr(importlib.import_module(module), name)
    if found is None:
        known = ", ".join([*_OURS, *_ENCODERS])
        raise ModelError(
            f"frame_encoder: no kind {quote(fields['kind'])} is registered; there are {known}. Name the module that "
            "registers it under plugins, or import it"
        )
    try:
        return found(fields["settings"])
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"frame_encoder: {fields['kind']} cannot be built from its settings: {error}") from error
