"""What losses that compare layer with layer have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bigfoot.config.problems import Problem
from bigfoot.distill.matches import LayerMatch, build_layer_matches
from bigfoot.errors import ModelError

if TYPE_CHECKING:
    from bigfoot.models.configuration import BigfootConfig


def match_layers(
    matches: str | Sequence[Sequence[int]], student: BigfootConfig, teacher: BigfootConfig
) -> list[LayerMatch]:
    """Return which layer of the student is compared with which of the teacher.

    Raises:
        ModelError: see ``build_layer_matches``.
    """
    return build_layer_matches(matches, student.num_hidden_layers, teacher.num_hidden_layers)


def match_problems(
    matches: str | Sequence[Sequence[int]], student: BigfootConfig, teacher: BigfootConfig
) -> Iterator[Problem]:
    """Find what is wrong with the field ``matches``."""
    try:
        match_layers(matches, student, teacher)
    except ModelError as error:
        yield Problem("matches", "bad_matches", str(error))
