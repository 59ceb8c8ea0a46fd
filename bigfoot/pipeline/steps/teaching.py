"""Shared code of the steps that learn from a teacher: ``distill``, ``gates`` and ``qat``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import set_seed

from bigfoot.config import Problem
from bigfoot.data.batches import read_transcripts
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
from bigfoot.distill.folding import fold_vocabulary_
from bigfoot.distill.loss import Targets
from bigfoot.distill.objective import active_losses, needed_targets
from bigfoot.distill.registry import LossesConfig, without_teacher
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.loss_checks import loss_problems
from bigfoot.pipeline.steps.step import get_step
from bigfoot.pipeline.steps.training import TrainingStep
from bigfoot.pipeline.steps.trimming import find_kept_tokens
from bigfoot.pipeline.teacher import teacher_path
from bigfoot.text.tokenizers import Processor

log = logging.getLogger("bigfoot")


@dataclass
class DistillationSetup:
    """Models and losses of a step that learns from the teacher.

    Args:
        student: to train.
        losses: of the step.
        processor: of the student, without a vocabulary if that does not cover the transcripts.
        teacher: the model, or its stored outputs.
        bridge: from the teacher's outputs to the student's.
    """

    student: LoadedModel
    losses: LossesConfig
    processor: Processor
    teacher: BigfootForCTC | TeacherCache
    bridge: Bridge


class TaughtStep(TrainingStep):
    """A step whose section has ``losses``, some of them against the teacher."""

    def losses(self, config: Config) -> LossesConfig:
        """Return the losses of its section.

        Args:
            config: of the run.
        """
        losses = self.section(config).losses
        assert isinstance(losses, LossesConfig)
        return losses

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        if plan.models is not None:
            masks = self.section(plan.config).spec_augment
            yield from loss_problems(self.name, self.losses(plan.config), masks, plan, plan.models)

    def teaches_itself(self, config: Config) -> bool:
        """Return whether the model as it was takes the place of the teacher.

        Args:
            config: of the run.
        """
        return False

    def reads_labels(self, config: Config) -> bool:
        """See ``Step``."""
        return any(loss.unit in ("labels", "tokens") for loss in active_losses(self.losses(config)).values())

    def prepare(self, before: StepResult, context: Context, *, control: bool) -> DistillationSetup:
        """Load the student, and the teacher or its cached outputs; set the seed for new modules.

        Args:
            before: result of the previous step.
            context: of the run.
            control: disable the teacher's losses.
        """
        config, student = context.config, load_model(before.folder)
        own = without_teacher(self.losses(config)) if control else self.losses(config)
        processor = usable_processor(student.processor, context.labels.manifests)
        loaded = load_model(context.teacher.folder or teacher_path(config))
        kept: Sequence[int] = ()
        if context.models.source.processor.tokenizer == context.models.teacher.processor.tokenizer:
            kept = find_kept_tokens(student, loaded, config)
        if kept:
            fold_vocabulary_(loaded.model, kept)
            loaded.processor = replace(loaded.processor, tokenizer=student.processor.tokenizer)
        source: BigfootForCTC | TeacherCache = loaded.model
        if config.distill.cache is not None and not control:
            source = _cache_teacher(loaded, student.model, own, context, kept)
        # Independent of all random numbers drawn before.
        set_seed(config.seed)
        return DistillationSetup(student, own, processor, source, _build_bridge(student, loaded, own))


def _build_bridge(student: LoadedModel, teacher: LoadedModel, losses: LossesConfig) -> Bridge:
    """Build the bridge for the losses of a step; without one that compares tokens, vocabularies do not matter."""
    compares = any(loss.compares_tokens for loss in active_losses(losses).values())
    bridge = Bridge.between(student.model.config, teacher.model.config)
    ours, theirs = (
        each.processor if compares else replace(each.processor, tokenizer=None) for each in (student, teacher)
    )
    bridge = bridge.with_processors(ours, theirs, student.model.config.vocab_size)
    if bridge.token_map is not None and (dropped := bridge.describe_dropped(ours, theirs)):
        log.info("distill: %s", dropped)
    return bridge


def taught_losses(config: Config) -> dict[str, LossesConfig]:
    """Return the losses of all steps of a run that have a teacher, by step.

    Args:
        config: of the run.
    """
    steps = [get_step(name) for name in dict.fromkeys(config.steps) if name in STEPS]
    taught = [step for step in steps if isinstance(step, TaughtStep) and not step.teaches_itself(config)]
    return {step.name: step.losses(config) for step in taught}


def _cache_teacher(
    loaded: LoadedModel, student: BigfootForCTC, losses: LossesConfig, context: Context, kept: Sequence[int]
) -> TeacherCache:
    """Cache the teacher's outputs in the first process, unless they exist, and return the cache.

    The outputs that any step of the run needs are written at once, since they share one folder.
    """
    config, manifest = context.config.distill, context.labels.manifests["train"]
    assert config.cache is not None and context.teacher.folder is not None
    teacher, processor = loaded.model, loaded.processor
    folder, state = Path(config.cache).expanduser(), PartialState()
    needed = _merge_targets([
        needed_targets(each, student.config, teacher.config) for each in taught_losses(context.config).values()
    ])  # fmt: skip
    if state.is_main_process:
        digest = fingerprint_files(context.teacher.folder)
        digest = fingerprint(digest, kept) if kept else digest
        corpus = context.data.audio["train"]
        key = CacheKey.of(corpus, processor, digest, needed, config.cache_dtype, config.cache_top_k)
        teacher.to(state.device)
        write_cache(folder, key, teacher, manifest, processor, context.config.evaluate.batch_size)
    state.wait_for_everyone()
    return TeacherCache(folder, teacher.config, needed_targets(losses, student.config, teacher.config))


def _merge_targets(found: Sequence[Targets]) -> Targets:
    needed: Targets = {}
    for targets in found:
        for name, layers in targets.items():
            needed[name] = needed.get(name, set()) | layers
    return needed


def usable_processor(processor: Processor, manifests: dict[str, Path]) -> Processor:
    """Drop the tokenizer if it does not cover the transcripts: distillation then has no labels and no dev WER.

    Args:
        processor: of the student.
        manifests: of the splits.
    """
    tokenizer = processor.tokenizer
    if tokenizer is None:
        return processor
    unknown: set[str] = set()
    for split in ("train", "dev"):
        for text in read_transcripts(manifests[split]):
            unknown |= tokenizer.unknown_characters(text)
    if not unknown:
        return processor
    log.warning("distill: the transcripts have %s, which are out of the teacher's vocabulary; no dev WER", unknown)
    return Processor(None, processor.do_normalize, processor.sample_rate)
