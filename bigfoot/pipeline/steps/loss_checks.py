"""Check the losses of a step against the two models, the data and the other steps of the run."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from bigfoot.config import Problem
from bigfoot.data.settings import SpecAugmentConfig
from bigfoot.distill.loss import MASKED
from bigfoot.distill.objective import active_losses, needed_targets, objective_problems
from bigfoot.distill.packing import CACHEABLE
from bigfoot.distill.registry import LossesConfig
from bigfoot.distill.vocabulary import map_tokens
from bigfoot.errors import ModelError
from bigfoot.pipeline.plan import Models, Plan
from bigfoot.storage.places import is_remote


def loss_problems(
    step: str, losses: LossesConfig, masks: SpecAugmentConfig, plan: Plan, models: Models
) -> Iterator[Problem]:
    """Check the losses of a step.

    Args:
        step: name of the step, whose section has them.
        losses: of that section.
        masks: SpecAugment settings of that section.
        plan: of the run.
        models: of the plan.

    Yields:
        Problem by problem.
    """
    refusal = _refused_vocabularies(models)
    teacher = models.teacher.config
    if refusal is not None:
        # Brought to the student's tokens, posteriors are over as many; if they cannot be, that is one problem.
        teacher = copy.copy(teacher)
        teacher.vocab_size = models.student.vocab_size
    found = list(objective_problems(losses, models.student, teacher, f"{step}.losses"))
    yield from found
    for name, loss in active_losses(losses).items():
        if loss.needs_masks and not masks.mask_time_prob:
            message = f"{step}.spec_augment.mask_time_prob is 0, so no frame is ever masked; set it (0.8 with "
            message += f"mask_time_length 10 in the paper), or use {step}.losses.hidden"
            yield Problem(f"{step}.losses.{name}", "no_masks", message)
    if plan.config.distill.cache is not None and not found:
        yield from _cache_problems(step, losses, plan, models)
    yield from _vocabulary_problems(step, losses, plan, models)
    yield from _rate_problems(step, losses, models)


def _rate_problems(step: str, losses: LossesConfig, models: Models) -> Iterator[Problem]:
    """Check that teacher and student get the same samples: a batch has audio at one rate."""
    ours, theirs = models.source.processor.sample_rate, models.teacher.processor.sample_rate
    comparing = [name for name, loss in active_losses(losses).items() if loss.needs_teacher and loss.reads_outputs]
    if comparing and ours != theirs:
        message = (
            f"{', '.join(comparing)} run both models on one waveform, and {models.source.path} takes {ours} Hz, "
            f"{models.teacher.path} {theirs} Hz; its texts teach at any rate (nbest, or data.transcripts=none with ctc)"
        )
        yield Problem(f"{step}.losses", "other_rate", message)


def _refused_vocabularies(models: Models) -> str | None:
    """Explain why the tokens of two heads cannot be compared; empty where they can, None where they are the same."""
    ours, theirs = models.source.processor.tokenizer, models.teacher.processor.tokenizer
    heads = models.source.config.ctc_head and models.teacher.config.ctc_head
    if not heads or ours == theirs:
        return None
    if ours is None or theirs is None:
        lacking = models.teacher if theirs is None else models.source
        return f"{lacking.path} has no vocabulary, so that its tokens cannot be compared with the other model's"
    try:
        map_tokens(theirs, ours)
    except ModelError as error:
        return str(error)
    return ""


def _cache_problems(step: str, losses: LossesConfig, plan: Plan, models: Models) -> Iterator[Problem]:
    """Check whether the teacher's outputs can be cached: they must be the same every time, and not too many."""
    augment, key = plan.config.data.augment, "distill.cache"
    if is_remote(plan.config.distill.cache or ""):
        yield Problem(key, "in_the_cloud", "it is read in every step; name a folder of this machine")
    changes = {"speed": augment.speed != [1.0, 1.0], "gain_db": augment.gain_db != [0.0, 0.0],
               "noise_probability": augment.noise_probability > 0}  # fmt: skip
    changing = [f"data.augment.{name}" for name, changed in changes.items() if changed]
    if changing:
        message = f"with {' and '.join(changing)} the waveform is another in every step, and so are the teacher's "
        yield Problem(key, "augmented", message + "outputs; leave one or the other out")
    student, teacher = models.student, models.teacher.config
    if not needed_targets(losses, student, teacher):
        message = f"no loss of {step} compares with the teacher, so there is nothing to store; leave it out"
        yield Problem(key, "nothing_to_store", message)
    for name, loss in active_losses(losses).items():
        for field in loss.find_targets(student, teacher):
            if field == MASKED:
                message = f"{step}.losses.{name} asks the teacher with other masks in every step; leave the cache out"
                yield Problem(key, "other_masks", f"{message}, or set its unmasked_weight to 0")
            elif field not in CACHEABLE:
                message = f"{step}.losses.{name} needs the teacher's {field}, which are not stored"
                yield Problem(key, "not_stored", message)
        if loss.needs_all_tokens and plan.config.distill.cache_top_k:
            message = f"{step}.losses.{name} needs the logits of all tokens; set it to 0"
            yield Problem("distill.cache_top_k", "not_stored", message)


def _vocabulary_problems(step: str, losses: LossesConfig, plan: Plan, models: Models) -> Iterator[Problem]:
    """Check vocabularies: posteriors must be over the same tokens, and labels need a tokenizer."""
    source, teacher, config = models.source, models.teacher, plan.config
    comparing = [name for name, loss in active_losses(losses).items() if loss.compares_tokens]
    if "finetune" in plan.before_last(step) and config.finetune.head != "teacher":
        message = f"finetune.head={config.finetune.head} comes before {step}, so the student's head has another "
        message += "vocabulary than the teacher's; distill first, or set its weight to 0"
        for name in comparing:
            yield Problem(f"{step}.losses.{name}", "other_vocabulary", message)
    ours, refusal = source.processor.tokenizer, _refused_vocabularies(models)
    if refusal:
        message = f"{source.path} and {teacher.path} have other vocabularies, and {refusal}"
        for name in comparing:
            yield Problem(f"{step}.losses.{name}", "other_vocabulary", message)
    if source.config.ctc_head and ours is None and losses.ctc.weight:
        message = f"{source.path} has no vocabulary (vocab.json) to tokenize the transcripts with"
        yield Problem(f"{step}.losses.ctc", "no_vocabulary", message)
