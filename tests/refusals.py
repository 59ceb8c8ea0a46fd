"""Expect an error by its class and by the values that it must name; its words are free to change."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest


def names(text: object, *values: object) -> bool:
    """Tell whether a text names each value as a whole: 3 stands in "3 texts", not in "13 texts"."""
    return not missing_in(text, values)


def missing_in(text: object, values: Iterable[object]) -> list[str]:
    """List the values that a text does not name."""
    return [value for value in map(str, values) if not re.search(_whole(value), str(text))]


def _whole(value: str) -> str:
    before = r"(?<!\w)" if value[:1].isalnum() else ""
    after = r"(?!\w)" if value[-1:].isalnum() else ""
    return before + re.escape(value) + after


@contextmanager
def refused(error: type[BaseException], *values: object) -> Iterator[pytest.ExceptionInfo]:
    """Expect an error of a class that names each of these values: a file, a key, a number, never prose.

    Args:
        error: the class.
        values: what the message must name, as ``str`` writes it.
    """
    with pytest.raises(error) as caught:
        yield caught
    missing = missing_in(caught.value, values)
    assert not missing, f"{missing} not named in: {caught.value}"
