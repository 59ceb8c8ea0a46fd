"""Which hidden state of the student is compared with which of the teacher, and through which projection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from torch import nn

from bigfoot.errors import ModelError


@dataclass(frozen=True)
class LayerMatch:
    """One comparison, by indices into ``hidden_states`` (0 = the encoder's input).

    Args:
        student: 0 to the student's number of layers.
        teacher: 0 to the teacher's number of layers.
    """

    student: int
    teacher: int


def build_matches(
    matches: str | Sequence[Sequence[int]], student_layers: int, teacher_layers: int
) -> list[LayerMatch]:
    """Spell out the matches of a configuration.

    Args:
        matches: ``proportional`` (every student state with the teacher's at the same share of the depth, the input
            and the last included), or [student, teacher] pairs.
        student_layers: layers of the student.
        teacher_layers: layers of the teacher.

    Returns:
        At least one match.

    Raises:
        ModelError: an unknown word, a pair that is none, or an index out of range.

    Example:
        >>> [match.teacher for match in build_matches("proportional", 4, 12)]
        [0, 3, 6, 9, 12]
    """
    if matches == "proportional":
        return [LayerMatch(s, round(s * teacher_layers / student_layers)) for s in range(student_layers + 1)]
    if isinstance(matches, str) or not isinstance(matches, Sequence) or not matches:
        raise ModelError(f"{matches!r} is neither 'proportional' nor a list of [student, teacher] pairs")
    found = []
    for pair in matches:
        if not _is_pair(pair):
            raise ModelError(f"{pair!r} is no [student, teacher] pair of indices into hidden_states")
        student, teacher = pair
        if not 0 <= student <= student_layers or not 0 <= teacher <= teacher_layers:
            raise ModelError(
                f"[{student}, {teacher}] is out of range: hidden_states go from 0 to {student_layers} in the student "
                f"and to {teacher_layers} in the teacher"
            )
        found.append(LayerMatch(student, teacher))
    return found


def _is_pair(pair: object) -> TypeGuard[Sequence[int]]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        return False
    return all(isinstance(index, int) and not isinstance(index, bool) for index in pair)


def build_projections(matches: Sequence[LayerMatch], student_size: int, teacher_size: int) -> nn.ModuleList:
    """One linear map a match from the student's width to the teacher's; identities where the widths agree.

    Args:
        matches: the comparisons.
        student_size: hidden size of the student.
        teacher_size: hidden size of the teacher.

    Returns:
        As many modules as matches. They serve training alone and are no part of the student.
    """
    if student_size == teacher_size:
        return nn.ModuleList([nn.Identity() for _ in matches])
    return nn.ModuleList([nn.Linear(student_size, teacher_size) for _ in matches])
