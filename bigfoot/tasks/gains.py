"""What a model gains on the best of its floors, with an interval of its own.

Both answer the same utterances, so the difference is known better than either score: two intervals may overlap where
their difference is far from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from bigfoot.runtime.task_answers import TaskFacts
from bigfoot.tasks.answers import Answers
from bigfoot.tasks.metrics import TaskScore, compare_answers
from bigfoot.tasks.settings import LOWER_IS_BETTER


def find_best_floor(floors: Mapping[str, TaskScore], metric: str) -> str | None:
    """Return the name of the best floor; None where there is none.

    Args:
        floors: by name.
        metric: that they are compared by.
    """
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    return max(floors, key=lambda name: sign * floors[name].metrics.get(metric, -sign * np.inf), default=None)


def measure_gain(
    answers: Answers, floors: Mapping[str, TaskScore], metric: str, samples: int, seed: int
) -> tuple[float, float, float] | None:  # fmt: skip
    """Compare a model with the best of its floors.

    Args:
        answers: of the model.
        floors: by name, with their answers to the same utterances.
        metric: to compare by.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        See ``compare_answers``; None without floors.
    """
    best = find_best_floor(floors, metric)
    theirs = None if best is None else floors[best].answers
    return None if theirs is None else compare_answers(answers, theirs, metric, samples, seed)


def add_floors_(
    entries: Sequence[MutableMapping[str, Any]], answers: Mapping[str, Answers], floors: Mapping[str, TaskScore],
    samples: int, seed: int,
) -> None:  # fmt: skip
    """Add floors to the first of a split's entries, and to each the gain on the best of them.

    Args:
        entries: of ``Report.tasks``, of one split; those of other labels or another metric have no gain.
        answers: of the models, by name; one answer a speaker where the floors have that.
        floors: by name.
        samples: bootstrap resamples.
        seed: of the resampling.
    """
    entries[0].update(
        floors={name: score.metrics for name, score in floors.items()},
        floor_intervals={name: [score.low, score.high] for name, score in floors.items()},
    )
    facts = {name: each.facts for name, each in answers.items()}
    for entry in entries:
        ours = answers.get(entry["name"])
        theirs = next((score for score in floors.values() if score.answers is not None), None)
        if ours is None or theirs is None or theirs.answers is None or theirs.metric != entry["metric"]:
            continue
        if _is_same_task(facts[entry["name"]], theirs.answers.facts):
            entry["gain"] = measure_gain(ours, floors, entry["metric"], samples, seed)


def _is_same_task(ours: TaskFacts, theirs: TaskFacts) -> bool:
    return (ours.kind, *ours.labels) == (theirs.kind, *theirs.labels)


def compare_with_floors(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """State of each split whether its last model is better than the best floor, a sentence each.

    Args:
        tasks: entries of ``Report.tasks``; the floors of a split stand in its first one.

    Examples:
        >>> task = {"split": "test", "name": "train_task", "metric": "mae", "metrics": {"mae": 2.0},
        ...         "floors": {"mean": {"mae": 3.0}}, "gain": [1.0, -0.2, 2.1]}
        >>> compare_with_floors([task])  # doctest: +NORMALIZE_WHITESPACE
        ['test: train_task beats its best floor, mean, in mae (2.000 and 3.000): +1.000 [-0.200, +2.100], which may be
        chance']
    """
    return [found for split in dict.fromkeys(task["split"] for task in tasks)
            if (found := _compare_split([task for task in tasks if task["split"] == split]))]  # fmt: skip


def _compare_split(tasks: Sequence[Mapping[str, Any]]) -> str:
    first, last = tasks[0], tasks[-1]
    metric = last["metric"]
    value, sign = last["metrics"].get(metric), -1 if metric in LOWER_IS_BETTER else 1
    floors = {name: found[metric] for name, found in (first.get("floors") or {}).items() if metric in found}
    if value is None or not floors:
        return ""
    best = max(floors, key=lambda name: sign * floors[name])
    beats = sign * value > sign * floors[best]
    words = f"{last['split']}: {last['name']} {'beats' if beats else 'does not beat'} its best floor, {best}, in "
    words += f"{metric.replace('_', ' ')} ({value:.3f} and {floors[best]:.3f})"
    gain = last.get("gain")
    if not gain:
        return words
    chance = ", which may be chance" if gain[1] <= 0 <= gain[2] else ""
    return f"{words}: {describe_gain(gain)}{chance}"


def describe_gain(gain: Sequence[float]) -> str:
    """Write a gain with its interval.

    Args:
        gain: and the ends of its interval.

    Examples:
        >>> describe_gain((0.05, -0.01, 0.1))
        '+0.050 [-0.010, +0.100]'
    """
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*gain)
