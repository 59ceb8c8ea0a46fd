"""The compression techniques by name: each is a dataclass of settings and a function, joined by one decorator."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from bigfoot.config.problems import Problem
from bigfoot.config.registry import Registry
from bigfoot.config.rules import find_problems
from bigfoot.errors import BigfootError, ConfigError

if TYPE_CHECKING:
    from bigfoot.compress.change import Change
    from bigfoot.models.configuration import BigfootConfig
    from bigfoot.models.ctc import BigfootForCTC

Work: TypeAlias = "Callable[[BigfootForCTC, Any, Sequence[Any]], tuple[BigfootForCTC, Change]]"
"""From a model, settings and audio to a new model and what was kept and dropped; the model given stays as it is."""
Reshape: TypeAlias = "Callable[[BigfootConfig, Any], BigfootConfig]"
"""From a shape and settings to the shape that the work would give."""

_W = TypeVar("_W", bound=Callable[..., Any])

BUILT_IN = (
    "depth", "decoder_depth", "reshape_to", "narrow", "conv_groups", "conv_sharing", "lowrank", "prune", "quantize",
)  # fmt: skip
"""Modules of this room with a technique each."""

_SETTINGS: Registry[type] = Registry("technique")
_WORK: dict[type, tuple[Work, Reshape | None]] = {}


def technique(name: str, settings: type, reshape: Reshape | None = None) -> Callable[[_W], _W]:
    """Register a function as a technique.

    Args:
        name: in ``student.techniques``.
        settings: a dataclass; its class selects the technique in ``bigfoot.compress(model, [...])``.
        reshape: what shape comes out, for checks before a run; None where the shape stays.

    Raises:
        BigfootError: the name is taken or no identifier, or ``settings`` is no dataclass.
    """

    def register(work: _W) -> _W:
        if not dataclasses.is_dataclass(settings):
            raise BigfootError(f"technique {name!r}: {settings.__name__} should be a dataclass")
        _SETTINGS.add(name, settings, f"{settings.__module__}.{settings.__qualname__}")
        _WORK[settings] = (work, reshape)
        return work

    return register


def list_techniques() -> Mapping[str, type]:
    """Settings of every technique by name, the built-in ones first.

    Examples:
        >>> list(list_techniques())[:2]
        ['depth', 'decoder_depth']
    """
    modules = [importlib.import_module(f"bigfoot.compress.{name}").__name__ for name in BUILT_IN]
    # By module and not by import, which is in another order where a program imports one of them first.
    rank = {module: position for position, module in enumerate(modules)}
    return dict(sorted(_SETTINGS.items(), key=lambda entry: rank.get(_WORK[entry[1]][0].__module__, len(rank))))


def apply_technique(
    model: BigfootForCTC, settings: object, audio: Sequence[Any] = ()
) -> tuple[BigfootForCTC, Change]:
    """Apply the technique of settings.

    Args:
        model: left as it is.
        settings: of a technique.
        audio: batches, read where something is fitted or measured on them.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        BigfootError: settings of no technique, or whatever the technique refuses.
    """
    return _find(settings)[0](model, settings, audio)


def reshape_by(shape: BigfootConfig, settings: object) -> BigfootConfig:
    """Return the shape after a technique.

    Args:
        shape: of the model.
        settings: of the technique.
    """
    reshape = _find(settings)[1]
    return shape if reshape is None else reshape(shape, settings)


def _find(settings: object) -> tuple[Work, Reshape | None]:
    known = list_techniques()
    if type(settings) not in _WORK:
        names = ", ".join(sorted(kind.__name__ for kind in known.values()))
        raise BigfootError(f"{settings!r} is the settings of no technique; there are {names}")
    return _WORK[type(settings)]


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
    if problems:
        return problems
    try:
        return list(find_problems(settings(**(given or {}))))
    # Ranges are compared with whatever was given, and a dataclass may check itself.
    except (TypeError, ValueError) as error:
        return [Problem("", "wrong_type", str(error))]


def _is_required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
