"""The compression techniques by name: each is a dataclass of settings and a function, joined by one decorator."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from bigfoot.config.problems import Problem
from bigfoot.config.registry import Registry
from bigfoot.errors import BigfootError, ModelError, UnfitError

if TYPE_CHECKING:
    from bigfoot.compress.change import Change
    from bigfoot.models.configuration import BigfootConfig
    from bigfoot.models.ctc import BigfootForCTC

Work: TypeAlias = "Callable[[BigfootForCTC, Any, Sequence[Any]], tuple[BigfootForCTC, Change]]"
"""From a model, settings and audio to a new model and what was kept and dropped; the model given stays as it is."""
Reshape: TypeAlias = "Callable[[BigfootConfig, Any], BigfootConfig]"
"""From a shape and settings to the shape that the work would give."""
Check: TypeAlias = "Callable[[BigfootConfig, Any], Iterator[Problem]]"
"""From a shape and settings to what forbids the work; keys are fields of the settings."""

_W = TypeVar("_W", bound=Callable[..., Any])

BUILT_IN = (
    "depth", "decoder_depth", "adapters", "reshape_to", "narrow", "conv_groups", "conv_order", "conv_sharing",
    "lowrank", "streaming", "prune", "quantize", "shrink.technique",
)  # fmt: skip
"""Modules of this room with a technique each."""


@dataclass(frozen=True)
class Technique:
    """What a name and its settings stand for.

    Args:
        work: what is done.
        reshape: what shape comes out; None where it stays, or is only known afterwards.
        check: what forbids it, besides a shape that cannot be built.
    """

    work: Work
    reshape: Reshape | None
    check: Check | None


@dataclass(frozen=True)
class Fit:
    """Whether a technique can be applied to a shape.

    Args:
        shape: that comes out, as far as it is known; the shape given, where there are problems.
        problems: their keys are fields of the settings.
        unknown: why the shape is only known afterwards.
    """

    shape: BigfootConfig
    problems: Sequence[Problem] = ()
    unknown: Problem | None = None


class LaterError(UnfitError):
    """A shape that depends on the model's weights; raised by a technique's ``reshape``."""


_SETTINGS: Registry[type] = Registry("technique")
_TECHNIQUES: dict[type, Technique] = {}


def technique(
    name: str, settings: type, reshape: Reshape | None = None, check: Check | None = None
) -> Callable[[_W], _W]:
    """Register a function as a technique; it is called only on models that ``reshape`` and ``check`` allow.

    Args:
        name: in ``student.techniques``.
        settings: a dataclass; its class selects the technique in ``bigfoot.compress(model, [...])``.
        reshape: what shape comes out, for checks before a run; None where the shape stays.
        check: what else forbids it.

    Raises:
        BigfootError: the name is taken or no identifier, or ``settings`` is no dataclass or another technique's.
    """

    def register(work: _W) -> _W:
        if not dataclasses.is_dataclass(settings):
            raise BigfootError(f"technique {name!r}: {settings.__name__} should be a dataclass")
        # The class alone selects a technique: of two with one class, one would run in place of the other.
        if others := [other for other, kind in _SETTINGS.items() if kind is settings and other != name]:
            raise BigfootError(
                f"technique {name!r}: {settings.__name__} is the settings of the technique {others[0]!r} already; "
                "give it a dataclass of its own"
            )

        @functools.wraps(work)
        def checked(model: BigfootForCTC, given: Any, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - as the work
            if problems := fit_technique(model.config, given).problems:
                raise UnfitError(*problems)
            return work(model, given, *rest, **more)

        made_by = (getattr(each, part, "") for each in (settings, work) for part in ("__module__", "__qualname__"))
        _SETTINGS.add(name, settings, ".".join(made_by))
        _TECHNIQUES[settings] = Technique(checked, reshape, check)
        return cast("_W", checked)

    return register


def list_techniques() -> Mapping[str, type]:
    """Return the settings of every technique by name, the built-in ones first.

    Examples:
        >>> list(list_techniques())[:2]
        ['depth', 'decoder_depth']
    """
    modules = [importlib.import_module(f"bigfoot.compress.{name}").__name__ for name in BUILT_IN]
    # By module and not by import, which is in another order where a program imports one of them first.
    rank = {module: position for position, module in enumerate(modules)}
    places = {name: rank.get(_TECHNIQUES[kind].work.__module__, len(rank)) for name, kind in _SETTINGS.items()}
    return dict(sorted(_SETTINGS.items(), key=lambda entry: places[entry[0]]))


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
    return _find(settings).work(model, settings, audio)


def apply_techniques(
    model: BigfootForCTC, techniques: Sequence[object], audio: Sequence[Any] = ()
) -> tuple[BigfootForCTC, list[Change]]:
    """Apply several, one after the other.

    Args:
        model: left as it is.
        techniques: settings of each.
        audio: see ``apply_technique``.

    Returns:
        The new model, and a change for each.
    """
    changes = []
    for settings in techniques:
        model, change = apply_technique(model, settings, audio)
        changes.append(change)
    return model, changes


def fit_technique(shape: BigfootConfig, settings: object) -> Fit:
    """Check whether a technique can be applied to a shape, and find the shape that comes out.

    Args:
        shape: of the model.
        settings: of the technique.

    Examples:
        >>> from bigfoot.compress import ConvGroups
        >>> from bigfoot.models.configuration import BigfootConfig
        >>> fit_technique(BigfootConfig(), ConvGroups(2)).shape.conv_groups
        [1, 2, 2, 2, 2, 2, 2]
        >>> [problem.code for problem in fit_technique(BigfootConfig(), ConvGroups(3)).problems]
        ['bad_groups']
    """
    found = _find(settings)
    problems: list[Problem] = []
    try:
        if found.check is not None:
            problems += found.check(shape, settings)
        reshaped = shape if found.reshape is None else found.reshape(shape, settings)
    except LaterError as error:
        return Fit(shape, problems, error.problems[0])
    except UnfitError as error:
        return Fit(shape, [*problems, *error.problems])
    # Settings of any type come here out of YAML, and a user's module may raise whatever it likes.
    except Exception as error:
        message = str(error) if isinstance(error, BigfootError) else f"{type(error).__name__}: {error}"
        return Fit(shape, problems or [Problem("", "not_applicable", message)])
    return Fit(shape if problems else reshaped, problems)


def _find(settings: object) -> Technique:
    known = list_techniques()
    if type(settings) not in _TECHNIQUES:
        names = ", ".join(sorted(kind.__name__ for kind in known.values()))
        raise BigfootError(f"{settings!r} is the settings of no technique; there are {names}")
    return _TECHNIQUES[type(settings)]


@contextmanager
def blaming(field: str, code: str) -> Iterator[None]:
    """Turn a shape that cannot be built into a problem of a field.

    Args:
        field: of the settings.
        code: of the problem.

    Raises:
        UnfitError: a ``ModelError`` was raised inside.
    """
    try:
        yield
    except UnfitError:
        raise
    except ModelError as error:
        raise UnfitError(Problem(field, code, str(error))) from error
