"""Ranges of settings, each declared where its field is."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import Any, TypeVar

from bigfoot.config.problems import Problem, without_known

_T = TypeVar("_T")
_UNSET: Any = object()

_RULES = {
    # Not "<= 0": no comparison finds what is no number.
    "above_zero": (lambda value: value > 0, "must be above 0"),
    "not_negative": (lambda value: value >= 0, "must not be below 0"),
    "share": (lambda value: 0 <= value <= 1, "must be from 0 to 1"),
    "seed": (lambda value: 0 <= value < 2**32, "must be from 0 to 4294967295"),
}


def above_zero(default: _T, *words: str) -> _T:
    """Declare a field of a dataclass that must be above 0 (or None, where that is its default).

    Args:
        default: of the field.
        words: that may stand in place of a number.
    """
    return _ruled(default, rule="above_zero", words=words)


def not_negative(default: _T, *words: str) -> _T:
    """Declare a field that must be 0 or more.

    Args:
        default: of the field.
        words: that may stand in place of a number.
    """
    return _ruled(default, rule="not_negative", words=words)


def share(default: _T) -> _T:
    """Declare a field that must lie from 0 to 1."""
    return _ruled(default, rule="share")


def random_seed(default: _T) -> _T:
    """Declare a field that every random generator takes for a seed: 32 bits."""
    return _ruled(default, rule="seed")


def one_of(*words: str, default: Any = _UNSET) -> Any:  # noqa: ANN401 - a str, or None where that is the default
    """Declare a field that holds one of a few words; a typo in the word is as silent a fault as one in the key.

    Args:
        words: all that it may be.
        default: the first word where not given; None allows null.
    """
    return _ruled(words[0] if default is _UNSET else default, words=words)


def _ruled(default: _T, **metadata: object) -> _T:
    metadata = {name: value for name, value in metadata.items() if value != ()}
    made: Any = field(default=default, metadata=metadata)
    return made  # type: ignore[no-any-return]


def find_problems(section: object, prefix: str = "") -> Iterator[Problem]:
    """Check a dataclass of settings and all that are below it.

    Every field is held against its range. A dataclass that has a method ``find_problems`` checks by it what no range
    can check; the keys of its problems are relative to it.

    Args:
        section: the dataclass.
        prefix: put before the names of its fields.

    Yields:
        Problem by problem.

    Examples:
        >>> from bigfoot.evaluation.settings import EvaluateConfig
        >>> [str(problem) for problem in find_problems(EvaluateConfig(batch_size=0))]
        ['batch_size: must be above 0, got 0']
    """
    found = list(_field_problems(section, prefix))
    yield from found
    own = getattr(section, "find_problems", None)
    if own is not None:
        yield from without_known((replace(problem, key=f"{prefix}{problem.key}") for problem in own()), found)


def _field_problems(section: object, prefix: str) -> Iterator[Problem]:
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        key, value = f"{prefix}{item.name}", getattr(section, item.name)
        if dataclasses.is_dataclass(value):
            yield from find_problems(value, f"{key}.")
        elif value is None and item.default is None:
            continue
        elif "words" in item.metadata and (isinstance(value, str) or "rule" not in item.metadata):
            yield from _word_problems(key, value, item.metadata["words"], "rule" in item.metadata)
        else:
            yield from _number_problems(key, value, item.metadata.get("rule"))


def unknown_words(key: str, what: str, given: Sequence[str], known: Sequence[str]) -> Iterator[Problem]:
    """Name the words of a list that are none of the known ones.

    Args:
        key: of the list.
        what: one word of it is.
        given: the list.
        known: all words that there are.

    Examples:
        >>> [str(problem) for problem in unknown_words("steps", "step", ["destill"], ["student", "distill"])]
        ["steps: unknown step 'destill'; steps are student, distill"]
    """
    for word in given:
        if word not in known:
            yield Problem(key, "unknown_word", f"unknown {what} {word!r}; {what}s are {', '.join(known)}")


def _number_problems(key: str, value: object, rule: str | None) -> Iterator[Problem]:
    holds, expected = _RULES.get(rule or "", (lambda _: True, ""))
    if not holds(value):
        yield Problem(key, "out_of_range", f"{expected}, got {value}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(key, "out_of_range", f"must be a finite number, got {value}")


def _word_problems(key: str, value: object, words: tuple[str, ...], or_number: bool) -> Iterator[Problem]:
    if value not in words:
        close = difflib.get_close_matches(str(value), words, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        expected = f"{'a number, written without quotes, or ' if or_number else ''}one of {', '.join(words)}"
        yield Problem(key, "unknown_word", f"{value!r} is not {expected}{meant}")
