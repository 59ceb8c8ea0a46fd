"""Checks of a machine with Python's own library: processors, memory, disk, rights."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bigfoot.doctor.findings import Finding
from bigfoot.install import (
    FOREIGN,
    find_foreign,
    find_version,
    has_wheels,
    install_hint,
    missing_extras,
    reinstall_hint,
    wants_training,
)
from bigfoot.storage.processes import available_memory
from bigfoot.version import __version__

GIGABYTE = 10**9
TOO_LITTLE_DISK, LITTLE_DISK = GIGABYTE, 10 * GIGABYTE
LITTLE_MEMORY = 4 * GIGABYTE
_OLDEST, _NEWEST = (3, 10), (3, 13)


def look_around() -> Iterator[Finding]:
    """Check everything that needs no package.

    Yields:
        A finding each.
    """
    yield _package()
    yield _extras()
    yield _python()
    yield Finding("platform", "ok", platform.platform())
    yield _processors()
    yield _memory()
    runs = Path("runs")
    yield _disk("disk for runs", runs if runs.is_dir() else Path())
    yield _temporary_disk()
    yield _rights()
    yield _corpora()


def _package() -> Finding:
    found = f"{find_version() or __version__} in {Path(__file__).resolve().parents[1]}"
    foreign = find_foreign()
    if foreign is None:
        return Finding("bigfoot", "ok", found)
    detail = f"{found}; another project's package {FOREIGN} {foreign} is installed too, and overwrites files of ours"
    return Finding("bigfoot", "broken", detail, f"pip uninstall {FOREIGN}, then {reinstall_hint()}")


def _extras() -> Finding:
    missing = list(missing_extras())
    kind = "base and train" if wants_training() else "base, which runs exported models and does not train"
    if not missing:
        return Finding("install", "ok", f"{kind}, with all extras")
    detail = ", ".join(extra if has_wheels(extra) else f"{extra} (no wheels for this Python)" for extra in missing)
    wanted = [extra for extra in missing if has_wheels(extra)]
    return Finding("install", "ok", f"{kind}; extras not installed: {detail}", install_hint(*wanted) if wanted else "")


def _python() -> Finding:
    version, found = sys.version_info[:2], f"{platform.python_version()} ({sys.executable})"
    if _OLDEST <= version <= _NEWEST:
        return Finding("Python", "ok", found)
    cure = "use Python 3.10 to 3.13, for which there are packages: PYTHON=python3.11 bash tools/setup_venv.sh"
    return Finding("Python", "broken" if version < _OLDEST else "note", found, cure)


def count_processors() -> int:
    """Return the processors that this process may use, which may be fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1


def _quota() -> float | None:
    """Processors' worth of time that a container grants, where it has a limit."""
    try:
        granted, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if granted == "max" else int(granted) / int(period)
    except (OSError, ValueError):
        return None


def _processors() -> Finding:
    usable, quota, threads = count_processors(), _quota(), os.environ.get("OMP_NUM_THREADS")
    detail = f"{usable} of {os.cpu_count()} for this process, OMP_NUM_THREADS {threads or 'not set'}"
    if quota is not None and quota < usable:
        cure = f"set threads={max(1, int(quota))} in the configuration: more threads than that wait for each other"
        return Finding("processors", "note", f"{detail}, but time of {quota:g} in this container", cure)
    return Finding("processors", "ok", detail)


def _memory() -> Finding:
    free = available_memory()
    if free is None:
        return Finding("memory", "ok", "unknown on this system")
    detail = f"{free / GIGABYTE:.1f} GB available"
    if free < LITTLE_MEMORY:
        cure = "if a training is killed: a smaller data.batch_seconds, more gradient_accumulation_steps"
        return Finding("memory", "note", detail, cure)
    return Finding("memory", "ok", detail)


def _disk(name: str, folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(name, "broken", f"{folder.absolute()}: {error}", "go to a folder that is there, then try again")
    detail = f"{free / GIGABYTE:.1f} GB free in {folder.absolute()}"
    if free >= LITTLE_DISK:
        return Finding(name, "ok", detail)
    elsewhere = "set TMPDIR to a roomier folder" if name.startswith("temp") else "set run_dir to a roomier disk"
    state = "broken" if free < TOO_LITTLE_DISK else "note"
    return Finding(name, state, detail, f"make room, or {elsewhere}: checkpoints and models are written twice")


def _temporary_disk() -> Finding:
    try:
        return _disk("temporary disk", Path(tempfile.gettempdir()))
    except OSError as error:
        return Finding("temporary disk", "broken", str(error), "set TMPDIR to a folder that you may write to")


def _rights() -> Finding:
    try:
        with tempfile.TemporaryFile(dir=Path()) as file:
            file.write(b"bigfoot")
        return Finding("writing here", "ok", str(Path().absolute()))
    except OSError as error:
        cure = "go to a folder that you may write to, or set run_dir to one"
        return Finding("writing here", "broken", str(error), cure)


def _corpora() -> Finding:
    given = os.environ.get("BIGFOOT_DATA")
    if not given:
        cure = "only corpora on disk ask for it: set it to the folder that holds them, or give data.root"
        return Finding("BIGFOOT_DATA", "ok", f"not set; {cure}")
    folder = Path(given).expanduser()
    try:
        found = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        return Finding("BIGFOOT_DATA", "broken", str(error), "set it to the folder that holds corpora, or unset it")
    if not found:
        return Finding("BIGFOOT_DATA", "note", f"{given} holds no folder", "put a corpus there, such as LibriSpeech/")
    return Finding("BIGFOOT_DATA", "ok", f"{given} holds {', '.join(found)}")
