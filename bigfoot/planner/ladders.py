"""Kinds of students: each is a ladder of settings, from what costs the most to what costs the least.

A kind is one function and one line in ``LADDERS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch

from bigfoot.compress import ConvGroups, Depth, Narrow, Reshape
from bigfoot.compress.registry import fit_technique
from bigfoot.measure.size import measure_size
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC

_WIDTHS = (Fraction(7, 8), Fraction(3, 4), Fraction(2, 3), Fraction(1, 2), Fraction(3, 8), Fraction(1, 4))
_DEPTHS = (Fraction(1), Fraction(2, 3), Fraction(1, 2), Fraction(1, 3), Fraction(1, 4))
_MULTIPLE = 8


@dataclass(frozen=True)
class Candidate:
    """A student that could be.

    Args:
        kind: one of ``LADDERS``.
        student: keys of the section ``student`` of a configuration.
        shape: that they make of the teacher's.
        int8: whether its linear maps and convolutions are stored and computed in eight bits.
    """

    kind: str
    student: Mapping[str, Any]
    shape: BigfootConfig
    int8: bool = False


@dataclass(frozen=True)
class Counted:
    """A candidate with what follows from its shape alone.

    Args:
        candidate: the student.
        num_params: parameters, shared ones counted once.
        macs: multiply-accumulates per second of audio.
    """

    candidate: Candidate
    num_params: int
    macs: int


def climb_depth(teacher: BigfootConfig) -> Iterator[tuple[dict[str, Any], BigfootConfig]]:
    """Yield students that have fewer layers and grouped convolutions, as wide as the teacher.

    Args:
        teacher: its shape.

    Examples:
        >>> next(climb_depth(BigfootConfig(num_hidden_layers=2)))[0]
        {'num_hidden_layers': 2, 'layer_init': 'spread', 'conv_groups': 2, 'conv_init': 'least_squares'}
    """
    for layers in range(teacher.num_hidden_layers, 0, -1):
        for groups in (1, 2, 4):
            if (layers, groups) == (teacher.num_hidden_layers, 1):
                continue
            settings = [Depth(layers, "spread"), *([ConvGroups(groups)] if groups > 1 else [])]
            if (shape := _fit(teacher, settings)) is not None:
                convs = {"conv_groups": groups, "conv_init": "least_squares"} if groups > 1 else {"conv_groups": 1}
                yield {"num_hidden_layers": layers, "layer_init": "spread", **convs}, shape


def climb_thin(teacher: BigfootConfig) -> Iterator[tuple[dict[str, Any], BigfootConfig]]:
    """Yield students that have fewer layers and fewer units everywhere, by least squares where that is possible.

    Args:
        teacher: its shape.
    """
    layers = teacher.num_hidden_layers
    for depth in dict.fromkeys(max(1, round(share * layers)) for share in _DEPTHS):
        for share in _WIDTHS:
            wanted = _thin_shape(teacher, share)
            for init, cut in (("least_squares", Narrow(wanted)), ("slice", Reshape(wanted, 0))):
                if (shape := _fit(teacher, [Depth(depth, "spread"), cut])) is not None:
                    yield {"num_hidden_layers": depth, "layer_init": "spread", "conv_groups": 1, "shape": wanted,
                           "shape_init": init}, shape  # fmt: skip
                    break


@dataclass(frozen=True)
class Ladder:
    """How students of a kind are made.

    Args:
        climb: from the teacher's shape to settings and shapes.
        int8: whether they are quantized.
    """

    climb: Callable[[BigfootConfig], Iterator[tuple[dict[str, Any], BigfootConfig]]]
    int8: bool = False


LADDERS = {
    "depth": Ladder(climb_depth),
    "thin": Ladder(climb_thin),
    "depth_int8": Ladder(climb_depth, int8=True),
    "thin_int8": Ladder(climb_thin, int8=True),
}


def list_candidates(
    teacher: BigfootConfig, kinds: Sequence[str], on_count: Callable[[], None] = lambda: None
) -> dict[str, list[Counted]]:
    """Count all students of some kinds, in each the most multiply-accumulates first.

    Args:
        teacher: its shape.
        kinds: of ``LADDERS``.
        on_count: called after each shape.

    Examples:
        >>> shape = BigfootConfig(num_hidden_layers=2, hidden_size=64, intermediate_size=128, num_attention_heads=4,
        ...     conv_dim=[16] * 7)
        >>> [each.candidate.student["num_hidden_layers"] for each in list_candidates(shape, ["depth"])["depth"]]
        [2, 2, 1, 1, 1]
    """
    counted: dict[Any, list[Counted]] = {}  # int8 changes no count
    found = {}
    for kind in kinds:
        ladder = LADDERS[kind]
        if ladder.climb not in counted:
            counted[ladder.climb] = []
            for student, shape in ladder.climb(teacher):
                counted[ladder.climb].append(count(Candidate(kind, student, shape)))
                on_count()
        rungs = [
            replace(each, candidate=replace(each.candidate, kind=kind, int8=ladder.int8))
            for each in counted[ladder.climb]
        ]
        found[kind] = sorted(rungs, key=lambda each: (-each.macs, -each.num_params))
    return found


def count(candidate: Candidate) -> Counted:
    """Count a student's parameters and multiply-accumulates without its weights.

    Args:
        candidate: the student.
    """
    with torch.device("meta"):
        size = measure_size(BigfootForCTC(candidate.shape).eval())
    return Counted(candidate, size.num_unique_params, size.macs_per_second)


def _fit(teacher: BigfootConfig, techniques: list[Any]) -> BigfootConfig | None:
    """Return the shape that techniques make; None where one of them refuses."""
    shape = teacher
    for settings in techniques:
        fit = fit_technique(shape, settings)
        if fit.problems or fit.unknown is not None:
            return None
        shape = fit.shape
    return shape


def _thin_shape(teacher: BigfootConfig, share: Fraction) -> dict[str, Any]:
    """Scale widths and channels; heads stay as wide as they are, so their number shrinks."""
    heads = max(1, round(teacher.num_attention_heads * share))
    shape: dict[str, Any] = {
        "hidden_size": heads * teacher.head_dim,
        "num_attention_heads": heads,
        "intermediate_size": _scale(teacher.intermediate_size, share),
    }
    if teacher.has_convolutions:
        shape["conv_dim"] = [_scale(channels, share) for channels in teacher.conv_dim]
    return shape


def _scale(units: int, share: Fraction) -> int:
    return max(_MULTIPLE, round(units * share / _MULTIPLE) * _MULTIPLE)
