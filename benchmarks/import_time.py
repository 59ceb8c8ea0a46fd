"""How long ``import bigfoot`` and ``bigfoot --help`` take, as a user waits for them: new processes, wall time.

    python benchmarks/import_time.py --runs 11

Prints median and spread beside the targets; ``python -c pass`` is what of it is Python's own start. The first run of
each is left out: it reads files that later ones find in memory. The exit status is 1 if a median misses its target.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

Seconds = float


@dataclass(frozen=True)
class Case:
    """One thing to wait for.

    Args:
        name: as printed.
        arguments: what Python is started with.
        target: the median should stay below; None where there is no target.
    """

    name: str
    arguments: tuple[str, ...]
    target: Seconds | None


CASES = (
    Case("python -c pass", ("-c", "pass"), None),
    Case("import bigfoot", ("-c", "import bigfoot"), 0.5),
    Case("bigfoot --help", ("-m", "bigfoot", "--help"), 1.0),
)


def measure_wall_times(case: Case, runs: int) -> list[Seconds]:
    """Wall time of every run but a first one that does not count.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *case.arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> int:
    """Measure and print every case; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11, help="runs that count, 1 or more")
    runs = parser.parse_args().runs
    missed = False
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {runs} runs each")
    print(f"{'command':<16} {'median':>8} {'lowest':>8} {'highest':>8} {'target':>8}")
    for case in CASES:
        times = measure_wall_times(case, runs)
        median = statistics.median(times)
        missed |= case.target is not None and median > case.target
        target = "" if case.target is None else f"{case.target:.1f} s"
        print(f"{case.name:<16} {median:6.3f} s {min(times):6.3f} s {max(times):6.3f} s {target:>8}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
