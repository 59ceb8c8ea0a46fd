"""Find installed parts of bigfoot, and the command that installs the rest; imports Python's own library alone.

Every install line that bigfoot prints is made here. The name ``bigfoot`` on the package index is another project's.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path

DISTRIBUTION = "bigfoot-speech"
"""The name of the package on the index; it is imported as ``bigfoot``."""
FOREIGN = "bigfoot"
"""A distribution of another project, whose module would take the place of ours; ours too had this name once."""

BASE = ("numpy", "onnxruntime", "rich", "soundfile", "soxr", "typer")
"""What the base install asks for: it runs exported models."""
EXTRAS = {
    "train": (
        "torch", "transformers", "lhotse", "accelerate", "huggingface_hub", "jinja2", "jiwer", "markupsafe",
        "matplotlib", "omegaconf", "pyyaml", "safetensors", "tensorboard", "urllib3",
    ),
    "synthetic": ("espeakng-loader",),
    "onnx": ("onnx",),
    "openvino": ("onnx", "openvino"),
    "text": ("sentencepiece",),
    "lm": ("flashlight-text",),
    "decoder": ("peft",),
    "tasks": ("peft", "scikit-learn", "scipy"),
    "datasets": ("pyarrow",),
    "cloud": ("gcsfs", "s3fs"),
    "prosody": ("praat-parselmouth",),
    "forecast": ("sacrebleu",),
    "serve": ("fastapi", "prometheus-client", "python-multipart", "starlette", "uvicorn", "wsproto"),
    "tune": ("optuna",),
    "leaderboard": ("whisper-normalizer",),
}  # fmt: skip
"""Packages of each extra beyond the base, as in ``setup.py``; ``runtime``, ``docs`` and ``test`` are not for users."""
NEWEST_PYTHON = {"lm": (3, 12)}
"""Extras whose packages have no wheels for every Python."""

_MODULES = {
    "espeakng-loader": "espeakng_loader", "flashlight-text": "flashlight", "praat-parselmouth": "parselmouth",
    "prometheus-client": "prometheus_client", "python-multipart": "python_multipart", "pyyaml": "yaml",
    "scikit-learn": "sklearn", "whisper-normalizer": "whisper_normalizer",
}  # fmt: skip
_SIGN = "lhotse"
"""A package that shows that ``train`` is wanted; the rest of it comes with many others."""


def install_hint(*extras: str) -> str:
    """Write the command that installs bigfoot with some extras.

    It is true wherever bigfoot came from: pip reads the extras of an installed bigfoot from its metadata and asks no
    index for bigfoot itself; a clone that is not installed is installed from its folder.

    Args:
        extras: names, none for the base install.

    Returns:
        One line; it also names an extra that has no wheels for this Python.

    Examples:
        >>> "[onnx,train]" in install_hint("onnx", "train")
        True
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    clone = Path(__file__).resolve().parents[1]
    if find_version() is None and (clone / "setup.py").is_file():
        command = f"pip install -e {shlex.quote(f'{clone}{wanted}')}"
    else:
        command = f"pip install '{DISTRIBUTION}{wanted}'"
    limits = [NEWEST_PYTHON[extra] for extra in extras if not has_wheels(extra)]
    if limits:
        newest = ".".join(map(str, min(limits)))
        return f"{command}, with Python {newest} or older (there are no wheels for this one)"
    return command


def has_wheels(extra: str) -> bool:
    """Return whether the packages of an extra can be installed on this Python.

    Examples:
        >>> has_wheels("train")
        True
    """
    return sys.version_info[:2] <= NEWEST_PYTHON.get(extra, sys.version_info[:2])


def package_hint(package: str, *, again: bool = False) -> str:
    """Write the command that installs one package in the version that bigfoot asks for.

    Args:
        package: its distribution's name.
        again: whether it is there, and broken.

    Examples:
        >>> package_hint("some-package")
        "pip install 'some-package'"
    """
    return f"pip install {'--force-reinstall ' if again else ''}'{find_requirement(package)}'"


def reinstall_hint() -> str:
    """Write the command that puts bigfoot's own files back, from where they came."""
    try:
        origin = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return install_hint()
    from urllib.request import url2pathname

    place = origin.get("url", DISTRIBUTION)
    place = url2pathname(place.removeprefix("file://")) if place.startswith("file://") else place
    editable = "-e " if origin.get("dir_info", {}).get("editable") else ""
    return f"pip install --force-reinstall --no-deps {editable}{shlex.quote(place)}"


def find_version() -> str | None:
    """Return the version of the installed distribution; None where bigfoot runs from a folder."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def find_foreign() -> str | None:
    """Find the distribution ``bigfoot`` of the other project.

    Returns:
        Its version; None where it is not installed, or where it is ours by its former name.
    """
    for found in metadata.distributions(name=FOREIGN):
        if not any(point.value == "bigfoot.cli:main" for point in found.entry_points):
            return found.version
    return None


def find_requirement(package: str) -> str:
    """Return a package with the range that bigfoot requires, where bigfoot is installed with its metadata.

    Examples:
        >>> find_requirement("some-package")
        'some-package'
    """
    try:
        asked = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        asked = []
    for line in asked:
        wanted = line.partition(";")[0].replace(" ", "")
        if re.match(r"[\w.-]+", wanted).group() == package:  # type: ignore[union-attr]
            return wanted
    return package


def module_of(package: str) -> str:
    """Return the module of a distribution.

    Examples:
        >>> module_of("pyyaml")
        'yaml'
    """
    return _MODULES.get(package, package)


def find_package(module: str) -> str:
    """Return the distribution of a module.

    Examples:
        >>> find_package("yaml")
        'pyyaml'
    """
    return next((package for package, name in _MODULES.items() if name == module), module)


def find_extra(module: str) -> tuple[str, str] | None:
    """Return the extra and the package of a module; None for any other module.

    Examples:
        >>> find_extra("yaml"), find_extra("json")
        (('train', 'pyyaml'), None)
    """
    package = find_package(module)
    return next(((extra, package) for extra, packages in EXTRAS.items() if package in packages), None)


def wants_training() -> bool:
    """Return whether ``train`` is installed, judged by a package that is rarely installed otherwise."""
    return _is_there(_SIGN)


def missing_extras() -> Iterator[str]:
    """Return the extras of which a package is not there."""
    for extra, packages in EXTRAS.items():
        if not all(_is_there(package) for package in packages):
            yield extra


def _is_there(package: str) -> bool:
    try:
        return util.find_spec(module_of(package)) is not None
    except (ImportError, ValueError):  # a broken finder, or a module without a spec
        return False
