"""Scores of answers, with 95 % intervals by dialogue."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bigfoot.measure.error_rate import assign_units, measure_error_rate
from bigfoot.runtime.task_answers import TaskFacts, compute_scores
from bigfoot.tasks.answers import Answers
from bigfoot.tasks.metrics import score_answers
from bigfoot.tasks.speech_llm.answers import Answered
from bigfoot.tasks.speech_llm.settings import CLASSIFY, TRANSCRIBE

Floats: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True)
class AnswerScore:
    """Scores of one task.

    Args:
        metric: name of the one with an interval.
        metrics: by name.
        low: lower end of the interval; None of fewer than two dialogues.
        high: upper end.
        unit: of the bootstrap: ``dialogue`` (20 or more of them) or ``example``.
        per_class: of a classification.
        confusion: of a classification.
    """

    metric: str
    metrics: dict[str, float]
    low: float | None
    high: float | None
    unit: str
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)


def score_task(
    answered: Sequence[Answered], labels: Sequence[str], metric: str, samples: int, seed: int
) -> AnswerScore:
    """Score the answers of one task.

    Args:
        answered: of one task.
        labels: of a classification.
        metric: of a classification, the one with an interval.
        samples: bootstrap resamples.
        seed: of the resampling.
    """
    task = answered[0].example.task
    if task == CLASSIFY:
        found = _score_labels(answered, labels, metric, samples, seed)
    elif task == TRANSCRIBE:
        found = _score_transcripts(answered, samples, seed)
    else:
        found = _score_forecasts(answered, samples, seed)
    # What lies beyond is rounding of sums over a batch: the same report for any batch size.
    return replace(found, metrics={name: round(value, 6) for name, value in found.metrics.items()})


def _dialogues(answered: Sequence[Answered]) -> list[str]:
    return [item.example.turn.dialogue for item in answered]


def _unit(found: str) -> str:
    return "dialogue" if found == "speaker" else "example"


def _score_labels(
    answered: Sequence[Answered], labels: Sequence[str], metric: str, samples: int, seed: int
) -> AnswerScore:
    facts = TaskFacts("single_label", labels)
    logits = np.array([[item.scores[label] for label in labels] for item in answered])
    targets = np.array([[labels.index(item.example.answer)] for item in answered], dtype=float)
    ids = [item.example.id for item in answered]
    answers = Answers(ids, _dialogues(answered), targets, compute_scores(logits, facts), facts, logits)
    score = score_answers(answers, metric, samples, seed)
    return AnswerScore(
        metric, score.metrics, score.low, score.high, _unit(score.unit), score.per_class, score.confusion
    )


def _score_transcripts(answered: Sequence[Answered], samples: int, seed: int) -> AnswerScore:
    texts = [[" ".join(text.lower().split()) for text in (item.example.answer, item.prediction)] for item in answered]
    references, hypotheses = zip(*texts, strict=True)
    rate = measure_error_rate(references, hypotheses, _dialogues(answered), samples=samples, seed=seed)
    metrics = {name: value for name, value in (("wer", rate.wer), ("cer", rate.cer)) if value is not None}
    return AnswerScore("wer", metrics, rate.wer_low, rate.wer_high, _unit(rate.bootstrap_unit))


def _score_forecasts(answered: Sequence[Answered], samples: int, seed: int) -> AnswerScore:
    likelihoods = np.array([item.scores["log_likelihood"] for item in answered])
    tokens = np.array([item.scores["tokens"] for item in answered])
    metrics = {"perplexity": _perplexity(likelihoods, tokens)}
    predictions = [item.prediction for item in answered]
    if importlib.util.find_spec("sacrebleu") is not None:
        from sacrebleu.metrics.chrf import CHRF

        references = [item.example.answer for item in answered]
        metrics["chrf"] = float(CHRF().corpus_score(predictions, [references]).score)
    metrics |= {f"distinct_{n}": distinct(predictions, n) for n in (1, 2)}
    units, unit = assign_units(_dialogues(answered))
    low, high = _resample(units, lambda rows: _perplexity(likelihoods[rows], tokens[rows]), samples, seed)
    return AnswerScore("perplexity", metrics, low, high, _unit(unit))


def _perplexity(likelihoods: Floats, tokens: Floats) -> float:
    return math.exp(min(700.0, -float(likelihoods.sum()) / max(1.0, float(tokens.sum()))))


def _resample(
    units: Rows, compute: Callable[[Rows], float], samples: int, seed: int
) -> tuple[float | None, float | None]:
    """Draw as many units as there are, with replacement."""
    count = int(units.max()) + 1
    if count < 2:
        return None, None
    rows_of = [np.flatnonzero(units == unit) for unit in range(count)]
    rng = np.random.default_rng(seed)
    drawn = (np.concatenate([rows_of[unit] for unit in rng.integers(count, size=count)]) for _ in range(samples))
    low, high = np.quantile([compute(rows) for rows in drawn], [0.025, 0.975])
    return float(low), float(high)


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of different n-grams of words among all of a set of texts (Li et al., 2016, section 5.2).

    Args:
        texts: generated.
        n: words of an n-gram.

    Examples:
        >>> distinct(["a b a b"], 1), distinct(["a b a b"], 2), distinct([""], 1)
        (0.5, 0.6666666666666666, 0.0)
    """
    found = [
        tuple(words[first : first + n])
        for words in (text.split() for text in texts)
        for first in range(len(words) - n + 1)
    ]
    return len(set(found)) / len(found) if found else 0.0
