"""Merge defaults, a YAML file and ``key=value`` overrides, and collect whatever is wrong with them.

A user sees all of it at once: unknown keys, wrong types, values out of range.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bigfoot.config.files import find_config
from bigfoot.config.problems import Problem
from bigfoot.config.rules import find_problems
from bigfoot.errors import BigfootError, ConfigError

_T = TypeVar("_T")


def read_settings(
    schema: type[_T], path: str | Path | None, overrides: Sequence[str] = ()
) -> tuple[_T, list[Problem]]:
    """Merge defaults, a YAML file and overrides; collect what is wrong instead of stopping at the first.

    Args:
        schema: dataclass of the settings, with sections that are dataclasses too.
        path: YAML file, looked up as given and then under ``configs/``; None for the defaults alone.
        overrides: ``a.b=c`` each, YAML on the right-hand side.

    Returns:
        The settings (defaults where a key was wrong) and what is wrong with them.

    Raises:
        ConfigError: the file is missing or is not YAML.

    Examples:
        >>> from bigfoot.data.settings import DataConfig
        >>> data, problems = read_settings(DataConfig, None, ["num_train=3", "num_tets=2"])
        >>> data.num_train, [str(problem) for problem in problems]
        (3, ['num_tets: unknown key; did you mean num_test?'])
    """
    defaults = schema()
    merged, known = _build_structure(defaults), _find_keys(defaults, "")
    problems: list[Problem] = []
    for key, value in _given_values(path, overrides, known, problems):
        _assign(merged, key, value, known, problems)
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, schema)
    problems += find_problems(settings)
    return settings, problems


def read_list(key: str, path: str | Path | None, overrides: Sequence[str] = ()) -> list[str]:
    """Read one list of words ahead of all else; ``read_settings`` reports what is wrong with it.

    Args:
        key: of the list, at the top level.
        path: YAML file, looked up as given and then under ``configs/``.
        overrides: ``a.b=c`` each.

    Examples:
        >>> read_list("plugins", None, ["seed=1", "plugins=[my_losses]"])
        ['my_losses']
    """
    known, found = {key: _Key("list[str]", is_dictionary=False)}, None
    for name, value in _given_values(path, overrides, known, []):
        found = value if name == key else found
    return [str(word) for word in found] if isinstance(found, ListConfig) else []


def check_section(settings: type) -> None:
    """Refuse what cannot be a section of a configuration, when it is registered.

    Args:
        settings: of a step, a loss or whatever a user's module declares.

    Raises:
        BigfootError: it is no dataclass, has a field without a default, or one of a type that YAML cannot hold.

    Examples:
        >>> check_section(dict)
        Traceback (most recent call last):
        bigfoot.errors.BigfootError: builtins.dict cannot be a section of a configuration: it is no dataclass
    """
    name = f"{settings.__module__}.{settings.__qualname__} cannot be a section of a configuration"
    if not dataclasses.is_dataclass(settings):
        raise BigfootError(f"{name}: it is no dataclass")
    try:
        defaults = settings()
        OmegaConf.structured(defaults)
    except TypeError as error:
        raise BigfootError(f"{name}: every field needs a default ({error})") from error
    except OmegaConfBaseException as error:
        raise BigfootError(f"{name}: {str(error).splitlines()[0]}") from error
    for item in dataclasses.fields(settings):
        # OmegaConf takes the class of a dataclass for a section of its own.
        if isinstance(getattr(defaults, item.name), type):
            raise BigfootError(f"{name}: {item.name} is a class, which YAML cannot hold")


def save_config(config: object, path: str | Path) -> None:
    """Write a configuration with every key, so that the run can be repeated whatever the defaults become."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)), encoding="utf-8")


