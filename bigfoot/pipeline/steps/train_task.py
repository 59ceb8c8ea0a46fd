"""Step ``train_task``: train a task head on the encoder, on labels of utterances."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from accelerate.utils import set_seed

from bigfoot.config import Problem
from bigfoot.distill import LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.distill.terms.task import TaskLoss
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.install import install_hint
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import with_prompts, with_task_head
from bigfoot.models.tasks.head import TaskHead
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.training import TrainingStep, build_run, train_and_save
from bigfoot.storage.places import is_remote
from bigfoot.tasks.frames import KeptFrames, find_frames_folder, find_random, is_at_rest
from bigfoot.tasks.freezing import (
    FrozenParts,
    OwnRates,
    RestingEncoder,
    describe_trainable,
    find_frozen,
    find_name_problems,
)
from bigfoot.tasks.judge import TaskJudge
from bigfoot.tasks.labels import balanced_weights, build_task_shape, describe_doubts, describe_unread, read_attributes
from bigfoot.tasks.lora import AdaptedObjective, KeptAdapters, add_adapters_
from bigfoot.tasks.probe import fit_probe_
from bigfoot.tasks.sampling import write_balanced
from bigfoot.tasks.settings import TrainTaskConfig

log = logging.getLogger("bigfoot")


class TrainTaskStep(TrainingStep):
    """Train on labels: the model's own task head, or a new one in place of CTC head and decoder."""

    repeats = True
    unread = (*TrainingStep.unread, "frames_gb", "frames_folder")

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        config = plan.config
        task: TrainTaskConfig = config.train_task
        # Of this step alone: other runs need no such package.
        if importlib.util.find_spec("sklearn") is None:
            message = f"metrics need scikit-learn: {install_hint('tasks')}"
            yield Problem("train_task.kind", "missing_package", message)
        if plan.models is not None:
            maps = task.lora_modules if task.lora_rank else []
            yield from find_name_problems(task.freeze, maps, plan.models.student)
        if is_remote(task.frames_folder or ""):
            message = "frames are read in every step; name a folder of this machine"
            yield Problem("train_task.frames_folder", "in_the_cloud", message)
        own_columns = task.kind == "regression" or not task.column
        absent = set(task.labels if own_columns else [task.column]) - set(config.data.labels)
        for name in sorted(absent):
            message = f"{name!r} is none of data.labels {config.data.labels}; add it there"
            yield Problem("train_task.labels" if own_columns else "train_task.column", "unknown_word", message)

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return f"trained on {config.train_task.kind.replace('_', '-')} labels"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        config, student = context.config.train_task, load_model(before.folder)
        attributes = read_attributes(context.labels.manifests["train"])
        is_new = _add_parts_(student, attributes, result, context)
        head = student.model.task_head
        assert head is not None
        _warn_of_labels(head, context.labels.manifests)
        head.mixup = config.mixup
        frozen = list(find_frozen(student.model, config.freeze).values())
        if config.lora_rank:
            # Independent of all random numbers drawn before.
            set_seed(context.config.seed)
            frozen += add_adapters_(student.model, config.lora_rank, config.lora_modules)
        rests = config.unfreeze_at is None and is_at_rest(student.model.speech_encoder, frozen)
        if rests:
            _keep_frames_(student.model, context)
        if is_new and config.head.init == "probe":
            _fit_probe_(student, result, context)
        learns = describe_trainable(student.model, frozen)
        until = f" until step {config.unfreeze_at}, all of them then" if config.unfreeze_at else ""
        result.changes.append(f"train_task: {learns}{until}")
        log.info("train_task: %s%s", learns, until)
        weights = balanced_weights(head.shape, attributes) if config.class_weights == "balanced" else []
        losses = LossesConfig(LogitKLLoss(weight=0.0), task=TaskLoss(1.0, config.label_smoothing, weights))
        objective = _build_objective(config, losses, student.model, rests=rests)
        hooks = [OwnRates(student.model), FrozenParts(frozen, config.unfreeze_at)]
        # Without a vocabulary: transcripts, if there are any, are not tokenized.
        processor = replace(student.processor, tokenizer=None, decoder_tokenizer=None)
        run = build_run(result, context, config, processor, hooks, task_judge(student, context))
        if config.sampling == "balanced":
            run.manifests = {**run.manifests, "train": _balance(run.manifests["train"], head, result, context)}
        train_and_save(result, student, objective, run)


