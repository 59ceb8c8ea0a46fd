"""Registries: what can be named in a configuration, built-in or of a user's module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from bigfoot.errors import BigfootError

_T = TypeVar("_T")


class Registry(Mapping[str, _T], Generic[_T]):
    """Names and what they stand for, in the order in which they were added.

    Args:
        what: one entry is, for errors.

    Examples:
        >>> colors: Registry[int] = Registry("color")
        >>> colors.add("red", 0xFF0000, "example.Red")
        >>> "red" in colors, list(colors)
        (True, ['red'])
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._entries: dict[str, _T] = {}
        self._origins: dict[str, str] = {}

    def add(self, name: str, entry: _T, origin: str) -> None:
        """Add an entry; a module that is loaded again replaces its own.

        Args:
            name: in configurations.
            entry: what it stands for.
            origin: where it was declared, such as ``module.Class``.

        Raises:
            BigfootError: the name is no identifier, or stands for something else.
        """
        if not name.isidentifier():
            raise BigfootError(f"{self._what} {name!r}: a name has letters, digits and underscores alone")
        if self._origins.get(name, origin) != origin:
            raise BigfootError(f"{self._what} {name!r}: there is one of that name already; choose another")
        self._entries[name], self._origins[name] = entry, origin

    def __getitem__(self, name: str) -> _T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
