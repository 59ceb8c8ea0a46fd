"""Addresses of audio in a shard: the path of a cut whose recording is no file of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import DataError

_ADDRESS = re.compile(
    r"(?P<shard>.+\.(?:tar|parquet|arrow))#(?P<start>\d+)\+(?P<size>\d+)(?:@(?P<column>.+))?", re.DOTALL
)


@dataclass(frozen=True)
class Address:
    """Where audio lies in a shard.

    Args:
        shard: its path or URL.
        start: first byte in a tar file; row of a table.
        size: bytes in a tar file; 0 of a row.
        column: of a row, where its name is not found out by itself.
    """

    shard: str
    start: int
    size: int = 0
    column: str | None = None

    def __str__(self) -> str:
        """Return the text that ``parse`` reads."""
        return f"{self.shard}#{self.start}+{self.size}" + (f"@{self.column}" if self.column else "")

    @classmethod
    def parse(cls, path: str | Path) -> Address | None:
        """Read an address; None for a path of a file of its own.

        Examples:
            >>> Address.parse("s3://speech/recording.000000.tar#512+20480")
            Address(shard='s3://speech/recording.000000.tar', start=512, size=20480, column=None)
            >>> Address.parse("audio/a.flac") is None
            True
        """
        found = _ADDRESS.fullmatch(str(path))
        return None if found is None else cls(found["shard"], int(found["start"]), int(found["size"]), found["column"])


def parse_address(path: str | Path) -> Address:
    """Read the address of a cut whose audio lies in a shard.

    Args:
        path: of the cut.

    Raises:
        DataError: it lies in none.
    """
    address = Address.parse(path)
    if address is None:
        raise DataError(f"{path} lies in no shard; prepare the data again")
    return address
