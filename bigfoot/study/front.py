"""Search of the subnets of a supernet: those of the lowest error at each cost, by evolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bigfoot.compress.subnet import Space, Subnet
from bigfoot.config import Problem
from bigfoot.report.pareto import find_pareto_front

_OPTIONS = {"size_bytes": "--max-size", "real_time_factor": "--max-rtf", "macs_per_second": "--max-macs"}
_CHANGED = 0.15
_TRIES = 400


@dataclass(frozen=True)
class Costs:
    """What a subnet costs.

    Args:
        size_bytes: of its weight file, exact.
        macs_per_second: multiply-accumulates per second of audio; None where it was not asked for.
        real_time_factor: of one thread of this machine, from the table; None where there is none.
    """

    size_bytes: int
    macs_per_second: int | None = None
    real_time_factor: float | None = None


@dataclass(frozen=True)
class Limits:
    """The most that a subnet may cost; None for any.

    Args:
        size_bytes: of its weight file.
        real_time_factor: of one thread.
        macs_per_second: multiply-accumulates per second of audio.
    """

    size_bytes: int | None = None
    real_time_factor: float | None = None
    macs_per_second: int | None = None

    def allow(self, costs: Costs) -> bool:
        """Return whether a subnet is within all of them."""
        return not list(self.exceeded_by(costs))

    def exceeded_by(self, costs: Costs) -> Iterator[str]:
        """Yield the names of the limits that a subnet is beyond."""
        for name in ("size_bytes", "real_time_factor", "macs_per_second"):
            limit, cost = getattr(self, name), getattr(costs, name)
            if limit is not None and cost is not None and cost > limit:
                yield name

    @property
    def axis(self) -> str:
        """The cost over which fronts are drawn: that which is limited, bytes first."""
        limited = [name for name in ("size_bytes", "real_time_factor", "macs_per_second") if getattr(self, name)]
        return limited[0] if limited else "size_bytes"


def describe_cost(name: str, value: float | None) -> str:
    """Write a cost with its unit.

    Args:
        name: a field of ``Costs``.
        value: None for a dash.

    Examples:
        >>> describe_cost("size_bytes", 1_234_567), describe_cost("real_time_factor", 0.0123)
        ('1.23 MB', 'RTF 0.0123')
    """
    if value is None:
        return "-"
    if name == "size_bytes":
        return f"{value / 1e6:.3g} MB"
    return f"RTF {value:.3g}" if name == "real_time_factor" else f"{value / 1e6:.4g} M multiply-accumulates a second"


def limit_problems(limits: Limits, smallest: Costs) -> Iterator[Problem]:
    """Explain which limits not even the smallest subnet keeps, and what it costs.

    Args:
        limits: asked for.
        smallest: costs of the smallest subnet.

    Yields:
        Problem by problem; the key is the option.
    """
    for name in limits.exceeded_by(smallest):
        least, most = getattr(smallest, name), getattr(limits, name)
        message = f"the smallest subnet has {describe_cost(name, least)}, more than {describe_cost(name, most)}"
        more = "; allow as much, or train a supernet with smaller shares"
        yield Problem(_OPTIONS[name], "below_smallest", message + more)


@dataclass(frozen=True)
class Candidate:
    """A subnet that was measured.

    Args:
        subnet: its choices.
        costs: what it costs.
        wer: on dev, a fraction.
    """

    subnet: Subnet
    costs: Costs
    wer: float


@dataclass
class Search:
    """Regularized evolution on a Pareto front (after Deb et al., 2002; Cai et al., 2020, section 3.4).

    Everything is drawn from the seed, and nothing is measured twice: with the errors of an earlier call at hand, the
    same call goes the same way without measuring, and on from where it stopped.

    Args:
        space: of the subnets.
        limits: which subnets count.
        cost: of a subnet, cheap.
        score: error of a subnet on dev, dear; called once each.
        seed: of the draws.
        evaluations: subnets that are scored.
        population: subnets of the first generation, and of each after it.
    """

    space: Space
    limits: Limits
    cost: Callable[[Subnet], Costs]
    score: Callable[[Subnet], float]
    seed: int = 7
    evaluations: int = 64
    population: int = 16
    found: dict[str, Candidate] = field(default_factory=dict)

    def run(self) -> list[Candidate]:
        """Score subnets within the limits.

        Returns:
            All of them, in the order in which they were scored; at least one where the smallest is within the limits.
        """
        generator = np.random.default_rng(self.seed)
        for subnet in (self.space.smallest, self.space.largest):
            self._take(subnet)
        while len(self.found) < min(self.evaluations, self.population):
            if not self._take(self._draw(generator)):
                break
        while len(self.found) < self.evaluations:
            before, parents = len(self.found), self._parents()
            for _ in range(self.population):
                self._take(self._child(parents, generator))
            if len(self.found) == before:
                break  # Nothing new within the limits.
        return list(self.found.values())

    def _take(self, subnet: Subnet | None) -> bool:
        """Score a subnet that is new and within the limits; return whether it was."""
        if subnet is None or subnet.key in self.found or len(self.found) >= self.evaluations:
            return False
        costs = self.cost(subnet)
        if not self.limits.allow(costs):
            return False
        self.found[subnet.key] = Candidate(subnet, costs, self.score(subnet))
        return True

    def _fits(self, subnet: Subnet) -> bool:
        return subnet.key not in self.found and self.limits.allow(self.cost(subnet))

    def _draw(self, generator: np.random.Generator) -> Subnet | None:
        """Draw a new subnet within the limits: where they are narrow, nearer and nearer to the smallest."""
        for index in range(_TRIES):
            drawn = self.space.draw(generator)
            subnet = self.space.cross(self.space.smallest, drawn, 1.0 - index / _TRIES, generator)
            if self._fits(subnet):
                return subnet
        return None

    def _parents(self) -> list[Candidate]:
        """Return the front, and the best of the others, as many as a generation has."""
        ranked: list[Candidate] = []
        left = list(self.found.values())
        while left and len(ranked) < self.population:
            front = find_front(left, self.limits.axis)
            ranked += [each for each, on in zip(left, front, strict=True) if on]
            left = [each for each, on in zip(left, front, strict=True) if not on]
        return ranked

    def _child(self, parents: Sequence[Candidate], generator: np.random.Generator) -> Subnet | None:
        for _ in range(_TRIES // 10):
            one, other = (parents[int(generator.integers(len(parents)))].subnet for _ in "12")
            if generator.random() < 0.5:
                child = self.space.mutate(one, _CHANGED, generator)
            else:
                child = self.space.mutate(self.space.cross(one, other, 0.5, generator), _CHANGED / 3, generator)
            if self._fits(child):
                return child
        return None


def find_front(candidates: Sequence[Candidate], axis: str) -> list[bool]:
    """Find the candidates that no other beats in cost and error.

    Args:
        candidates: measured.
        axis: a field of ``Costs``.
    """
    costs = [float(getattr(each.costs, axis) or 0) for each in candidates]
    return find_pareto_front(costs, [each.wer for each in candidates])


def choose(candidates: Sequence[Candidate], axis: str, count: int) -> list[Candidate]:
    """Choose so many, spread over the costs: in each of as many even steps of the logarithm of cost, the lowest error.

    Args:
        candidates: measured, one at least.
        axis: a field of ``Costs``.
        count: how many; fewer come back where there are not as many.

    Returns:
        From the dearest to the cheapest; one alone is that of the lowest error, of equals the cheapest.
    """

    def rank(each: Candidate) -> tuple[float, float]:
        return each.wer, float(getattr(each.costs, axis))

    best = min(candidates, key=rank)
    chosen = {best.subnet.key: best}
    logs = [math.log(max(1e-12, float(getattr(each.costs, axis)))) for each in candidates]
    low, step = min(logs), (max(logs) - min(logs)) / max(1, count - 1) or 1.0
    bins: dict[int, list[Candidate]] = {}
    for log, each in zip(logs, candidates, strict=True):
        bins.setdefault(round((log - low) / step), []).append(each)
    taken = [min(inside, key=rank) for _, inside in sorted(bins.items())]
    others = sorted((each for each in candidates if each not in taken), key=rank)
    for each in (*taken, *others):
        if len(chosen) < count:
            chosen.setdefault(each.subnet.key, each)
    return sorted(chosen.values(), key=lambda each: -float(getattr(each.costs, axis)))
