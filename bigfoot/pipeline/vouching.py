"""Reuse the report of a run only if it is whole and of this run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import DataError
from bigfoot.report.rows import Report, load_report
from bigfoot.report.writer import save_report
from bigfoot.storage.digests import describe_damage, digest_file
from bigfoot.storage.state import read_state, refuse_file, write_state

log = logging.getLogger("bigfoot")

_FILES = ("report.json", "report.md", "report.html", "report.csv", "wer_vs_size.png", "losses.png")


@dataclass(frozen=True)
class _Stamp:
    """Content of ``fingerprint`` in the report's folder.

    Args:
        fingerprint: of everything that determines the report.
        report: digest of ``report.json``.
    """

    fingerprint: str
    report: str


def read_report(folder: Path, expected: str) -> Report | None:
    """Read an existing report; missing views of it are written again.

    Args:
        folder: of the report.
        expected: fingerprint of everything that determines it.

    Returns:
        None if it is missing, damaged, or of another run.

    Raises:
        OutputError: a file is in the place of the folder.
    """
    refuse_file(folder)
    stamp, reason = read_state(folder / "fingerprint", _Stamp)
    if stamp is not None and stamp.fingerprint == expected:
        reason = describe_damage(folder, {"report.json": stamp.report})
        if not reason:
            return _complete(folder, expected)
    if reason:
        log.warning("report: %s; it is made again", reason)
    return None


def _complete(folder: Path, expected: str) -> Report | None:
    try:
        report = load_report(folder)
    except DataError as error:
        log.warning("report: %s; it is made again", error)
        return None
    if gone := [name for name in _FILES if not (folder / name).is_file()]:
        log.warning("report: %s is gone and written again", ", ".join(gone))
        write_report(report, folder, expected)
    return report


def write_report(report: Report, folder: Path, expected: str) -> None:
    """Write a report, and then its fingerprint.

    Args:
        report: of the run.
        folder: of the report.
        expected: fingerprint of everything that determines it.
    """
    save_report(report, folder)
    write_state(folder / "fingerprint", _Stamp(expected, digest_file(folder / "report.json")))
