"""Validate a configuration against its models, its corpus and this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bigfoot.config import Problem
from bigfoot.config.problems import without_known
from bigfoot.data.problems import data_problems
from bigfoot.decoding.choose import decoder_problems
from bigfoot.decoding.hot_words import hot_word_problems
from bigfoot.pipeline.hypotheses import hypothesis_problems
from bigfoot.pipeline.labels import transcript_problems
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.steps.step import get_step
from bigfoot.training.tracking import missing_trackers


def find_problems(plan: Plan, known: Sequence[Problem] = ()) -> list[Problem]:
    """Collect the problems of all sections.

    Args:
        plan: of the run.
        known: problems of the values by themselves; a number out of its range is not reported again.

    Returns:
        The known ones first.
    """
    return [*known, *without_known(list(_plan_problems(plan)), known)]


def _plan_problems(plan: Plan) -> Iterator[Problem]:
    config = plan.config
    steps = [get_step(name) for name in dict.fromkeys(config.steps) if name in STEPS]
    if any(config.steps.count(step.name) > 1 and not step.repeats for step in steps):
        *most, last = (name for name in STEPS if get_step(name).repeats)
        message = f"{config.steps} names a step twice; only {', '.join(most)} and {last} may come again"
        yield Problem("steps", "repeated", message)
    yield from plan.problems
    yield from transcript_problems(plan)
    yield from hypothesis_problems(plan)
    for step in steps:
        yield from step.check(plan)
    yield from data_problems(config.data)
    yield from missing_trackers(config.trackers)
    for problem in [*decoder_problems(config.evaluate), *_hot_word_problems(plan)]:
        yield problem.under("evaluate")


def _hot_word_problems(plan: Plan) -> Iterator[Problem]:
    """Check hot words against the vocabularies that are known before the run."""
    outlines = [plan.teacher, plan.models and plan.models.source]
    tokenizers = dict.fromkeys(outline.processor.tokenizer for outline in outlines if outline)
    for tokenizer in tokenizers:
        yield from hot_word_problems(plan.config.evaluate, tokenizer)