def _add_parts_(
    student: LoadedModel, attributes: Sequence[Mapping[str, str]], result: StepResult, context: Context
) -> bool:  # fmt: skip
    """Give the student a head and prompts, as far as it needs them; return whether the head is new."""
    config, seed = context.config.train_task, context.config.seed
    is_new = student.model.task_head is None or config.new_head
    if is_new:
        shape = build_task_shape(config, attributes)
        student.model = with_task_head(student.model, shape, seed)
        result.changes.append(f"train_task: a new head, {len(shape['labels'])} labels")
    if config.prompts and not student.model.config.num_prompts:
        student.model = with_prompts(student.model, config.prompts, seed)
        result.changes.append(f"train_task: {config.prompts} learned frames in front of the layers' input")
    return is_new


def _fit_probe_(student: LoadedModel, result: StepResult, context: Context) -> None:
    config = context.config
    start = fit_probe_(
        student.model, context.labels.manifests, student.processor, config.evaluate.batch_size,
        balanced=config.train_task.class_weights == "balanced",
    )  # fmt: skip
    result.changes.append(f"train_task: {start}")
    log.info("train_task: %s", start)


def _keep_frames_(model: BigfootForCTC, context: Context) -> None:
    """Let a model whose encoder does not learn take its frames from a folder."""
    config: TrainTaskConfig = context.config.train_task
    assert model.task_head is not None
    if not config.frames_gb:
        return
    folder = find_frames_folder(config, context.run_dir)
    random = find_random(context.config.data, config.spec_augment)
    model.kept_frames = KeptFrames(
        folder, model.speech_encoder, config.frames_gb, all_layers=model.task_head.needs_layers, in_training=not random
    )  # fmt: skip
    log.info("train_task: frames of the frozen encoder are kept in %s", folder)
    if random:
        changes = ", ".join(random)
        log.info("train_task: those of training are computed anew in every epoch, since they change: %s", changes)


def _warn_of_labels(head: TaskHead, manifests: Mapping[str, Path]) -> None:
    """Before hours of training; the report says the first part too."""
    for split, manifest in manifests.items():
        if sentence := describe_unread(head.shape, read_attributes(manifest), split):
            log.warning("train_task: %s", sentence)
    for sentence in describe_doubts(head.shape):
        log.warning("train_task: %s", sentence)


def _balance(manifest: Path, head: TaskHead, result: StepResult, context: Context) -> Path:
    balanced = result.folder.parent / "balanced_train.jsonl.gz"
    sentence = write_balanced(manifest, balanced, head.shape, context.config.seed)
    result.changes.append(f"train_task: {sentence}")
    return balanced


def _build_objective(
    config: TrainTaskConfig, losses: LossesConfig, model: BigfootForCTC, *, rests: bool
) -> Objective:  # fmt: skip
    if not config.lora_rank:
        return RestingEncoder(losses, model, None) if rests else Objective(losses, model, None)
    if config.lora_save == "kept":
        return KeptAdapters(losses, model, None).keep(config.lora_rank, config.lora_modules)
    return AdaptedObjective(losses, model, None)


def task_judge(student: LoadedModel, context: Context) -> TaskJudge | None:
    """Return the judge of dev for a model with a task head; None for one without.

    Args:
        student: to train.
        context: of the run.
    """
    if student.model.task_head is None:
        return None
    config, kind = context.config, student.model.task_head.shape.kind
    task: TrainTaskConfig = config.train_task
    # A model of another run may have another kind than this run's settings.
    metric = task.chosen_metric if task.kind == kind else replace(task, kind=kind, metric="").chosen_metric
    return TaskJudge(context.labels.manifests["dev"], student.processor, config.evaluate.batch_size, metric)
