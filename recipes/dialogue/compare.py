"""Compare runs of a dialogue recipe: what words give, what speech gives, and what compression costs.

    python recipes/dialogue/compare.py runs/dialogue/text runs/dialogue/speech [MORE ...]

The first run reads transcripts, the second gets speech; the others are only listed. Exits with 1 where speech is not 10
points better than every guess from words, with 95 % intervals apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    from bigfoot.report.rows import load_report

LEAD = 0.10
"""By which speech must pass the words, a share of macro F1."""
COLUMNS = ("encoder_M_params", "embeddings_per_second", "seconds_to_first_token")


def collect(run: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the models and the guesses of a run's report, by name: metric, its interval, and facts."""
    found = []
    for task in load_report(run / "report").tasks:
        metric = task.get("metric", "macro_f1")
        for name, metrics in task.get("floors", {}).items():
            low, high = task["floor_intervals"][name]
            found.append((f"guess: {name}", {"value": metrics[metric], "low": low, "high": high}))
        value = {"value": task["metrics"][metric], "low": task["interval"][0], "high": task["interval"][1]}
        found.append((f"{run.name}: {task['name']}", value | task["metrics"]))
    return found


def show(name: str, row: dict[str, Any]) -> str:
    """Format a row."""
    facts = "".join(f"{row[key]:>24.4g}" if key in row else f"{'':>24}" for key in COLUMNS)
    return f"{name:<36}{row['value']:>8.3f} [{row['low']:.3f}, {row['high']:.3f}]{facts}"


def main() -> None:
    """Read, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    given = parser.parse_args()
    tables = [collect(run) for run in given.runs if (run / "report" / "report.json").is_file()]
    print(f"{'model':<36}{'macro F1 [95 %]':>24}{''.join(f'{name:>24}' for name in COLUMNS)}")
    rows = list(dict(row for table in tables for row in table).items())
    print("\n".join(show(name, row) for name, row in rows))
    speech = tables[1][-1][1]
    words = [row for name, row in tables[0]]
    best = max(words, key=lambda row: row["value"])
    lead = speech["value"] - best["value"]
    apart = speech["low"] > max(row["high"] for row in words)
    print(f"speech is {100 * lead:+.1f} points against the best of words alone; intervals apart: {apart}")
    if lead < LEAD or not apart:
        raise SystemExit(1)


if __name__ == "__main__":
    with plain_errors():
        main()
