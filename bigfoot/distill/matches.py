"""Which hidden state or layer of the student is compared with which of the teacher, and through which projection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from bigfoot.config.problems import Problem
from bigfoot.errors import ModelError


@dataclass(frozen=True)
class LayerMatch:
    """One comparison: of two hidden states (0 = the encoder's input), or of two layers (0 = the first).

    Args:
        student: index in the student.
        teacher: index in the teacher.
    """

    student: int
    teacher: int

    @property
    def both(self) -> tuple[int, int]:
        """Student's and teacher's."""
        return self.student, self.teacher


def build_matches(
    matches: str | Sequence[Sequence[int]], student_layers: int, teacher_layers: int
) -> list[LayerMatch]:
    """Expand the matches of a configuration.

    Args:
        matches: ``proportional`` (every student state with the teacher's at the same share of the depth, the input
            and the last included), or [student, teacher] pairs.
        student_layers: layers of the student.
        teacher_layers: layers of the teacher.

    Returns:
        At least one match.

    Raises:
        ModelError: an unknown word, a pair that is none, or an index out of range.

    Examples:
        >>> [match.teacher for match in build_matches("proportional", 4, 12)]
        [0, 3, 6, 9, 12]
    """
    if matches == "proportional":
        return [LayerMatch(s, round(s * teacher_layers / student_layers)) for s in range(student_layers + 1)]
    return _read_pairs(matches, student_layers, teacher_layers, "hidden_states")


def build_layer_matches(
    matches: str | Sequence[Sequence[int]], student_layers: int, teacher_layers: int
) -> list[LayerMatch]:
    """Expand the matches of a configuration where layers are compared, as for attention maps.

    Args:
        matches: ``proportional`` (every student layer with the teacher's at the same share of the depth, the last with
            the last), or [student, teacher] pairs of 0-based layers.
        student_layers: layers of the student.
        teacher_layers: layers of the teacher.

    Returns:
        At least one match.

    Raises:
        ModelError: an unknown word, a pair that is none, or an index out of range.

    Examples:
        >>> [match.teacher for match in build_layer_matches("proportional", 4, 12)]
        [2, 5, 8, 11]
    """
    if matches == "proportional":
        # The output of layer i is hidden state i + 1; the encoder's input belongs to no layer.
        states = build_matches("proportional", student_layers, teacher_layers)[1:]
        return [LayerMatch(match.student - 1, max(0, match.teacher - 1)) for match in states]
    return _read_pairs(matches, student_layers - 1, teacher_layers - 1, "layers")


def _read_pairs(
    matches: str | Sequence[Sequence[int]], last_student: int, last_teacher: int, what: str
) -> list[LayerMatch]:
    if isinstance(matches, str) or not isinstance(matches, Sequence) or not matches:
        raise ModelError(f"{matches!r} is neither 'proportional' nor a list of [student, teacher] pairs")
    found = []
    for pair in matches:
        if not _is_pair(pair):
            raise ModelError(f"{pair!r} is no [student, teacher] pair of indices into {what}")
        student, teacher = pair
        if not 0 <= student <= last_student or not 0 <= teacher <= last_teacher:
            raise ModelError(
                f"[{student}, {teacher}] is out of range: {what} go from 0 to {last_student} in the student "
                f"and to {last_teacher} in the teacher"
            )
        found.append(LayerMatch(student, teacher))
    return found


def _is_pair(pair: object) -> TypeGuard[Sequence[int]]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        return False
    return all(isinstance(index, int) and not isinstance(index, bool) for index in pair)


def states_of(last: Sequence[int], mean_of: int) -> set[int]:
    """Return every state that goes into the means of some states.

    Args:
        last: the last state of each mean.
        mean_of: states in a mean.

    Examples:
        >>> sorted(states_of([4, 8], 2))
        [3, 4, 7, 8]
    """
    return {state - back for state in last for back in range(mean_of)}


def mean_problems(last: Sequence[int], mean_of: int) -> Iterator[Problem]:
    """Find means that would start before the first layer.

    Args:
        last: the last state of each mean.
        mean_of: states in a mean; the key at fault.
    """
    # The encoder's input is no layer, and is compared only where it is named.
    short = sorted({state for state in last if mean_of > 1 and state < mean_of})
    if short:
        message = f"there are no {mean_of} layers up to the teacher's states {short}"
        yield Problem("mean_of", "too_few_layers", message)
