"""Propose students that keep a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError
from bigfoot.measure.speed import Spread, compute_spread
from bigfoot.models.configuration import BigfootConfig
from bigfoot.planner.budget import Budget
from bigfoot.planner.expected import Expected, expect_points
from bigfoot.planner.known import KnownRow
from bigfoot.planner.ladders import LADDERS, Candidate, Counted, count, list_candidates
from bigfoot.planner.measured import RUNTIMES, Bench, Opened, Speed

NUM_PROPOSALS = 3
_TEACHER = "teacher"
_BYTES_PER_PARAM = {False: 4.0, True: 1.0}


@dataclass(frozen=True)
class Proposal:
    """A student that keeps the budget.

    Args:
        name: of its configuration.
        counted: shape, parameters and multiply-accumulates.
        num_bytes: of the files that the runtime reads.
        speed: of random weights of its shape.
        faster: time of the teacher's shape over its own, fp32 in the same runtime, in the same rounds.
        times_fewer_macs: multiply-accumulates of the teacher over its own.
        expected: WER above the teacher's.
    """

    name: str
    counted: Counted
    num_bytes: int
    speed: Speed
    faster: Spread
    times_fewer_macs: float
    expected: Expected


@dataclass
class _Search:
    """Find the rung of a ladder that keeps the budget."""

    budget: Budget
    bench: Bench
    on_measure: Callable[[str], None]

    def find(self, rungs: Sequence[Counted]) -> Counted | None:
        """Return the costliest rung that keeps the budget, by bisection over the time, which grows with the costs."""
        rungs = [each for each in rungs if self._may_fit(each)]
        low, high = 0, len(rungs)
        while self.budget.max_rtf is not None and low < high:
            middle = (low + high) // 2
            if self._rtf(rungs[middle]) > self.budget.max_rtf:
                low = middle + 1
            else:
                high = middle
        return next((each for each in rungs[low:] if self._fits(each)), None)

    def _may_fit(self, counted: Counted) -> bool:
        """Whether counts alone do not rule a rung out: a file is never smaller than its parameters."""
        budget = self.budget
        least = _BYTES_PER_PARAM[counted.candidate.int8] * counted.num_params
        within_macs = budget.max_macs is None or counted.macs <= budget.max_macs
        return within_macs and (budget.max_bytes is None or least <= budget.max_bytes)

    def _fits(self, counted: Counted) -> bool:
        if self.budget.max_bytes is None:
            return True
        self.on_measure(f"size of {_describe(counted.candidate)}")
        return self.bench.open(counted.candidate).num_bytes <= self.budget.max_bytes

    def _rtf(self, counted: Counted) -> float:
        self.on_measure(f"speed of {_describe(counted.candidate)}")
        return self.bench.summarize(self.bench.time({"": self.bench.open(counted.candidate)})[""]).rtf


def propose(
    teacher: BigfootConfig,
    budget: Budget,
    bench: Bench,
    rows: Sequence[KnownRow],
    on_measure: Callable[[str], None] = lambda _: None,
) -> list[Proposal]:
    """Propose up to three students, of each kind the one that keeps most of the teacher within the budget.

    Sizes and times are measured on random weights of each shape, in the runtime that is meant.

    Args:
        teacher: its shape.
        budget: of the student.
        bench: how students are timed.
        rows: see ``expect_points``.
        on_measure: called with what is measured next.

    Returns:
        The lowest expected error first; fewer than three where fewer kinds have a student that keeps the budget.

    Raises:
        ConfigError: no student keeps the budget, or it is none.
    """
    if problems := list(budget.find_problems()):
        raise ConfigError(problems)
    kinds = [kind for kind, ladder in LADDERS.items() if not ladder.int8 or RUNTIMES[bench.runtime].int8]
    on_measure("shapes of students")
    ladders = list_candidates(teacher, kinds)
    search = _Search(budget, bench, on_measure)
    found = {kind: each for kind in kinds if (each := search.find(ladders[kind])) is not None}
    if not found:
        raise ConfigError([explain_misfit(budget, bench, ladders)])
    chosen = dict(sorted(found.items(), key=lambda item: -item[1].macs)[:NUM_PROPOSALS])
    proposals = _measure(teacher, chosen, bench, rows, on_measure)
    return sorted(proposals, key=lambda each: (each.expected.points, -each.counted.num_params))


def _measure(
    teacher: BigfootConfig, chosen: Mapping[str, Counted], bench: Bench, rows: Sequence[KnownRow],
    on_measure: Callable[[str], None],
) -> list[Proposal]:  # fmt: skip
    """Time the chosen beside the teacher's shape, in turn."""
    whole = count(Candidate(_TEACHER, {}, teacher))
    on_measure("speed of the proposals beside the teacher's shape")
    opened: dict[str, Opened] = {_TEACHER: bench.open(whole.candidate)}
    opened |= {kind: bench.open(each.candidate) for kind, each in chosen.items()}
    times = bench.time(opened)
    proposals = []
    for kind, counted in chosen.items():
        ratios = [slow / fast for slow, fast in zip(times[_TEACHER], times[kind], strict=True)]
        fewer = whole.macs / counted.macs
        proposals.append(
            Proposal(kind, counted, opened[kind].num_bytes, bench.summarize(times[kind]), compute_spread(ratios), fewer,
                     expect_points(rows, fewer))
        )  # fmt: skip
    return proposals


def _describe(candidate: Candidate) -> str:
    width = f", {candidate.shape.hidden_size} wide" if "shape" in candidate.student else ""
    layers = candidate.shape.num_hidden_layers
    return f"{layers} layer{'s' if layers > 1 else ''}{width}{', int8' if candidate.int8 else ''}"


def explain_misfit(budget: Budget, bench: Bench, ladders: Mapping[str, Sequence[Counted]]) -> Problem:
    """Explain which limit is out of reach, by the smallest students there are.

    Args:
        budget: that no student keeps.
        bench: how students are timed.
        ladders: all students, by kind.
    """
    smallest = min((each for rungs in ladders.values() for each in rungs), key=lambda each: each.macs, default=None)
    if smallest is None:
        return Problem("--teacher", "no_student", "no layers or units of its shape can be left out by this planner")
    ends = [rungs[-1] for rungs in ladders.values() if rungs]
    least = min(ends, key=lambda each: (not each.candidate.int8, each.macs))
    opened = bench.open(least.candidate)
    rtf = bench.summarize(bench.time({"": opened})[""]).rtf
    limits = (("--max-size", budget.max_bytes, opened.num_bytes), ("--max-macs", budget.max_macs, smallest.macs),
              ("--max-rtf", budget.max_rtf, rtf))  # fmt: skip
    missed = [key for key, limit, reached in limits if limit is not None and reached > limit] or ["--max-size"]
    message = (
        f"no student keeps this budget; the smallest, {_describe(least.candidate)}, has {opened.num_bytes:,} bytes, "
        f"{smallest.macs / 1e6:.3g} M multiply-accumulates per second of audio and a real-time factor of {rtf:.3g}"
    )
    return Problem(missed[0], "out_of_reach", message)
