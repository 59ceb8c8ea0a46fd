"""Entries of ``student.techniques``: a name and its settings, read from a configuration."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from bigfoot.compress.registry import list_techniques
from bigfoot.config.problems import Problem
from bigfoot.config.rules import find_problems
from bigfoot.errors import ConfigError


def read_technique(entry: object) -> object:
    """Build a technique's settings from an entry of ``student.techniques``.

    Args:
        entry: one name with a dictionary of settings, such as ``{"conv_groups": {"conv_groups": 4}}``.

    Raises:
        ConfigError: with everything that is wrong.

    Examples:
        >>> read_technique({"depth": {"num_hidden_layers": 4}})
        Depth(num_hidden_layers=4, layer_init='spread')
    """
    if problems := check_technique(entry):
        raise ConfigError(problems)
    assert isinstance(entry, Mapping)
    ((name, given),) = entry.items()
    return list_techniques()[name](**(given or {}))


def check_technique(entry: object) -> list[Problem]:
    """Find problems of an entry of ``student.techniques``.

    Examples:
        >>> print(*check_technique({"dept": {"num_hidden_layers": 4}}))
        dept: no technique of that name; did you mean depth?
    """
    if not isinstance(entry, Mapping) or len(entry) != 1:
        return [Problem("", "no_technique", f"expected {{name: settings}}, got {entry!r}")]
    ((name, given),) = entry.items()
    known = list_techniques()
    if name not in known:
        close = difflib.get_close_matches(str(name), list(known), n=1)
        meant = f"did you mean {close[0]}?" if close else f"techniques are {', '.join(known)}"
        return [Problem(str(name), "unknown_technique", f"no technique of that name; {meant}")]
    return [problem.under(str(name)) for problem in _check_settings(known[name], given)]


def _check_settings(settings: type, given: object) -> list[Problem]:
    if not isinstance(given, Mapping | None):
        return [Problem("", "wrong_type", f"expected settings by name, got {given!r}")]
    fields = {item.name: item for item in dataclasses.fields(settings)}
    names = [str(name) for name in given or {}]
    unknown = [name for name in names if name not in fields]
    needed = [name for name, item in fields.items() if _is_required(item) and name not in names]
    problems = [Problem(name, "unknown_key", f"unknown key; there are {', '.join(fields)}") for name in unknown]
    problems += [Problem(name, "missing", "has no default, give it a value") for name in needed]
    problems += _type_problems(settings, given or {})
    if problems:
        return problems
    try:
        return list(find_problems(settings(**(given or {}))))
    # Ranges are compared with whatever was given, and a dataclass may check itself.
    except (TypeError, ValueError) as error:
        return [Problem("", "wrong_type", str(error))]


def _type_problems(settings: type, given: Mapping[Any, object]) -> Iterator[Problem]:
    """Check values of fields whose type is a plain one; ranges and shapes show what is wrong with the others."""
    hints = typing.get_type_hints(settings)
    for name, value in given.items():
        kind = hints.get(str(name))
        kinds = (int, float) if kind is float else kind
        if kind not in (int, float, str, bool):
            continue
        # A bool is an int to Python alone.
        if not isinstance(value, kinds) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
            message = f"expected {kind.__name__}, got {value!r} ({type(value).__name__})"
            yield Problem(str(name), "wrong_type", message)


def _is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
