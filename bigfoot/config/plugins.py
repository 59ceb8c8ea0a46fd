"""Users' own modules: what they register is there before a configuration that names it is read.

A module is code: what a configuration names under ``plugins`` is run, as by ``python``.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from bigfoot.config.problems import Problem
from bigfoot.errors import BigfootError, ConfigError

_DIGESTS: dict[str, str] = {}
"""Digest of each loaded module's source as it was when it was loaded, by the module's name."""


def load_plugins(plugins: Sequence[str], folder: Path | None = None) -> list[str]:
    """Import modules, so that they register their losses, techniques and steps.

    A module whose source has changed since it was loaded is loaded anew.

    Args:
        plugins: names of modules, or paths of ``.py`` files. Both are searched for in ``folder``, then in the working
            directory; names also where Python searches for modules (``PYTHONPATH``, installed packages).
        folder: of the configuration that names them.

    Returns:
        The plugins by which the same modules are found from any working directory: absolute paths, but for modules
        that Python finds by itself.

    Raises:
        ConfigError: with a problem for each plugin that cannot be loaded.

    Examples:
        >>> load_plugins(["bigfoot.distill"])
        ['bigfoot.distill']
    """
    found, problems = read_plugins(plugins, folder)
    if problems:
        raise ConfigError(problems)
    return found


def read_plugins(plugins: Sequence[str], folder: Path | None = None) -> tuple[list[str], list[Problem]]:
    """Import what can be imported, and collect the problems of the rest.

    Args:
        plugins: of ``load_plugins``.
        folder: likewise.

    Returns:
        What ``load_plugins`` returns, of the plugins that could be loaded; and a problem for each of the others.
    """
    found, problems = [], []
    for plugin in plugins:
        try:
            found.append(_load(str(plugin), folder))
        except BigfootError as error:
            problems.append(Problem("plugins", "not_loaded", str(error)))
    return found, problems


def digest_plugins(plugins: Sequence[str]) -> list[str]:
    """Return the digests of the sources of loaded plugins, for fingerprints: a change in a loss is a change of the run.

    Args:
        plugins: of ``load_plugins``.
    """
    return [_DIGESTS.get(_name_module(plugin), "") for plugin in plugins]


def _load(plugin: str, folder: Path | None) -> str:
    is_file = plugin.endswith(".py")
    places = [place.absolute() for place in (folder, Path.cwd()) if place is not None]
    file = _find_file(plugin, places) if is_file else None
    if is_file and file is None:
        raise BigfootError(f"no file {plugin} in {_list(places)}")
    if file is not None:
        places = [file.parent]
    name = file.stem if file is not None else plugin
    with _first_on_path(places):
        module = _import(name, places)
    source = None if module.__file__ is None else Path(module.__file__).resolve()
    if file is not None and source != file.resolve():
        raise BigfootError(f"{file} cannot be loaded: there is a module {name} already ({source}); rename the file")
    _DIGESTS[name] = _digest(source)
    own = source is not None and any(source == place.resolve() / f"{name}.py" for place in places)
    return str(source) if own else plugin


def _import(name: str, places: Sequence[Path]) -> ModuleType:
    try:
        loaded = sys.modules.get(name)
        if loaded is not None and name in _DIGESTS and _digest(Path(str(loaded.__file__))) != _DIGESTS[name]:
            return importlib.reload(loaded)
        return importlib.import_module(name)
    except BigfootError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise BigfootError(f"no module {name} in {_list(places)}, nor on Python's search path") from error
        raise BigfootError(f"{name} cannot be loaded ({error})") from error
    # A user's module may raise whatever it likes, and end the program.
    except (Exception, SystemExit) as error:
        first = (str(error).splitlines() or [""])[0]
        raise BigfootError(f"{name} cannot be loaded ({type(error).__name__}: {first})") from error


def _find_file(plugin: str, places: Sequence[Path]) -> Path | None:
    path = Path(plugin).expanduser()
    return next((place / path for place in places if (place / path).is_file()), None)


@contextmanager
def _first_on_path(places: Sequence[Path]) -> Iterator[None]:
    """Put these folders first on the search path, and last afterwards, where a plugin may import its neighbours."""
    names, before = [str(place) for place in places], list(sys.path)
    sys.path[:0] = names
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [*before, *(name for name in names if name not in before)]


def _digest(source: Path | None) -> str:
    """Digest a module's file, or all files of a package."""
    if source is None:
        return ""
    files = sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _name_module(plugin: str) -> str:
    return Path(plugin).stem if plugin.endswith(".py") else plugin


def _list(places: Sequence[Path]) -> str:
    return " or ".join(dict.fromkeys(map(str, places)))
