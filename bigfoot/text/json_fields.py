"""Rules for the fields of a JSON file: of what kind a value is, and how large it may be.

A rule gives one sentence about a value that breaks it, and None for one that keeps it. Values come from
untrusted files: a rule checks a value's type before it compares, and quotes no more than its start.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard, TypeVar

from bigfoot.errors import ModelError
from bigfoot.types import HIGHEST_RATE, LOWEST_RATE

_QUOTED = 200
_T = TypeVar("_T")


class Rule(Protocol):
    """Rule for the value of a field."""

    def problem(self, name: str, value: object) -> str | None:
        """Return what is wrong with a value, or None."""


def quote(value: object) -> str:
    """Format a value for a message, cut where it is long.

    Examples:
        >>> quote([1, 2]), len(quote("a" * 5000))
        ('[1, 2]', 203)
    """
    text = repr(value)
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "..."


def is_whole(value: object, least: int = 0) -> bool:
    """Return whether a value is a whole number, which true and false are not.

    Examples:
        >>> is_whole(3), is_whole(True), is_whole(3.0), is_whole(-1)
        (True, False, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class Whole:
    """A whole number.

    Args:
        least: smallest value.
        most: largest value.
        optional: whether null is a value too.

    Examples:
        >>> Whole(1, 8).problem("heads", 3), Whole(1, 8).problem("heads", 9)
        (None, 'heads 9 is more than the 8 that are built at most')
    """

    least: int = 1
    most: int = 2**17
    optional: bool = False

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        if value is None and self.optional:
            return None
        if not isinstance(value, int) or not is_whole(value, self.least):
            nothing = ", or nothing" if self.optional else ""
            return f"{name} {quote(value)} should be a whole number, {self.least} or more{nothing}"
        if value > self.most:
            return f"{name} {quote(value)} is more than the {self.most} that are built at most"
        return None


@dataclass(frozen=True)
class Share:
    """A number from 0 to 1."""

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        return None if fits else f"{name} {quote(value)} should be a number from 0 to 1"


@dataclass(frozen=True)
class SampleRate:
    """A sample rate of speech in Hz."""

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        if isinstance(value, int) and is_whole(value, LOWEST_RATE) and value <= HIGHEST_RATE:
            return None
        return f"{name} {quote(value)} should be a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}"


@dataclass(frozen=True)
class Flag:
    """True or false.

    Args:
        optional: whether null is a value too.
    """

    optional: bool = False

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        fits = isinstance(value, bool) or (value is None and self.optional)
        return None if fits else f"{name} {quote(value)} should be true or false"


@dataclass(frozen=True)
class Text:
    """A text.

    Args:
        longest: most characters.
    """

    longest: int = 1_000

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        fits = isinstance(value, str) and len(value) <= self.longest
        return None if fits else f"{name} {quote(value)} should be a text of at most {self.longest} characters"


@dataclass(frozen=True)
class OneOf:
    """One of several words.

    Args:
        words: the words.
    """

    words: Collection[str]

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        if isinstance(value, str) and value in self.words:
            return None
        if len(self.words) == 2:
            first, second = self.words
            return f"{name} {quote(value)} is neither {first!r} nor {second!r}"
        return f"{name} {quote(value)} is none of {', '.join(self.words)}"


@dataclass(frozen=True)
class Wholes:
    """A list of whole numbers.

    Args:
        least: smallest value.
        most: largest value.
        longest: most entries.
        optional: whether null is a value too.
        may_be_empty: whether no entries are a value too.
    """

    least: int = 1
    most: int = 2**17
    longest: int = 1_000
    optional: bool = False
    may_be_empty: bool = False

    def problem(self, name: str, value: object) -> str | None:
        """See ``Rule``."""
        if value is None and self.optional:
            return None
        if not isinstance(value, list | tuple) or not all(is_whole(each, self.least) for each in value):
            return f"{name} {quote(value)} should list whole numbers, {self.least} or more"
        if not value:
            return None if self.may_be_empty else f"{name} is an empty list"
        if len(value) > self.longest:
            return f"{name} has {len(value)} entries, more than the {self.longest} that are built at most"
        if max(value) > self.most:
            return f"{name} has {quote(max(value))}, more than the {self.most} that are built at most"
        return None


def find_problems(values: Mapping[str, object], rules: Mapping[str, Rule]) -> Iterator[str]:
    """Find problems of the fields of a file.

    Args:
        values: by name; a field that is missing breaks no rule.
        rules: by name; a value without a rule is not checked.

    Yields:
        One sentence a field.
    """
    for name, rule in rules.items():
        if name in values and (problem := rule.problem(name, values[name])) is not None:
            yield problem


def has_fields_of(raw: object, kind: type) -> TypeGuard[dict[str, Any]]:
    """Return whether a value is an object all of whose names are fields of a dataclass.

    Args:
        raw: of a JSON file.
        kind: the dataclass.
    """
    return isinstance(raw, dict) and raw.keys() <= set(_names(kind))


def describe_stray(name: str, kind: type, raw: object) -> str:
    """Say what a value that is no such object should hold.

    Args:
        name: of the value.
        kind: the dataclass.
        raw: the value.
    """
    return f"{name} {quote(raw)} should hold some of {', '.join(_names(kind))}"


def _names(kind: type) -> list[str]:
    return [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]


def build_from_json(kind: type[_T], raw: object, find: Callable[[object], Iterator[str]], what: str) -> _T:
    """Build a dataclass from an object of a JSON file.

    Args:
        kind: the dataclass.
        raw: its fields by name, unchecked.
        find: yields one sentence a problem; without problems, ``raw`` holds fields of ``kind`` alone.
        what: cannot be done where there are problems.

    Raises:
        ModelError: with all that is wrong.

    Examples:
        >>> build_from_json(Text, {"longest": 3}, lambda raw: iter(()), "this cannot be read")
        Text(longest=3)
    """
    if problems := list(find(raw)):
        raise ModelError(f"{what}: {'; '.join(problems)}")
    assert isinstance(raw, dict)
    return kind(**raw)
