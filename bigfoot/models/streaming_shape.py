"""How a model streams: the fields of a configuration, and the shapes that can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bigfoot.text.json_fields import Flag, Rule, Whole, build_from_json, describe_stray, find_problems, has_fields_of

if TYPE_CHECKING:
    from bigfoot.models.shape import Shape

_MOST_FRAMES = 10_000
_RULES: Mapping[str, Rule] = {"chunk": Whole(most=_MOST_FRAMES), "left": Whole(least=0, most=100), "dynamic": Flag()}
_REQUIRED: Mapping[str, object] = {
    "block": "transformer", "front_end": "convolutions", "time_reduction": 1, "squeeze_factor": 1,
    "add_adapter": False, "num_prompts": 0, "decoder": None, "task": None, "frame_encoder": None,
}  # fmt: skip
"""What a shape that streams has, by field."""


@dataclass(frozen=True)
class StreamingShape:
    """Chunks of frames that a model reads one after the other.

    Args:
        chunk: frames of a chunk, each of which attends to all of it.
        left: chunks before it that its frames attend to.
        dynamic: whether training draws chunks of other sizes too.

    Examples:
        >>> StreamingShape.read({"chunk": 16, "left": 4}).cached
        64
    """

    chunk: int
    left: int
    dynamic: bool = False

    @classmethod
    def read(cls, raw: object) -> StreamingShape:
        """Read them from a configuration.

        Raises:
            ModelError: with all that is wrong.
        """
        return build_from_json(cls, raw, streaming_problems, "this model cannot stream")

    @property
    def cached(self) -> int:
        """Frames before a chunk that its frames attend to."""
        return self.chunk * self.left


def streaming_problems(raw: object) -> Iterator[str]:
    """Explain why the field ``streaming`` of a configuration cannot be read.

    Args:
        raw: the field.

    Yields:
        One sentence a problem.
    """
    if not has_fields_of(raw, StreamingShape) or not {"chunk", "left"} <= raw.keys():
        yield describe_stray("streaming", StreamingShape, raw)
        return
    yield from (f"streaming.{problem}" for problem in find_problems(raw, _RULES))


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
