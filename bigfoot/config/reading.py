"""Merge defaults, a YAML file and ``key=value`` overrides, and collect whatever is wrong with them.

A user sees all of it at once: unknown keys, wrong types, values out of range. What only the models can tell is checked
by ``bigfoot.pipeline``.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bigfoot.config.checks import find_value_problems
from bigfoot.config.schema import Config
from bigfoot.config_files import find_config
from bigfoot.errors import ConfigError

_TRAININGS = ("gates", "distill", "finetune")
_DICTIONARIES = ("student.shape", "prune.part_ratios", *(f"{step}.learning_rate_factors" for step in _TRAININGS))


def read_config(path: str | Path | None, overrides: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """Merge the defaults, a YAML file and overrides; collect what is wrong instead of stopping at the first.

    Args:
        path: YAML file, looked up as given and then under ``configs/``; None for the defaults alone.
        overrides: ``a.b=c`` each, YAML on the right-hand side.

    Returns:
        The configuration (defaults where a key was wrong) and one sentence per problem.

    Raises:
        ConfigError: the file is missing or is not YAML.

    Example:
        >>> config, problems = read_config(None, ["student.conv_groups=4", "student.conv_gruops=4"])
        >>> config.student.conv_groups, problems
        (4, ['student.conv_gruops: unknown key; did you mean student.conv_groups?'])
    """
    merged = OmegaConf.structured(Config)
    problems: list[str] = []
    for key, value in _given_values(path, overrides, problems):
        _assign(merged, key, value, problems)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    problems += find_value_problems(config)
    return config, problems


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """``read_config`` for those who want a configuration or an error.

    Raises:
        ConfigError: with everything that is wrong.
    """
    config, problems = read_config(path, overrides)
    if problems:
        raise ConfigError(problems)
    return config


def save_config(config: Config, path: str | Path) -> None:
    """Write a configuration with every key, so that the run can be repeated whatever the defaults become."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)), encoding="utf-8")


def to_dict(config: object) -> dict[str, Any]:
    """A dataclass of this module as plain containers, for fingerprints and JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload, no-any-return]


def _given_values(
    path: str | Path | None, overrides: Sequence[str], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    if path is not None:
        yield from _leaves(_read_yaml(find_config(path)), "", problems)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            problems.append(f"{override}: an override is written key=value")
            continue
        try:
            given = OmegaConf.from_dotlist([override])
        # A YAML error on the right-hand side has no base class of OmegaConf's.
        except Exception as error:
            problems.append(f"{key}: cannot be read ({str(error).splitlines()[0]})")
        else:
            yield from _leaves(given, "", problems)


def _read_yaml(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    # A YAML error has no base class of OmegaConf's.
    except Exception as error:
        raise ConfigError([f"{path}: not YAML ({error})"]) from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError([f"{path}: expected keys with values, found a list"])
    return loaded


def _leaves(node: DictConfig, prefix: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Go down as long as there is a section of the schema below; dictionaries that are values stay whole."""
    for name in map(str, node):
        key = f"{prefix}{name}"
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            problems.append(f"{key}: {str(error).splitlines()[0]}")
            continue
        if isinstance(value, DictConfig) and key not in _DICTIONARIES:
            yield from _leaves(value, f"{key}.", problems)
        else:
            yield key, value


def _assign(merged: DictConfig, key: str, value: object, problems: list[str]) -> None:
    known = list(_schema_types(Config, ""))
    inside = [name for name in known if name.startswith(f"{key}.")]
    if inside and value is None:
        return  # a heading in the YAML with nothing below it
    if inside:
        problems.append(f"{key}: a section, set what is in it: {', '.join(inside[:3])}, ...")
        return
    if key not in known:
        problems.append(f"{key}: unknown key{_nearest(key, known)}")
        return
    try:
        # Merged where it is a dictionary: two overrides of two of its entries are both meant.
        OmegaConf.update(merged, key, value, merge=key in _DICTIONARIES)
    except OmegaConfBaseException:
        expected = OmegaConf.get_type(OmegaConf.create({"x": value}), "x")
        shown = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        wanted = _schema_types(Config, "")[key]
        problems.append(f"{key}: expected {wanted}, got {shown!r} ({getattr(expected, '__name__', expected)})")


@cache  # asked once a key, and a comparison of methods reads dozens of files
def _schema_types(section: type, prefix: str) -> dict[str, str]:
    hints = typing.get_type_hints(section)
    found: dict[str, str] = {}
    for item in dataclasses.fields(section):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            found |= _schema_types(hint, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            found[f"{prefix}{item.name}"] = str(item.type)
    return found


def _nearest(key: str, known: Sequence[str]) -> str:
    # The last word carries most of a typo; a right word under the wrong section is found by the second look.
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    close = close or [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
