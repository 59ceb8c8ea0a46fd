"""Answers of a task model to the utterances of a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.data.batches import Batch, evaluation_batches
from bigfoot.data.manifests import UNKNOWN_SPEAKER
from bigfoot.errors import ModelError
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.tasks.kinds.base import LossOptions
from bigfoot.models.tasks.kinds.registry import find_kind
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import read_targets
from bigfoot.runtime.task_answers import TaskFacts, compute_scores
from bigfoot.text.tokenizers import Processor


@dataclass(frozen=True)
class Answers:
    """Answers to utterances, as a model gives them.

    Args:
        ids: N utterances by name.
        speakers: N speakers.
        targets: (N, W), see ``bigfoot.models.tasks.kinds.base``; NaN where not known.
        scores: (N, L), probabilities of the labels, or numbers.
        facts: kind and labels.
        logits: (N, K), what the scores were made of; empty where no head made them.
        pooled: (N, P), the pooled vectors, likewise.
    """

    ids: list[str]
    speakers: list[str]
    targets: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    facts: TaskFacts
    logits: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)))
    pooled: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 1)))

    def known(self) -> Answers:
        """Return the answers to utterances with a label, without logits and pooled vectors."""
        return self._pick(np.flatnonzero(~np.isnan(self.targets).all(-1)))

    def sorted_by_id(self) -> Answers:
        """Return the answers by the names of their utterances, without logits and pooled vectors."""
        return self._pick(np.array(sorted(range(len(self.ids)), key=self.ids.__getitem__), dtype=np.int64))

    def _pick(self, rows: npt.NDArray[np.int64]) -> Answers:
        ids, speakers = ([names[row] for row in rows] for names in (self.ids, self.speakers))
        return Answers(ids, speakers, self.targets[rows], self.scores[rows], self.facts)

    def pool_speakers(self) -> Answers | None:
        """Return one answer a speaker, the mean scores of all answers to the speaker.

        None where that is no other question: a speaker's utterances have different labels, each
        speaker has one utterance, there is one speaker alone, or some are not known.
        """
        names, first, rows = np.unique(np.array(self.speakers, dtype=str), return_index=True, return_inverse=True)
        targets = self.targets[first]
        if len(names) in (0, 1, len(rows)) or UNKNOWN_SPEAKER in names:
            return None
        if not np.array_equal(targets[rows], self.targets, equal_nan=True):
            return None
        scores = np.zeros((len(names), self.scores.shape[1]))
        np.add.at(scores, rows, self.scores)
        scores /= np.bincount(rows)[:, None]
        return Answers([*map(str, names)], [*map(str, names)], targets, scores, self.facts)

    def take(self, rows: npt.NDArray[np.int64]) -> Answers:
        """Return the answers to some utterances, for resampling; names are left out."""
        return replace(self, targets=self.targets[rows], scores=self.scores[rows])


@dataclass
class _Sums:
    """Logits of a recording's pieces, weighted by their samples."""

    speaker: str
    target: npt.NDArray[np.float64]
    logits: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    pooled: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    samples: int = 0


def task_facts(shape: TaskShape) -> TaskFacts:
    """Return what is needed to read the logits of a head.

    Args:
        shape: of the head.
    """
    return TaskFacts(shape.kind, shape.labels, shape.link, shape.center, shape.scale)


def answer_manifest(model: BigfootForCTC, manifest: Path, processor: Processor, batch_size: int) -> Answers:
    """Run a task model on a manifest.

    Recordings longer than ``LONGEST_PIECE`` are cut at pauses; the logits of their pieces are averaged by length.

    Args:
        model: with a task head; its mode is kept.
        manifest: lhotse manifest.
        processor: of the model.
        batch_size: utterances in a batch; no answer depends on it.

    Returns:
        The answers, longest utterances first.

    Raises:
        ModelError: the model has no task head.
    """
    if model.task_head is None:
        raise ModelError("this model has no task head; train one with: bigfoot train-task")
    silent = replace(processor, tokenizer=None)
    batches = evaluation_batches(manifest, silent, batch_size, longest=LONGEST_PIECE)
    was_training = model.training
    model.eval()
    try:
        return _answer(model, model.task_head.shape, batches)
    finally:
        model.train(was_training)


@torch.no_grad()
def _answer(model: BigfootForCTC, shape: TaskShape, batches: Iterable[Batch]) -> Answers:
    found: dict[str, _Sums] = {}
    for batch in batches:
        moved = batch.to(model.device)
        output = model(moved.input_values, moved.attention_mask)
        logits, vectors = (each.double().cpu().numpy() for each in (output.task_logits, output.pooled))
        targets = read_targets(shape, batch.attributes).double().numpy()
        for row, name in enumerate(batch.ids):
            sums = found.setdefault(name, _Sums(batch.speakers[row], targets[row]))
            samples = int(batch.input_lengths[row])
            sums.logits, sums.pooled = sums.logits + samples * logits[row], sums.pooled + samples * vectors[row]
            sums.samples += samples
    facts = task_facts(shape)
    logits = np.stack([sums.logits / max(1, sums.samples) for sums in found.values()])
    pooled = np.stack([sums.pooled / max(1, sums.samples) for sums in found.values()])
    targets = np.stack([sums.target for sums in found.values()])
    speakers = [sums.speaker for sums in found.values()]
    return Answers(list(found), speakers, targets, compute_scores(logits, facts), facts, logits, pooled)


def measure_loss(answers: Answers) -> float | None:
    """Compute the mean loss of a model's answers, without smoothing and weights; None where no utterance has a label.

    Args:
        answers: with logits.
    """
    losses = utterance_losses(answers)
    known = losses[~np.isnan(losses)]
    return round(float(known.mean()), 6) if len(known) else None


def utterance_losses(answers: Answers) -> npt.NDArray[np.float64]:
    """Compute the loss of each answer, without smoothing and weights.

    Args:
        answers: with logits.

    Returns:
        (N,), NaN where an utterance has no label.
    """
    facts, known = answers.facts, ~np.isnan(answers.targets).all(-1)
    found = np.full(len(answers.ids), np.nan)
    shape = TaskShape(facts.kind, [*facts.labels], "", facts.link, center=[*facts.center], scale=[*facts.scale])
    logits, targets = torch.from_numpy(answers.logits[known]), torch.from_numpy(answers.targets[known])
    found[known] = find_kind(shape).losses(logits.float(), targets.float(), LossOptions()).numpy()
    return found
