"""What a student may cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

_UNITS = {"": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([KMG]?I?B?)\s*", re.IGNORECASE)


def read_size(text: str, key: str = "--max-size") -> int:
    """Read a size such as ``25MB``, in bytes.

    Args:
        text: a number with one of the units KB, MB, GB (powers of ten), KiB, MiB, GiB (powers of two); bytes without.
        key: of the problem.

    Raises:
        ConfigError: something else.

    Examples:
        >>> read_size("25MB"), read_size("1.5 MiB"), read_size("800")
        (25000000, 1572864, 800)
    """
    found = _SIZE.fullmatch(text)
    unit = "" if found is None else found[2].upper()
    if unit in ("K", "M", "G"):
        unit += "B"
    size = 0 if found is None or unit not in _UNITS else round(float(found[1]) * _UNITS[unit])
    if size <= 0:
        message = f"{text!r} is no size above 0; write a number and a unit, such as 25MB or 800KB"
        raise ConfigError([Problem(key, "bad_size", message)])
    return size


@dataclass(frozen=True)
class Budget:
    """Limits of a student; None where there is none.

    Args:
        max_bytes: of the file that the runtime reads.
        max_rtf: seconds of computing per second of audio.
        max_macs: multiply-accumulates per second of audio.
    """

    max_bytes: int | None = None
    max_rtf: float | None = None
    max_macs: float | None = None

    def find_problems(self) -> Iterator[Problem]:
        """Find limits that limit nothing.

        Examples:
            >>> [problem.code for problem in Budget().find_problems()]
            ['missing']
        """
        if self.max_bytes is None and self.max_rtf is None and self.max_macs is None:
            yield Problem("--max-size", "missing", "no budget: give --max-size, --max-rtf or --max-macs")
        for key, value in (("--max-rtf", self.max_rtf), ("--max-macs", self.max_macs)):
            if value is not None and not value > 0:
                yield Problem(key, "out_of_range", f"must be above 0, got {value:g}")
