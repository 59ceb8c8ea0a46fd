"""The methods of configs/methods beside each other: same teacher, same data, same steps, same seeds, one table.

    python recipes/compare_methods.py --corpus fsdd [--seeds "1 2 3"] [--methods "bigfoot lowrank"] [key=value ...]

Each run is an ordinary run of a method's YAML file; ``bigfoot.study`` plans and tabulates them, this file starts them.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    from bigfoot.storage.lock import locked
    from bigfoot.study.gather import gather_rows
    from bigfoot.study.plan import ComparisonConfig, PlannedRun, plan_runs, read_comparison
    from bigfoot.study.run import run_planned
    from bigfoot.study.table import render_methods, save_methods


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; ``compare_methods.sh --help`` says what each means."""
    parser = argparse.ArgumentParser(usage="see bash recipes/compare_methods.sh --help", add_help=False)
    parser.add_argument("--corpus", default="fsdd", choices=["fsdd", "librispeech_mini"])
    parser.add_argument("--seeds", type=lambda text: [int(word) for word in text.split()])
    parser.add_argument("--methods", type=str.split)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_intermixed_args(arguments)
    if given.jobs < 1:
        parser.error(f"--jobs {given.jobs}: expected 1 or more")
    return given


def read_wanted(given: argparse.Namespace) -> tuple[str, ComparisonConfig]:
    """The name of the comparison, and its file with what the command line changes."""
    name = "smoke" if given.smoke else given.corpus
    wanted = read_comparison(f"compare/{name}.yaml")
    for key in ("seeds", "methods", "steps"):
        if getattr(given, key) is not None:
            setattr(wanted, key, getattr(given, key))
    return name, wanted


def main(arguments: Sequence[str]) -> int:
    """Run what is not done, then write the table; 1 where a run failed."""
    given = parse(arguments)
    name, wanted = read_wanted(given)
    folder = given.out or Path(f"runs/compare_{name}")
    # Planned before anything is made in the folder.
    plan = plan_runs(wanted, folder, given.overrides, others=given.others)
    with locked(folder, inside=True):
        return compare(plan, wanted, folder, given.jobs, shlex.join(arguments))


def compare(plan: Sequence[PlannedRun], wanted: ComparisonConfig, folder: Path, jobs: int, called: str) -> int:
    """Run what is not done in a folder, then write its table; 1 where a run failed."""
    outcomes = run_planned(plan, jobs, lambda line: print(line, flush=True))
    if not outcomes.trials:
        print("no run came to its end: there is no table", file=sys.stderr)
        return 1
    command = f"`bash recipes/compare_methods.sh {called}`".replace(" `", "`")
    trained = "protocol: students of the tiny teacher, trained by their method, then fine-tuned with CTC on transcripts"
    comparison = gather_rows(outcomes, wanted.speed_rounds, [command, trained])
    save_methods(comparison, folder)
    print(render_methods(comparison))
    print(f"Comparison: {folder / 'comparison.md'}  (CSV, JSON and plots beside it)")
    return 1 if outcomes.failed else 0


if __name__ == "__main__":
    # A signal to stop also stops its runs; the same command resumes them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with plain_errors():
        sys.exit(main(sys.argv[1:]))
