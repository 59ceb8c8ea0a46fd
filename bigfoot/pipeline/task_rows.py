"""Rows of a report for models with a task head."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from bigfoot.evaluation.evaluate import measure_task_invariance
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.pipeline.settings import Config
from bigfoot.report.rows import Row
from bigfoot.tasks.answers import Answers, answer_manifest
from bigfoot.tasks.floors import measure_floors
from bigfoot.tasks.folds import pack_answers, pack_floors
from bigfoot.tasks.frames import find_frames_folder, find_kept
from bigfoot.tasks.gains import add_floors_, compare_with_floors
from bigfoot.tasks.labels import describe_unread, read_attributes
from bigfoot.tasks.metrics import TaskScore, score_answers
from bigfoot.tasks.settings import METRICS
from bigfoot.tasks.showing import show_answers

log = logging.getLogger("bigfoot")


@dataclass(frozen=True)
class JudgedTask:
    """A task model on a split.

    Args:
        entry: of ``Report.tasks``.
        answers: to the split.
    """

    entry: dict[str, Any]
    answers: Answers


def find_metric(shape: TaskShape, config: Config) -> str:
    """Return the metric of a head in a run: the configured one, where it fits.

    Args:
        shape: of the head.
        config: of the run.
    """
    wanted = config.train_task.metric
    return wanted if wanted in METRICS[shape.kind] else METRICS[shape.kind][0]


@torch.no_grad()
def judge_task(row: Row, loaded: LoadedModel, manifests: dict[str, Path], config: Config) -> list[JudgedTask]:
    """Evaluate a task model on the split of its row.

    Args:
        row: receives the score and the batch invariance.
        loaded: with a task head; a model without one has no score.
        manifests: by split.
        config: of the run.

    Returns:
        It, for ``add_floors``; none of a model without a task head.
    """
    model, manifest, head = loaded.model, manifests[row.split], loaded.model.task_head
    if head is None:
        row.wer_missing_reason = "no task head"
        return []
    log.info("evaluating %s on %s", row.name, row.split)
    home = model.device
    model.to(PartialState().device)
    task = config.train_task
    model.kept_frames = find_kept(find_frames_folder(task, Path(config.run_dir)), model, task.frames_gb)
    answers = answer_manifest(model, manifest, loaded.processor, config.evaluate.batch_size)
    # What follows is about the encoder itself.
    model.kept_frames = None
    shown = show_answers(loaded, manifest, answers, config.train_task.players)
    invariance = measure_task_invariance(loaded, manifest)
    model.to(home)
    score = score_answers(answers, find_metric(head.shape, config), config.evaluate.bootstrap_samples, config.seed)
    _fill(row, score)
    row.batch_invariant, row.batch_invariance_max_difference = invariance.invariant, invariance.max_difference
    row.decoder, row.protocol = head.name, f"{head.name}, after step {row.step}"
    entry = {
        "name": row.name, "split": row.split, "kind": head.shape.kind, "labels": list(head.shape.labels),
        "per_class": score.per_class, "confusion": score.confusion, "shape": dataclasses.asdict(head.shape),
        "shown": shown, **score.entry,
    }  # fmt: skip
    if config.data.split.folds:
        entry["answers"] = pack_answers(answers)
    if score.by_speaker is not None:
        pooled = {"name": row.name, "num_speakers": score.by_speaker.num_utterances}
        entry["by_speaker"] = pooled | score.by_speaker.entry
    return [JudgedTask(entry, answers)]


def _fill(row: Row, score: TaskScore) -> None:
    row.metric, row.metrics, row.score = score.metric, score.metrics, score.metrics.get(score.metric)
    row.score_low, row.score_high = score.low, score.high
    row.num_utterances, row.bootstrap_unit = score.num_utterances, score.unit


def note_tasks(tasks: Sequence[dict[str, Any]], manifests: dict[str, Path]) -> list[str]:
    """Return whether floors are beaten, and what labels hold that the last model's head does not have, a note each.

    Args:
        tasks: entries of ``Report.tasks``.
        manifests: by split.
    """
    if not tasks:
        return []
    shape = TaskShape.read(tasks[-1]["shape"])
    notes = [describe_unread(shape, read_attributes(manifest), split) for split, manifest in manifests.items()]
    beaten = compare_with_floors(tasks)
    for sentence in beaten:
        log.info("%s", sentence)
    return [note for note in (*beaten, *notes) if note]


def add_floors(judged: Sequence[JudgedTask], split: str, manifests: dict[str, Path], config: Config) -> None:
    """Add what the models of a split must beat to its first entry, and their gains on it to all.

    Args:
        judged: of the split.
        split: of the report.
        manifests: by split.
        config: of the run.
    """
    if not judged or not config.train_task.floors:
        return
    log.info("floors of the task on %s", split)
    entries = [each.entry for each in judged]
    shape, draws = TaskShape.read(entries[0]["shape"]), (config.evaluate.bootstrap_samples, config.seed)
    scores = measure_floors(shape, manifests["train"], manifests[split], find_metric(shape, config), *draws)
    add_floors_(entries, {each.entry["name"]: each.answers for each in judged}, scores, *draws)
    if config.data.split.folds:
        entries[0]["floor_answers"] = pack_floors(scores)
    if "by_speaker" in entries[0]:
        pooled = {name: score.by_speaker for name, score in scores.items() if score.by_speaker is not None}
        ours = {each.entry["name"]: found for each in judged if (found := each.answers.known().pool_speakers())}
        below = [each["by_speaker"] for each in entries if "by_speaker" in each]
        add_floors_(below, ours, pooled, *draws)
