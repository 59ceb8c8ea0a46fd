"""Answers of all folds as one: every utterance is answered by a model that was trained without its fold.

A fold has few speakers; its score, and that of a floor, move by more than the models differ. All folds together have
each utterance once, and the difference of two models has an interval of its own, since both answer the same utterances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bigfoot.models.tasks.shape import TaskShape
from bigfoot.runtime.task_answers import TaskFacts
from bigfoot.tasks.answers import Answers, task_facts
from bigfoot.tasks.gains import measure_gain
from bigfoot.tasks.metrics import TaskScore, score_answers


@dataclass(frozen=True)
class PooledScore:
    """Score of a model on the answers of all folds.

    Args:
        model: its name; of a floor, with ``floor: `` in front.
        per: what is scored, each ``utterance``, or each ``speaker`` by the mean scores of all utterances.
        score: see ``TaskScore``.
        gain: on the best floor, above 0 where the model is better, with its 95 % interval; None of floors.
    """

    model: str
    per: str
    score: TaskScore
    gain: tuple[float, float, float] | None = None


def pack_answers(answers: Answers) -> dict[str, Any]:
    """Return answers as an entry of a report keeps them.

    Args:
        answers: of a model or a floor.
    """
    return {
        "ids": answers.ids, "speakers": answers.speakers, "targets": answers.targets.tolist(),
        "scores": answers.scores.tolist(),
    }  # fmt: skip


def pack_floors(scores: Mapping[str, TaskScore]) -> dict[str, Any]:
    """Return the same of floors.

    Args:
        scores: by name.
    """
    return {name: pack_answers(score.answers) for name, score in scores.items() if score.answers is not None}


def score_folds(tasks: Sequence[Sequence[Mapping[str, Any]]], samples: int, seed: int) -> list[PooledScore]:
    """Score the models of all folds together, floors first.

    Args:
        tasks: ``Report.tasks`` of each fold, on test; entries have ``answers``, the first one ``floor_answers``.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Of each model that all folds have; nothing where their labels differ.
    """
    shapes = [TaskShape.read(entries[0]["shape"]) for entries in tasks if entries]
    asked = {(shape.kind, *shape.labels) for shape in shapes}
    if len(shapes) < len(tasks) or len(asked) != 1:
        return []
    facts, metric = task_facts(shapes[0]), str(tasks[0][0]["metric"])
    floors = _join([entries[0].get("floor_answers") or {} for entries in tasks], facts)
    answered = [{entry["name"]: entry["answers"] for entry in entries if "answers" in entry} for entries in tasks]
    models = _join(answered, facts)
    found = _score("utterance", floors, models, metric, samples, seed)
    floors, models = (_pool_speakers(group) for group in (floors, models))
    return found + _score("speaker", floors, models, metric, samples, seed)


def _pool_speakers(group: Mapping[str, Answers]) -> dict[str, Answers]:
    pooled = {name: each.pool_speakers() for name, each in group.items()}
    return {name: each for name, each in pooled.items() if each is not None}


def _score(
    per: str, floors: Mapping[str, Answers], models: Mapping[str, Answers], metric: str, samples: int, seed: int
) -> list[PooledScore]:  # fmt: skip
    scores = {name: score_answers(each, metric, samples, seed) for name, each in floors.items()}
    found = [PooledScore(f"floor: {name}", per, score) for name, score in scores.items()]
    for name, answers in models.items():
        gain = measure_gain(answers, scores, metric, samples, seed)
        found.append(PooledScore(name, per, score_answers(answers, metric, samples, seed), gain))
    return found


def _join(folds: Sequence[Mapping[str, Any]], facts: TaskFacts) -> dict[str, Answers]:
    """Join the answers of each model that all folds have, in the order of the first, utterances by name."""
    found = {}
    for name in folds[0]:
        if any(name not in fold for fold in folds):
            continue
        parts = [fold[name] for fold in folds]
        ids, speakers = ([each for part in parts for each in part[key]] for key in ("ids", "speakers"))
        numbers = (np.concatenate([np.array(part[key], float) for part in parts]) for key in ("targets", "scores"))
        targets, scores = numbers
        found[name] = Answers(ids, speakers, targets, scores, facts).sorted_by_id()
    return found
