"""Parse the plan of a benchmark, and check it before anything is loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bigfoot.config import Problem
from bigfoot.errors import ConfigError
from bigfoot.measure.runtimes import split_runtime
from bigfoot.measure.speed import count_all_threads
from bigfoot.types import Seconds


@dataclass(frozen=True)
class Setting:
    """Setting in which models are run.

    Args:
        threads: of torch.
        seconds: audio of an utterance.
        batch: utterances of a pass.

    Examples:
        >>> print(Setting(1, 10.0, 8))
        1 thread, 10 s, batch 8
    """

    threads: int
    seconds: Seconds
    batch: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{threads}, {self.seconds:g} s, batch {self.batch}"


@dataclass(frozen=True)
class BenchmarkPlan:
    """A benchmark: models and settings.

    Args:
        sources: models, as ``open_runnable`` takes them; the first is what the others are compared with.
        threads: thread counts, each 1 or more.
        seconds: lengths of audio.
        batch: batch sizes, each 1 or more.
        rounds: counted rounds of a setting.
    """

    sources: tuple[str, ...]
    threads: tuple[int, ...] = (1,)
    seconds: tuple[Seconds, ...] = (10.0,)
    batch: tuple[int, ...] = (1,)
    rounds: int = 9

    @property
    def settings(self) -> list[Setting]:
        """Every combination, the first of each first."""
        return [Setting(*values) for values in itertools.product(self.threads, self.seconds, self.batch)]

    @property
    def num_ticks(self) -> int:
        """Steps of the progress bar: a child process for each model's memory, every round of models and of parts."""
        return len(self.settings) * (len(self.sources) + 2 * (self.rounds + 1))


def read_plan(
    sources: Sequence[str], threads: str = "1", seconds: str = "10", batch: str = "1", rounds: int = 9
) -> BenchmarkPlan:
    """Parse a plan from the command line.

    Args:
        sources: models.
        threads: whole numbers with commas between them.
        seconds: numbers with commas between them.
        batch: whole numbers with commas between them.
        rounds: 1 or more.

    Raises:
        ConfigError: all that is wrong with them.

    Examples:
        >>> read_plan(["tiny_teacher"], seconds="2,10").settings
        [Setting(threads=1, seconds=2.0, batch=1), Setting(threads=1, seconds=10.0, batch=1)]
    """
    problems: list[Problem] = []
    if not sources:
        problems.append(Problem("MODEL", "missing", "no model to measure"))
    nameless = [source for source in sources if not split_runtime(source)[1].strip()]
    problems += [Problem("MODEL", "no_name", f"{source!r} names no model") for source in nameless]
    if rounds < 1:
        problems.append(Problem("--rounds", "out_of_range", f"{rounds} should be 1 or more"))
    counts = {"--threads": threads, "--batch": batch}
    whole = {option: tuple(_read_numbers(option, text, True, problems)) for option, text in counts.items()}
    lengths = tuple(_read_numbers("--seconds", seconds, False, problems))
    if problems:
        raise ConfigError(problems)
    of_threads, of_batch = (tuple(int(number) for number in numbers) for numbers in whole.values())
    return BenchmarkPlan(tuple(sources), of_threads, lengths, of_batch, rounds)


def _read_numbers(option: str, text: str, whole: bool, problems: list[Problem]) -> Iterator[float]:
    seen = set()
    for word in text.split(","):
        try:
            number: float = int(word) if whole else float(word)
        except ValueError:
            number = math.nan
        if not (0 < number < math.inf):
            kind = "a whole number, 1 or more" if whole else "a number above 0"
            message = f"{word.strip()!r} in {text!r} should be {kind}, with commas between several"
            problems.append(Problem(option, "no_number", message))
        elif number in seen:
            problems.append(Problem(option, "repeated", f"{word.strip()} is given twice in {text!r}; once is enough"))
        else:
            seen.add(number)
            yield number


def plan_warnings(plan: BenchmarkPlan) -> list[str]:
    """Return notes on the figures that are known before they are measured, a sentence each."""
    found, processors = [], count_all_threads()
    for threads in plan.threads:
        if threads > processors:
            found.append(
                f"{threads} threads on a machine whose process may use {processors}: they wait for each other, and "
                "such a time means little"
            )
    return found
