"""What came in and what became of it: rows kept and left out, seconds used and left out, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bigfoot.types import Seconds

_NAMED = 5


@dataclass(frozen=True)
class LeftOut:
    """Something that was not used.

    Args:
        name: of the row or file.
        reason: in a few words.
        seconds: of audio; None where nobody can say.
    """

    name: str
    reason: str
    seconds: Seconds | None = None


@dataclass(frozen=True)
class Account:
    """Rows in are rows used and rows left out; seconds likewise.

    Args:
        rows_used: how many were.
        seconds_used: of audio in them.
        left_out: every other row.

    Examples:
        >>> account = Account(3, 12.5, [LeftOut("a.wav", "is silent", 2.0), LeftOut("b.wav", "no such file")])
        >>> account.rows, account.seconds, account.describe()
        (5, 14.5, '3 of 5 rows used (12.5 s), 2 left out (2.0 s and 1 of unknown length)')
    """

    rows_used: int
    seconds_used: Seconds
    left_out: Sequence[LeftOut] = ()

    @property
    def rows(self) -> int:
        """How many came in."""
        return self.rows_used + len(self.left_out)

    @property
    def seconds_left_out(self) -> Seconds:
        """Of audio whose length is known."""
        return sum(item.seconds or 0.0 for item in self.left_out)

    @property
    def num_unknown(self) -> int:
        """Rows left out whose length nobody can say."""
        return sum(item.seconds is None for item in self.left_out)

    @property
    def seconds(self) -> Seconds:
        """Of audio that came in, as far as known."""
        return self.seconds_used + self.seconds_left_out

    def describe(self) -> str:
        """Say it in a line."""
        used = f"{self.rows_used} of {self.rows} rows used ({self.seconds_used:.1f} s)"
        if not self.left_out:
            return used
        known = f"{self.seconds_left_out:.1f} s"
        unknown = f" and {self.num_unknown} of unknown length" if self.num_unknown else ""
        return f"{used}, {len(self.left_out)} left out ({known}{unknown})"

    def lines(self) -> Iterator[str]:
        """Say it with the first of what was left out, a line each."""
        yield self.describe()
        yield from (f"  {item.name}: {item.reason}" for item in self.left_out[:_NAMED])
        if len(self.left_out) > _NAMED:
            yield f"  and {len(self.left_out) - _NAMED} more"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, sums among them."""
        return {
            "rows": self.rows,
            "rows_used": self.rows_used,
            "rows_left_out": len(self.left_out),
            "seconds": round(self.seconds, 3),
            "seconds_used": round(self.seconds_used, 3),
            "seconds_left_out": round(self.seconds_left_out, 3),
            "rows_of_unknown_length": self.num_unknown,
            "left_out": [asdict(item) for item in self.left_out],
        }
