"""Shared code of the steps that train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bigfoot.config import to_dict
from bigfoot.distill.objective import Objective
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.steps.saving import save_step
from bigfoot.pipeline.steps.step import Step
from bigfoot.text.tokenizers import Processor
from bigfoot.training.averaging import WeightAverage
from bigfoot.training.dev import DevJudge
from bigfoot.training.hooks import LastOnly, TrainingHook
from bigfoot.training.loop import train
from bigfoot.training.run import TrainingRun
from bigfoot.training.settings import TrainConfig
from bigfoot.training.unfitting import describe_unfitting


class TrainingStep(Step):
    """A step that trains by optimizer steps."""

    trains = True
    unread: ClassVar[tuple[str, ...]] = ("checkpoint_activations", "compile")

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``; the number of workers does not affect a training's input."""
        config, unread = context.config, ("num_workers", "trust_files")
        loading = {key: value for key, value in to_dict(config.data).items() if key not in unread}
        return {
            "data": context.labels.fingerprint,
            "noise": context.noise,
            "other settings": [config.seed, config.precision, loading],
        }


def build_run(
    result: StepResult, context: Context, config: TrainConfig, processor: Processor,
    hooks: Sequence[TrainingHook] = (), judge: DevJudge | None = None,
) -> TrainingRun:  # fmt: skip
    """Collect everything that a training needs besides its objective.

    Args:
        result: of the step; its folder is used.
        context: of the run.
        config: of the training.
        processor: of the student.
        hooks: of the training loop.
        judge: of dev; None for WER.
    """
    settings = context.config
    own: list[TrainingHook] = [WeightAverage(config.ema_decay)] if config.ema_decay else []
    own += [LastOnly()] if config.select == "last" else []
    return TrainingRun(
        name=result.folder.parent.name, config=config, data=settings.data, processor=processor,
        manifests=context.labels.manifests, folder=result.folder.parent, seed=settings.seed,
        fingerprint=result.fingerprint, precision=settings.precision, trackers=settings.trackers,
        eval_batch_size=settings.evaluate.batch_size, hooks=[*hooks, *own], judge=judge,
        shard=settings.shard, peak_tflops=settings.peak_tflops, max_minutes=settings.max_minutes,
    )  # fmt: skip


def train_and_save(result: StepResult, student: LoadedModel, objective: Objective, run: TrainingRun) -> None:
    """Train, and save the selected model.

    Args:
        result: of the step; receives records, notes and changes.
        student: to train; its own processor is saved, since the run's may lack the vocabulary.
        objective: on that student.
        run: of ``build_run``.
    """
    if objective.weights.get("ctc") and run.processor.tokenizer is not None:
        result.notes += describe_unfitting(run.manifests["train"], run.processor, student.model)
    trained = train(objective, run)
    best = load_model(trained.best, merge=False).model
    for hook in run.hooks:
        best, changes = hook.finish(best)
        result.changes += changes
    save_step(
        result, best, student, losses=objective.weights, max_steps=run.config.max_steps,
        best_step=trained.best_step, best_dev_wer=trained.best_wer, seconds=round(trained.seconds, 1),
    )  # fmt: skip
    result.seconds, result.records, result.best_step = trained.seconds, trained.records, trained.best_step
    result.notes += trained.notes