def to_dict(config: object) -> dict[str, Any]:
    """Convert a dataclass of settings to plain containers, for fingerprints and JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class _Key:
    """Type of a key of the schema.

    Args:
        kind: its type as it is written.
        is_dictionary: whether its value is a dictionary, which stays whole.
    """

    kind: str
    is_dictionary: bool


def _find_keys(section: object, prefix: str) -> dict[str, _Key]:
    """All keys, by the sections that are there: a default may be of a subclass of what is declared."""
    hints = _read_hints(type(section))  # type: ignore[arg-type]
    found: dict[str, _Key] = {}
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        value, key = getattr(section, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            found |= _find_keys(value, f"{key}.")
        else:
            kind = item.type if isinstance(item.type, str) else getattr(item.type, "__name__", str(item.type))
            found[key] = _Key(kind, typing.get_origin(hints[item.name]) is dict)
    return found


@cache  # a comparison of methods reads dozens of files
def _read_hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


_structures: dict[tuple[str, tuple[type, ...]], DictConfig] = {}


def _build_structure(defaults: object) -> DictConfig:
    """``OmegaConf.structured``, which takes longer than all else of reading a file: once for the same defaults."""
    key = repr(defaults), tuple(_section_types(defaults))
    if key not in _structures:
        _structures[key] = OmegaConf.structured(defaults)
    return copy.deepcopy(_structures[key])


def _section_types(section: object) -> Iterator[type]:
    yield type(section)
    for item in dataclasses.fields(section):  # type: ignore[arg-type]
        if dataclasses.is_dataclass(value := getattr(section, item.name)):
            yield from _section_types(value)


def _given_values(
    path: str | Path | None, overrides: Sequence[str], known: Mapping[str, _Key], problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    if path is not None:
        yield from _leaves(read_yaml(find_config(path)), "", known, problems)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            problems.append(Problem(override, "no_value", "an override is written key=value"))
            continue
        try:
            given = OmegaConf.from_dotlist([override])
        # A YAML error on the right-hand side has no base class of OmegaConf's.
        except Exception as error:
            problems.append(Problem(key, "unreadable", f"cannot be read ({str(error).splitlines()[0]})"))
        else:
            yield from _leaves(given, "", known, problems)


def read_yaml(path: Path) -> DictConfig:
    """Read a YAML file of keys with values.

    Args:
        path: of the file.

    Raises:
        ConfigError: it is missing, no YAML, or a list.
    """
    try:
        loaded = OmegaConf.load(path)
    # A YAML error has no base class of OmegaConf's.
    except Exception as error:
        reason = " ".join(str(error).split())  # a YAML error has lines
        raise ConfigError([Problem(str(path), "not_yaml", f"not YAML ({reason})")]) from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError([Problem(str(path), "not_yaml", "expected keys with values, found a list")])
    return loaded


def _leaves(
    node: DictConfig, prefix: str, known: Mapping[str, _Key], problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    """Descend while there is a section of the schema below; dictionaries in place of values stay whole."""
    for name in node:  # numbers and booleans too, which no schema has
        key = prefix + str(name)
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            problems.append(Problem(key, "unreadable", str(error).splitlines()[0]))
            continue
        if isinstance(value, DictConfig) and key not in known:
            yield from _leaves(value, f"{key}.", known, problems)
        else:
            yield key, value


def _assign(
    merged: DictConfig, key: str, value: object, known: Mapping[str, _Key], problems: list[Problem]
) -> None:
    inside = [name for name in known if name.startswith(f"{key}.")]
    if inside and value is None:
        return  # a heading in the YAML with nothing below it
    if inside:
        problems.append(Problem(key, "section", f"a section, set what is in it: {', '.join(inside[:3])}, ..."))
        return
    if key not in known:
        problems.append(Problem(key, "unknown_key", f"unknown key{_nearest(key, list(known))}"))
        return
    if isinstance(value, str) and "\0" in value:
        problems.append(Problem(key, "unreadable", "holds the character NUL, which no path and no word has"))
        return
    if known[key].kind == "list[str]" and isinstance(value, ListConfig) and not all(map(_is_word, value)):
        shown = OmegaConf.to_container(value)
        message = f"expected list[str], got {shown!r}; write words such as NO, ON and 1e3 in quotes"
        problems.append(Problem(key, "wrong_type", message))
        return
    try:
        # Merged where it is a dictionary: two overrides of two of its entries are both meant. {} empties it.
        OmegaConf.update(merged, key, value, merge=known[key].is_dictionary and value != {})
    except OmegaConfBaseException:
        came = OmegaConf.get_type(OmegaConf.create({"x": value}), "x")
        shown = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        message = f"expected {known[key].kind}, got {shown!r} ({getattr(came, '__name__', came)})"
        problems.append(Problem(key, "wrong_type", message))


def _is_word(value: object) -> bool:
    # OmegaConf would take all of these for words: what YAML reads as false would be the word "False".
    return isinstance(value, str | int) and not isinstance(value, bool)


def _nearest(key: str, known: Sequence[str]) -> str:
    # The last word carries most of a typo; a right word under the wrong section is found by the second search.
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    close = close or [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
