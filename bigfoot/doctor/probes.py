"""The child process that checks packages, and its finding for one that cannot be loaded.

A child writes a line of JSON before and after each check, so that its parent can name the one in which it died.
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

from bigfoot.doctor.checks import PROBES, Check
from bigfoot.doctor.findings import Finding
from bigfoot.install import find_package, package_hint

_UNWANTED = ("torchaudio", "torchcodec")
_WHEELS = {
    "GPU": "torch", "espeak-ng": "espeakng-loader", "half precision": "torch", "threads": "torch",
}  # fmt: skip
"""The packages of checks that have another name."""


def install_again(name: str) -> str:
    """Write the command that puts back the package of a check.

    Args:
        name: of the check.

    Examples:
        >>> install_again("espeak-ng")
        "pip install --force-reinstall 'espeakng-loader..."
    """
    return package_hint(_WHEELS.get(name, name), again=True)


def find_suspects(error: BaseException, name: str) -> list[str]:
    """Return the packages through whose code an import went wrong, the deepest last, and the one that was not there.

    Args:
        error: of the import.
        name: of the package that was asked for.

    Returns:
        Names, without the package itself, Python's own library and bigfoot.
    """
    found: list[str] = []
    earlier: BaseException | None = error
    # The traceback of a cause starts where it was caught: the way there is in those of what it led to.
    while earlier is not None:
        found += [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(earlier.__traceback__)]
        found += [earlier.name or ""] if isinstance(earlier, ModuleNotFoundError) else []
        earlier = earlier.__cause__
    found = [module.partition(".")[0] for module in found]
    own = {*sys.stdlib_module_names, "bigfoot", "", name}
    return [package for package in dict.fromkeys(found) if package not in own]


def judge_failure(name: str, error: Exception) -> Finding:
    """Describe what went wrong with a package, and the cure where it can be derived.

    Args:
        name: of what was checked.
        error: that the check raised.

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
    detail = f"cannot be used ({type(error).__name__}: {words[:200]}{' ...' if len(words) > 200 else ''})"
    if name in _UNWANTED:
        cure = f"pip uninstall {name} (bigfoot does not need it), or install the build of it made for this torch"
    elif isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(name):
        cure = package_hint(find_package(error.name.partition(".")[0]))
    else:
        cure = install_again(name)
    return Finding(name, "broken", detail, cure, suspects)


def run_probe(checks: Iterable[Check], out: TextIO) -> None:
    """Run one check after the other.

    Args:
        checks: names and functions.
        out: gets a line of JSON before and after each.
    """
    for name, check in checks:
        print(json.dumps({"starts": name}), file=out, flush=True)
        try:
            found = check()
        except Exception as error:
            found = judge_failure(name, error)
        print(json.dumps(asdict(found)), file=out, flush=True)


def main(name: str, skip: int) -> None:
    """Run as the child for one of ``PROBES``, without its first ``skip`` checks."""
    # What packages print must not come between the lines.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        run_probe(islice(PROBES[name](), skip, None), out)
