"""The search: rounds of proposing, measuring, choosing, cutting and refitting until the model is small enough."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from bigfoot.compress.settings import Shrink
from bigfoot.compress.shrink.audio import Split
from bigfoot.compress.shrink.costs import BYTES, estimate_cost
from bigfoot.compress.shrink.cut import Cut
from bigfoot.compress.shrink.knapsack import choose_cheapest
from bigfoot.compress.shrink.loading import load_kind, load_kinds
from bigfoot.compress.shrink.origins import Origins
from bigfoot.compress.shrink.refit import Streams, refit_
from bigfoot.compress.shrink.survey import Reference, Survey
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.measure.size import count_macs, count_params
from bigfoot.measure.speed import measure_speed
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state

_MOST_ROUNDS = 40
_SPEED_ROUNDS, _SPEED_SECONDS = 5, 5.0


@dataclass(frozen=True)
class Round:
    """One round of the search.

    Args:
        cuts: kind, place and amount of each that was made.
        share: of the whole model's cost that is left.
        predicted: error that the cuts were expected to leave, each measured alone.
        cut: error before the refit.
        refitted: error after it.
    """

    cuts: Sequence[tuple[str, str, str]]
    share: float
    predicted: float
    cut: float
    refitted: float


@dataclass
class Shrunk:
    """What the search found.

    Args:
        model: the smaller model.
        share: of the whole model's cost.
        rounds: one each.
    """

    model: BigfootForCTC
    share: float
    rounds: list[Round] = field(default_factory=list)


def count_cost(model: BigfootForCTC, measure: str) -> float:
    """Count what a model costs: multiply-accumulates of 10 s of audio, parameters or bytes; speed goes by the first.

    Args:
        model: of any shape.
        measure: of ``Shrink.measure``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> count_cost(load_model("tiny_teacher").model, "mb")
        10097024
    """
    if measure in ("macs", "rtf"):
        return count_macs(model)[model]
    return count_params(model) * (BYTES if measure == "mb" else 1)


class Search:
    """A search on one model.

    Args:
        model: the whole one, left as it is.
        settings: how far, by what, and which kinds of cut.
        audio: for fitting and for measuring.
        on_step: called with rounds done, the parts of the current one among them, and what is left of the model.
    """

    def __init__(
        self, model: BigfootForCTC, settings: Shrink, audio: Split,
        on_step: Callable[[float, str], None] = lambda *_: None,
    ) -> None:  # fmt: skip
        self.whole, self.settings, self.audio, self.on_step = model, settings, audio, on_step
        self.kinds = load_kinds(settings.cuts)
        self.cost = count_cost(model, settings.measure)
        self.reference = Reference.of(model, audio.held)
        self.streams = Streams(model, audio.fit)
        self.origins = Origins(model.config)

    @torch.no_grad()
    def run(self) -> Shrunk:
        """Search.

        Returns:
            See ``Shrunk``.

        Raises:
            UnfitError: the target cannot be reached; the message states what can.
        """
        found = Shrunk(copy.deepcopy(self.whole).eval(), 1.0)
        goals = [self.settings.target ** (done / self.settings.rounds) for done in range(1, self.settings.rounds + 1)]
        for goal in goals:
            self._reach(found, goal)
        if self.settings.measure == "rtf":
            self._reach_speed(found)
        return found

    def _reach(self, found: Shrunk, goal: float) -> None:
        """Cut until so much is left, exactly counted."""
        while found.share > goal:
            before = found.share
            self._round(found, goal)
            if found.share >= before or len(found.rounds) > _MOST_ROUNDS:
                raise self._unreachable(found.share)

    def _unreachable(self, share: float) -> UnfitError:
        kinds = ", ".join(kind.name for kind in self.kinds)
        message = (
            f"{self.settings.target:.1%} of {self.settings.measure} cannot be reached by cutting {kinds}: {share:.1%} "
            "stays when all is cut that may be; raise the target or allow more kinds of cut"
        )
        return UnfitError(Problem("target", "out_of_reach", message))

    def _reach_speed(self, found: Shrunk) -> None:
        """Cut further until the measured time is short enough."""
        for _ in range(_MOST_ROUNDS):
            speeds = measure_speed({"whole": self.whole, "cut": found.model}, rounds=_SPEED_ROUNDS,
                                   seconds=_SPEED_SECONDS, threads=1)  # fmt: skip
            ratio = 1 / speeds["cut"].speedup
            if ratio <= self.settings.target:
                found.share = ratio
                return
            macs = count_cost(found.model, "macs") / self.cost
            found.share = macs
            self._reach(found, macs * max(0.7, 0.98 * self.settings.target / ratio))
        raise self._unreachable(found.share)

    def _round(self, found: Shrunk, goal: float) -> None:
        survey = Survey(found.model, self.audio.fit, self.reference, self.whole, self.settings.seed)
        cuts = [cut for kind in self.kinds for cut in kind.propose(survey)]
        error = self.reference.measure(found.model)
        options: dict[str, list[tuple[Cut, float, float]]] = {}
        for done, cut in enumerate(cuts, 1):
            rise = max(0.0, survey.measure(cut) - error)
            options.setdefault(cut.place, []).append((cut, self._saving(survey, cut), rise))
            self.on_step(len(found.rounds) + done / len(cuts), f"{found.share:.0%} of {self.settings.measure} left")
        chosen = choose_cuts(options, (found.share - goal) * self.cost)
        if not chosen:
            return
        found.model = carry_out(found.model, chosen)
        self.origins.follow(chosen)
        cut_error = self.reference.measure(found.model)
        refitted = self._refit(found, cut_error)
        found.share = count_cost(found.model, self.settings.measure) / self.cost
        rises = {id(cut): rise for rows in options.values() for cut, _, rise in rows}
        predicted = error + sum(rises[id(cut)] for cut in chosen)
        rows = [(cut.kind, cut.place, cut.amount) for cut in chosen]
        found.rounds.append(Round(rows, found.share, predicted, cut_error, refitted))

    def _saving(self, survey: Survey, cut: Cut) -> float:
        measure = self.settings.measure
        saved = estimate_cost(survey.config, measure) - estimate_cost(cut.shape, measure)
        return saved * (BYTES if measure == "mb" else 1)

    def _refit(self, found: Shrunk, error: float) -> float:
        before = {name: tensor.clone() for name, tensor in found.model.state_dict().items()}
        refit_(found.model, self.streams, self.origins.layers)
        refitted = self.reference.measure(found.model)
        if refitted <= error:
            return refitted
        found.model.load_state_dict(before)
        return error


def choose_cuts(options: dict[str, list[tuple[Cut, float, float]]], needed: float) -> list[Cut]:
    """Choose cuts that save enough at the least error, or, where all together do not, those that save most.

    Args:
        options: cut, saving and rise of the error, by place.
        needed: saving in all.
    """
    free = {place: rows for place, rows in options.items() if rows[0][0].excluded == frozenset()}
    found = [_choose_free(free, needed)]
    for place, rows in options.items():
        for cut, saving, rise in rows if place not in free else ():
            excluded = cut.excluded
            others = {} if excluded is None else {each: free[each] for each in free if each not in excluded}
            rest, error, saved = _choose_free(others, needed - saving)
            found.append(([cut, *rest], error + rise, saved + saving))
    enough = [each for each in found if each[2] >= needed * (1 - 1e-9)]
    best = min(enough, key=lambda each: each[1]) if enough else max(found, key=lambda each: each[2])
    return best[0]


def _choose_free(
    options: dict[str, list[tuple[Cut, float, float]]], needed: float
) -> tuple[list[Cut], float, float]:
    """Cuts, the sum of their errors and of their savings."""
    if needed <= 0:
        return [], 0.0, 0.0
    pairs = {place: [(saving, rise) for _, saving, rise in rows] for place, rows in options.items()}
    chosen = choose_cheapest(pairs, needed)
    if chosen is None:
        chosen = {place: max(range(len(rows)), key=lambda at: rows[at][0]) for place, rows in pairs.items() if rows}
    taken = [options[place][at] for place, at in chosen.items() if options[place][at][1] > 0]
    return [cut for cut, _, _ in taken], sum(rise for *_, rise in taken), sum(saving for _, saving, _ in taken)


def carry_out(model: BigfootForCTC, cuts: Sequence[Cut]) -> BigfootForCTC:
    """Build the model with several cuts.

    Args:
        model: left as it is.
        cuts: one a place.
    """
    model = copy.deepcopy(model)
    state = plain_state(model)
    changed = {name: tensor for cut in cuts for name, tensor in cut.tensors.items()}
    load_plain_state(model, {**state, **changed})
    for kind in load_kinds([*{cut.kind for cut in cuts}]):
        model = load_kind(kind.name).carry_out(model, [cut for cut in cuts if cut.kind == kind.name])
    return model.eval()
