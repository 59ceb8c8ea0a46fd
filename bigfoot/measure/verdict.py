"""Why a smaller model is not a faster one, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bigfoot.measure.by_part import PartResult
from bigfoot.types import Seconds

_AS_MANY, _LITTLE = 0.95, 0.05


@dataclass(frozen=True)
class Blame:
    """The part that keeps a model slow.

    Args:
        part: its name.
        sentence: why.
    """

    part: str
    sentence: str


def blame_part(first: Mapping[str, PartResult], own: Mapping[str, PartResult], first_name: str) -> Blame:
    """Find the part that keeps a smaller model as slow as the first.

    A part should take the first model's time times what is left of its multiply-accumulates; the one that lies
    furthest above that, in seconds, is to blame. Where none lies far above it, or the model computes as much as the
    first (shared weights save memory, not time), it is the part that takes longest.

    Args:
        first: parts of the model that others are compared with.
        own: parts of the smaller model.
        first_name: what a reader calls the first.

    Examples:
        >>> first = {"conv": PartResult(1.0, 0.5, 100, 0.5, 0.4), "head": PartResult(1.0, 0.5, 100, 0.5, 0.4)}
        >>> own = {"conv": PartResult(0.9, 0.6, 25, 0.3, 0.1), "head": PartResult(0.6, 0.4, 60, 0.7, 0.4)}
        >>> blame_part(first, own, "teacher").part
        'conv'
    """
    macs, macs_of_first = (sum(part.macs_per_second for part in parts.values()) for parts in (own, first))
    part = max(own, key=lambda name: _excess(first[name], own[name]))
    time_of_first = sum(part.median_s for part in first.values())
    if macs > _AS_MANY * macs_of_first or _excess(first[part], own[part]) < _LITTLE * time_of_first:
        part = max(own, key=lambda name: own[name].median_s)
        most = f"{own[part].time_share:.0%} of its time"
        left = _ratio(macs, macs_of_first)
        return Blame(part, f"to blame is {part}, {most}: the model still does {left} the multiply-accumulates")
    left = _ratio(own[part].macs_per_second, first[part].macs_per_second)
    time = _ratio(own[part].median_s, first[part].median_s)
    rates = f"{own[part].share_of_peak:.0%} of this machine's peak, {first[part].share_of_peak:.0%} in {first_name}"
    return Blame(part, f"to blame is {part}, {left} the multiply-accumulates in {time} the time ({rates})")


def _excess(first: PartResult, own: PartResult) -> Seconds:
    """Seconds above what the part would take at the first model's rate."""
    return own.median_s - first.median_s * own.macs_per_second / max(first.macs_per_second, 1)


def _ratio(own: float, first: float) -> str:
    return f"{own / first:.2f}x" if first else "more than none of"
