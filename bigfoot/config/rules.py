"""The range of a field, said where the field is."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator
from dataclasses import field
from typing import Any, TypeVar

_T = TypeVar("_T")
_UNSET: Any = object()

_RULES = {
    # Not "<= 0": no comparison finds what is no number.
    "above_zero": (lambda value: value > 0, "must be above 0"),
    "not_negative": (lambda value: value >= 0, "must not be below 0"),
    "share": (lambda value: 0 <= value <= 1, "must be from 0 to 1"),
}


def above_zero(default: _T) -> _T:
    """A field of a dataclass that must be above 0 (or None, where that is its default)."""
    return _ruled(default, rule="above_zero")


def not_negative(default: _T) -> _T:
    """A field that must be 0 or more."""
    return _ruled(default, rule="not_negative")


def share(default: _T) -> _T:
    """A field that must lie from 0 to 1."""
    return _ruled(default, rule="share")


def one_of(*words: str, default: Any = _UNSET) -> Any:  # noqa: ANN401 - a str, or None where that is the default
    """A field that holds one of a few words; a typo in the word is as silent a fault as one in the key.

    Args:
        words: all that it may be.
        default: the first word where not given; None allows null.
    """
    return _ruled(words[0] if default is _UNSET else default, words=words)


def _ruled(default: _T, **metadata: object) -> _T:
    made: Any = field(default=default, metadata=metadata)
    return made  # type: ignore[no-any-return]


def rule_problems(section: object, prefix: str = "") -> Iterator[str]:
    """Say which fields of a dataclass, and of those below it, are out of their range.

    Args:
        section: the dataclass.
        prefix: put before the names of its fields.

    Yields:
        One sentence a problem, beginning with the key.

    Example:
        >>> from bigfoot.config import EvaluateConfig
        >>> list(rule_problems(EvaluateConfig(batch_size=0)))
        ['batch_size: must be above 0, got 0']
    """
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        key, value = f"{prefix}{item.name}", getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from rule_problems(value, f"{key}.")
        elif value is None and item.default is None:
            continue
        elif "words" in item.metadata:
            yield from _word_problems(key, value, item.metadata["words"])
        elif "rule" in item.metadata:
            holds, expected = _RULES[item.metadata["rule"]]
            if not holds(value):
                yield f"{key}: {expected}, got {value}"


def _word_problems(key: str, value: object, words: tuple[str, ...]) -> Iterator[str]:
    if value not in words:
        close = difflib.get_close_matches(str(value), words, n=1)
        yield f"{key}: {value!r} is not one of {', '.join(words)}" + (f"; did you mean {close[0]}?" if close else "")
