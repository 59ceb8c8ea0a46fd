"""What a text model must beat: the majority or the mean of train, and a linear model on the words (TF-IDF)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bigfoot.data.manifests import ListedUtterance
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import read_targets
from bigfoot.tasks.floors import FloorExamples, score_floors
from bigfoot.tasks.metrics import TaskScore

_WORDS = r"(?u)\S+"
"""Whatever stands between blanks: phonemes and words of one letter too."""


def measure_text_floors(
    shape: TaskShape, train: Sequence[ListedUtterance], judged: Sequence[ListedUtterance], metric: str, samples: int,
    seed: int = 0,
) -> dict[str, TaskScore]:  # fmt: skip
    """Score models that need no encoder, on texts.

    Args:
        shape: of the task.
        train: examples that they are fitted to.
        judged: examples that they are scored on.
        metric: the one with an interval.
        samples: bootstrap resamples.
        seed: of the resampling.

    Returns:
        See ``score_floors``.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    fitted, scored = (_gather(shape, items) for items in (train, judged))
    return score_floors(
        shape, fitted, scored, ("TF-IDF", lambda: TfidfVectorizer(token_pattern=_WORDS)), metric, samples, seed
    )


def _gather(shape: TaskShape, items: Sequence[ListedUtterance]) -> FloorExamples:
    targets = read_targets(shape, [item.labels for item in items]).double().numpy()
    texts, speakers, ids = ([getattr(item, name) for item in items] for name in ("text", "speaker", "id"))
    return FloorExamples(np.array(texts), speakers, targets, ids)
