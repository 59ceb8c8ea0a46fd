"""What a classification must beat: the majority of train, and that of train's turns with the same columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bigfoot.tasks.speech_llm.answers import Answered
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.scores import AnswerScore, score_task
from bigfoot.tasks.speech_llm.settings import CLASSIFY

MAJORITY = "majority of train"


def measure_floors(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], columns: Sequence[str], metric: str,
    samples: int, seed: int,
) -> dict[str, AnswerScore]:  # fmt: skip
    """Score guesses that no recording is needed for.

    Args:
        train: examples, those of other tasks are passed over.
        test: examples, likewise.
        labels: of the classification.
        columns: metadata columns (``text`` too) that the second guess knows: of each combination of their values, the
            label that is most frequent in train. Where they are all that a transcript can say, it is the ceiling of
            every text-only model.
        metric: the one with an interval.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        Scores by name.
    """
    known, asked = ([e for e in examples if e.task == CLASSIFY] for examples in (train, test))
    named: dict[str, Sequence[str]] = {MAJORITY: ()}
    if columns:
        named[f"majority by {' and '.join(columns)}"] = columns
    return {
        name: score_task(_guess(known, asked, labels, by), labels, metric, samples, seed) for name, by in named.items()
    }


def _guess(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], columns: Sequence[str]
) -> list[Answered]:
    counts: dict[tuple[str, ...], Counter[str]] = {}
    for example in train:
        counts.setdefault(_key(example, columns), Counter())[example.answer] += 1
    overall = Counter(example.answer for example in train)
    found = []
    for example in test:
        here = counts.get(_key(example, columns), overall)
        best = max(labels, key=lambda label: here[label])
        found.append(Answered(example, "", best, {label: float(label == best) for label in labels}))
    return found


def _key(example: Example, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(example.turn.column(name) for name in columns)
