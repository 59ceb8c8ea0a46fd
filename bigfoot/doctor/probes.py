"""The child process that looks at packages, and what it makes of one that cannot be loaded.

A child writes a line of JSON before and after each look, so that its parent knows in which of them it died.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import TextIO

from bigfoot.doctor.findings import Finding
from bigfoot.doctor.looks import PROBES, Look
from bigfoot.install import find_package, package_hint

_UNWANTED = ("torchaudio", "torchcodec")
_WHEELS = {"espeak-ng": "espeakng-loader"}


def find_suspects(error: BaseException, name: str) -> list[str]:
    """Packages through whose code an import went wrong, the last the deepest, and the one that was not there.

    Args:
        error: of the import.
        name: of the package that was asked for.

    Returns:
        Names, without the package itself, Python's own library and bigfoot.
    """
    found: list[str] = []
    earlier: BaseException | None = error
    # The traceback of a cause begins where it was caught: the way there is in those of what it led to.
    while earlier is not None:
        found += [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(earlier.__traceback__)]
        found += [earlier.name or ""] if isinstance(earlier, ModuleNotFoundError) else []
        earlier = earlier.__cause__
    found = [module.partition(".")[0] for module in found]
    own = {*sys.stdlib_module_names, "bigfoot", "", name}
    return [package for package in dict.fromkeys(found) if package not in own]


def judge_failure(name: str, error: Exception) -> Finding:
    """Word what went wrong with a package, and the cure as far as it can be told from here.

    Args:
        name: of what was looked at.
        error: of looking.

    Returns:
        A broken finding; who else may be to blame stands in ``suspects``.

    Examples:
        >>> judge_failure("jiwer", ModuleNotFoundError("No module named 'jiwer'", name="jiwer")).cure
        "pip install 'jiwer...'"
    """
    suspects = find_suspects(error, name)
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return Finding(name, "broken", "not installed", package_hint(name))
    words = " ".join(str(error).split())
    said = f"cannot be used ({type(error).__name__}: {words[:200]}{' ...' if len(words) > 200 else ''})"
    if name in _UNWANTED:
        cure = f"pip uninstall {name} (bigfoot does not need it), or install the build of it made for this torch"
    elif isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(name):
        cure = package_hint(find_package(error.name.partition(".")[0]))
    else:
        cure = package_hint(_WHEELS.get(name, name), again=True)
    return Finding(name, "broken", said, cure, suspects)


def run_probe(looks: Iterable[Look], out: TextIO) -> None:
    """Look at one thing after the other.

    Args:
        looks: names, and what looks.
        out: gets a line of JSON before and after each.
    """
    for name, look in looks:
        print(json.dumps({"begins": name}), file=out, flush=True)
        try:
            found = look()
        except Exception as error:
            found = judge_failure(name, error)
        print(json.dumps(asdict(found)), file=out, flush=True)


def main(name: str, skip: int) -> None:
    """Be the child for one of ``PROBES``, without its first looks."""
    # What packages print must not come between the lines.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        run_probe(islice(PROBES[name](), skip, None), out)
