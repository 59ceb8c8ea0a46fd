"""What a report shows of a task model besides its metrics: calibration, embeddings, attention, its worst answers."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bigfoot.audio.embedded import encode_audio
from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.data.batches import CutSource, LoadedUtterance, collate
from bigfoot.data.cuts import read_cuts
from bigfoot.formats.folder import LoadedModel
from bigfoot.runtime.task_answers import choose_labels
from bigfoot.tasks.answers import Answers, utterance_losses
from bigfoot.types import SAMPLE_RATE, Samples

_BINS, _POINTS, _COLUMNS, _ATTENDED = 10, 500, 160, 4


def show_answers(loaded: LoadedModel, manifest: Path, answers: Answers, players: int) -> dict[str, Any]:
    """Collect what a report shows.

    Args:
        loaded: with a task head.
        manifest: that was answered.
        answers: to it.
        players: worst utterances, with their audio; 0 for none.

    Returns:
        Plain values: ``reliability``, ``projection``, ``attention`` and ``worst``, those that there are.
    """
    losses = utterance_losses(answers)
    order = [int(i) for i in np.argsort(-np.nan_to_num(losses, nan=-np.inf), kind="stable") if not np.isnan(losses[i])]
    worst = order[:players]
    attends = loaded.model.task_head is not None and loaded.model.task_head.shape.pooling == "attention"
    attended = _spread(order, _ATTENDED) if attends else []
    audio = _read(manifest, {answers.ids[i] for i in (*worst, *attended)})
    found = {
        "reliability": reliability(answers),
        "projection": project(answers),
        "attention": [_attention(loaded, audio[answers.ids[i]]) for i in attended],
        "worst": [_worst(answers, i, float(losses[i]), audio[answers.ids[i]].samples) for i in worst],
    }
    return {name: value for name, value in found.items() if value}


def reliability(answers: Answers) -> list[dict[str, float]]:
    """Compare confidence and accuracy, by bins of one width; the expected calibration error is the gap between them.

    Args:
        answers: to classes, ratings or several labels; numbers have no confidence.

    Returns:
        ``confidence``, ``accuracy`` and ``count`` of each bin that holds answers.
    """
    known = answers.known()
    if answers.facts.kind == "regression" or not known.ids:
        return []
    if answers.facts.kind == "multi_label":
        fits = ~np.isnan(known.targets)
        confidences, right = known.scores[fits], known.targets[fits] > 0.5
    else:
        confidences, right = known.scores.max(-1), known.scores.argmax(-1) == known.targets[:, 0]
    bins = np.minimum((confidences * _BINS).astype(int), _BINS - 1)
    return [
        {
            "confidence": float(confidences[bins == each].mean()), "accuracy": float(right[bins == each].mean()),
            "count": int((bins == each).sum()),
        }
        for each in np.unique(bins)
    ]  # fmt: skip


def project(answers: Answers) -> list[dict[str, Any]]:
    """Project pooled vectors to their first two principal components, by scikit-learn.

    Args:
        answers: with pooled vectors.

    Returns:
        ``x``, ``y`` and ``label`` of up to 500 utterances.
    """
    from sklearn.decomposition import PCA

    rows = _spread(range(len(answers.pooled)), _POINTS)
    if len(rows) < 3 or answers.pooled.shape[1] < 2:
        return []
    places = PCA(2, svd_solver="full").fit_transform(answers.pooled[rows])
    return [
        {"x": round(float(x), 4), "y": round(float(y), 4), "label": _name_target(answers, row)}
        for row, (x, y) in zip(rows, places, strict=True)
    ]


def _name_target(answers: Answers, row: int) -> str:
    target, labels = answers.targets[row], answers.facts.labels
    if np.isnan(target).all():
        return "unknown"
    if answers.facts.kind == "regression":
        return ", ".join(f"{label} {value:g}" for label, value in zip(labels, target, strict=True))
    if answers.facts.kind == "multi_label":
        return ", ".join(label for label, value in zip(labels, target, strict=True) if value > 0.5) or "none"
    return str(labels[int(target[0])])


def _spread(rows: Collection[int], most: int) -> list[int]:
    listed = list(rows)
    count = min(most, len(listed))
    return [listed[round(i * (len(listed) - 1) / max(1, count - 1))] for i in range(count)]


def _read(manifest: Path, ids: Collection[str]) -> dict[str, LoadedUtterance]:
    return {cut.id: CutSource.of(cut).load(SAMPLE_RATE) for cut in read_cuts(manifest) if cut.id in ids} if ids else {}


@torch.no_grad()
def _attention(loaded: LoadedModel, item: LoadedUtterance) -> dict[str, Any]:
    """Peaks of the waveform and shares of the frames, as many columns of each."""
    samples = item.samples[: round(LONGEST_PIECE * SAMPLE_RATE)]
    batch = collate([LoadedUtterance(item.id, "", "", samples)], loaded.processor).to(loaded.model.device)
    weights = loaded.model(batch.input_values, batch.attention_mask).pooling_weights
    shares = weights[0].mean(0)[loaded.model.config.num_prompts :].double().cpu().numpy()
    return {
        "id": item.id, "seconds": round(len(samples) / SAMPLE_RATE, 3),
        "peaks": _columns(np.abs(samples), np.max), "shares": _columns(shares, np.sum),
    }  # fmt: skip


def _columns(values: npt.NDArray[np.floating[Any]], reduce: Any) -> list[float]:  # noqa: ANN401 - of numpy
    edges = np.linspace(0, len(values), min(_COLUMNS, len(values)) + 1).astype(int)
    return [round(float(reduce(values[a:b])), 6) for a, b in itertools.pairwise(edges)]


def _worst(answers: Answers, row: int, loss: float, samples: Samples) -> dict[str, Any]:
    values = [round(float(value), 4) for value in answers.scores[row]]
    scores = dict(zip(answers.facts.labels, values, strict=True))
    (chosen,) = choose_labels(answers.scores[row : row + 1], answers.facts)
    return {
        "id": answers.ids[row], "speaker": answers.speakers[row], "truth": _name_target(answers, row),
        "answer": ", ".join(chosen), "scores": scores, "loss": round(loss, 4), "audio": encode_audio(samples),
    }  # fmt: skip
