"""How a model streams: the fields of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bigfoot.text.json_fields import Flag, Rule, Whole, build_from_json, describe_stray, find_problems, has_fields_of

_MOST_FRAMES = 10_000
_RULES: Mapping[str, Rule] = {"chunk": Whole(most=_MOST_FRAMES), "left": Whole(least=0, most=100), "dynamic": Flag()}


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
