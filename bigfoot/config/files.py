"""Find the configurations that come with the package, by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

CONFIG_FOLDER = Path(__file__).resolve().parents[1] / "configs"
_HEADER = re.compile(r"(?:#.*\n)*")
_SENTENCE = re.compile(r"(?<=[.:])\s+(?=[A-Z])")


def find_config(path: str | Path) -> Path:
    """Find a configuration as given, then among those of the package; ``.yaml`` and ``configs/`` may be left out.

    Args:
        path: of a file, or a name as ``bigfoot configs`` prints it.

    Returns:
        The file. One of the working directory goes before one of the package.

    Raises:
        ConfigError: it is in neither place; the names of the package are listed.

    Examples:
        >>> find_config("methods/distilhubert").name
        'distilhubert.yaml'
    """
    inside = Path(*Path(path).parts[1:]) if Path(path).parts[:1] == ("configs",) else Path(path)
    for candidate in (Path(path), CONFIG_FOLDER / inside, CONFIG_FOLDER / f"{inside}.yaml"):
        if candidate.is_file():
            return candidate
    names = list_configs()
    close = difflib.get_close_matches(str(path), names, n=1)
    nearest = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join(name for name in names if "/" not in name)
    message = f"no file {path}, nor is it under configs/ (there: {known}; all: bigfoot configs){nearest}"
    raise ConfigError([Problem("--config", "no_file", message)])


def is_config(name: str) -> bool:
    """Return whether a command's argument names a configuration: a YAML file, or one of the package.

    Args:
        name: where a path, a hub id or a configuration may stand. What lies in the working directory goes first.

    Examples:
        >>> is_config("mine.yaml"), is_config("methods/distilhubert"), is_config("facebook/wav2vec2-base")
        (True, True, False)
    """
    if name.endswith((".yaml", ".yml")):
        return True
    return not Path(name).exists() and f"{name.removeprefix('configs/')}.yaml" in list_configs()


def list_configs() -> list[str]:
    """Return the names of the package's configurations: the main ones, then those in folders.

    Examples:
        >>> "demo_config.yaml" in list_configs()
        True
    """
    found = [path.relative_to(CONFIG_FOLDER).as_posix() for path in CONFIG_FOLDER.rglob("*.yaml")]
    return sorted(found, key=lambda name: ("/" in name, name))


def describe_config(path: Path) -> str:
    """Read the first sentence of a configuration's header; its command, which stands first, is left out.

    Args:
        path: of the file.

    Returns:
        The sentence; empty where the header has none.

    Examples:
        >>> describe_config(CONFIG_FOLDER / "demo_config.yaml").startswith("A 12-layer teacher")
        True
    """
    header = _HEADER.match(path.read_text(encoding="utf-8"))
    paragraphs = list(_paragraphs(header.group() if header else ""))
    return _SENTENCE.split(paragraphs[1])[0].rstrip(".:") if len(paragraphs) > 1 else ""


def _paragraphs(header: str) -> Iterator[str]:
    lines = [line.removeprefix("#").strip() for line in header.splitlines()]
    for paragraph in "\n".join(lines).split("\n\n"):
        yield " ".join(paragraph.split())
