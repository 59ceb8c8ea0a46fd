"""Format numbers: significant digits, percent, durations, ratios."""

from __future__ import annotations

import math

MISSING = "n/a"


def format_number(value: float | None, digits: int = 3) -> str:
    """Format a number with the given significant digits, with an exponent only below 0.0001.

    Examples:
        >>> [format_number(x) for x in (315.44, 94.4, 0.96, 0.00123, 1234567.0, None)]
        ['315', '94.4', '0.960', '0.00123', '1234567', 'n/a']
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    # The exponent after rounding: 9.999 is 10.0, not 10.00.
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    return f"{value:.{max(digits - 1 - exponent, 0)}f}" if exponent >= -4 else f"{value:.1e}"


def format_percent(fraction: float | None) -> str:
    """Format a fraction as percent without the sign.

    Examples:
        >>> format_percent(0.03125), format_percent(None)
        ('3.12', 'n/a')
    """
    return MISSING if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f}"


def format_seconds(seconds: float) -> str:
    """Format a duration.

    Examples:
        >>> [format_seconds(x) for x in (0.42, 75, 3720)]
        ['0.4 s', '1 min 15 s', '1 h 2 min']
    """
    if not math.isfinite(seconds):
        return MISSING
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def format_scaled(value: float | None, unit: float) -> str:
    """Format a number in multiples of a unit.

    Examples:
        >>> format_scaled(2_524_256, 1e6)
        '2.52'
    """
    return format_number(None if value is None else value / unit)


def format_times(ratio: float | None) -> str:
    """Format a ratio.

    Examples:
        >>> format_times(2.788), format_times(None)
        ('2.79x', 'n/a')
    """
    return MISSING if ratio is None else f"{format_number(ratio)}x"
