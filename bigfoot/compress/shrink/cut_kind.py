"""A kind of cut: what it proposes for a model, and how it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bigfoot.compress.shrink.cut import Cut
from bigfoot.compress.shrink.survey import Survey
from bigfoot.models.ctc import BigfootForCTC


@dataclass(frozen=True)
class CutKind:
    """A kind of cut.

    Args:
        name: in settings.
        words: for people.
        propose: yields cuts of the model as it is now, several sizes of a place.
        carry_out: builds the smaller model of one whose weights are already those of ``Cut.tensors``.
    """

    name: str
    words: str
    propose: Callable[[Survey], Iterator[Cut]]
    carry_out: Callable[[BigfootForCTC, Sequence[Cut]], BigfootForCTC]
