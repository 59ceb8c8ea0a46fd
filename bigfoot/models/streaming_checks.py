"""The shapes that can stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bigfoot.models.shape import Shape

_REQUIRED: Mapping[str, object] = {
    "block": "transformer", "position_embeddings_type": None, "front_end": "convolutions", "time_reduction": 1,
    "squeeze_factor": 1, "add_adapter": False, "num_prompts": 0, "decoder": None, "task": None, "frame_encoder": None,
}  # fmt: skip
"""What a shape that streams has, by field."""


def unstreamable_parts(config: Shape) -> Iterator[str]:
    """Name the parts of a shape that has ``streaming`` that cannot work chunk by chunk.

    Args:
        config: the shape.

    Yields:
        One sentence a part.
    """
    values: dict[str, Any] = {name: getattr(config, name) for name in _REQUIRED}
    for name, value in values.items():
        if value != _REQUIRED[name]:
            shown = "" if isinstance(value, dict) else f" {value!r}"
            yield f"streaming: {name}{shown} reads audio that has not come yet, or has no form chunk by chunk"
    if config.small is not None and config.small.computes_int8:
        yield f"streaming: layers in {config.precision} have no form chunk by chunk"
    if config.has_convolutions and config.receptive_field < config.inputs_to_logits_ratio:
        yield "streaming: frames leave out samples between them"
