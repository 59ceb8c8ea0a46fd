"""What only the models and the corpus can tell of a configuration, before anything is done."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import torch

from bigfoot.compress.depth import shrink_shape
from bigfoot.compress.gates import gated_units
from bigfoot.compress.prune import prunable_units
from bigfoot.compress.quantize import nameable_layers
from bigfoot.data.corpora import resolve_root
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import DataConfig, SpecAugmentConfig
from bigfoot.decoding.choose import decoder_problems
from bigfoot.distill.loss import MASKED
from bigfoot.distill.objective import active_losses, needed_targets, objective_problems
from bigfoot.distill.packing import CACHEABLE
from bigfoot.distill.registry import LossesConfig
from bigfoot.errors import BigfootError, ConfigError, ModelError
from bigfoot.formats.folder import ModelOutline, outline_model
from bigfoot.install import install_hint
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.labels import prunes_by_labels, wants_labels
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.student import growth_problems, student_problems, student_shape


def _student_shape(config: Config, source: BigfootConfig) -> BigfootConfig:
    """The student as far as losses care; wrong numbers are reported elsewhere."""
    if "student" not in config.steps:
        return source
    try:
        return student_shape(config, source)
    except ModelError:
        # student_problems says what is wrong with it; losses are still looked at, as far as depth decides them.
        layers = min(max(1, config.student.num_hidden_layers), source.num_hidden_layers)
        return shrink_shape(source, range(layers))


def _loss_problems(config: Config, source: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
    student = _student_shape(config, source)
    for step in compared_losses(config):
        yield from _problems_of_step(step, config, student, teacher)
    if config.control == "ctc_only" and "distill" in config.steps and not source.ctc_head:
        yield "control: ctc_only needs a student with a CTC head, and what it is cut out of has none"
    elif config.control is not None and "distill" not in config.steps:
        yield "control: there is no distill step to compare with"
    if "finetune" in config.steps and config.finetune.head != "new" and not source.ctc_head:
        yield "finetune.head: there is no CTC head to go on with; use finetune.head=new"


def compared_losses(config: Config) -> dict[str, LossesConfig]:
    """The losses of the steps that have a teacher, by step."""
    losses = {"gates": config.gates.losses, "distill": config.distill.losses}
    return {step: own for step, own in losses.items() if step in config.steps}


def _problems_of_step(
    step: str, config: Config, student: BigfootConfig, teacher: BigfootConfig
) -> Iterator[str]:
    losses = compared_losses(config)[step]
    found = list(objective_problems(losses, student, teacher, f"{step}.losses"))
    yield from map(str, found)
    yield from _masking_problems(step, getattr(config, step).spec_augment, losses)
    if config.distill.cache is not None and not found:
        yield from _cache_problems(step, config, student, teacher)
    earlier = config.steps[: len(config.steps) - config.steps[::-1].index(step)]
    if "finetune" in earlier and config.finetune.head != "teacher":
        for name in _comparing_tokens(losses):
            yield (
                f"{step}.losses.{name}: finetune.head={config.finetune.head} comes before {step}, so the student's "
                "head has another vocabulary than the teacher's; distil first, or set its weight to 0"
            )
    if step == "gates":
        try:
            gated_units(student, config.gates.parts)
        except ModelError as error:
            yield f"gates.{error}"


def _prune_problems(config: Config, source: ModelOutline) -> Iterator[str]:
    try:
        prunable_units(source.config, config.prune.parts)
    except ModelError as error:
        yield f"prune.{error}"
    earlier = config.steps[: config.steps.index("prune")]
    gains_decoder = "finetune" in earlier and config.finetune.objective != "ctc"
    if "width" in config.prune.parts and (gains_decoder or source.config.decoder is not None):
        yield "prune.parts: width cannot be cut under a decoder, which listens to frames of that width; leave it out"
    can_spell = source.config.ctc_head and source.processor.tokenizer is not None
    if prunes_by_labels(config) and not can_spell and "finetune" not in earlier:
        missing = "vocabulary (vocab.json)" if source.config.ctc_head else "CTC head"
        yield (
            f"prune.importance: taylor asks the CTC loss, but {source.path} has no {missing}; use l1, l2 or "
            "activation, or prune after finetune"
        )


def _comparing_tokens(losses: LossesConfig) -> list[str]:
    """Losses that are on and need the same vocabulary in both models."""
    return [name for name, loss in active_losses(losses).items() if loss.compares_tokens]


def _masking_problems(step: str, masks: SpecAugmentConfig, losses: LossesConfig) -> Iterator[str]:
    for name, loss in active_losses(losses).items():
        if loss.needs_masks and not masks.mask_time_prob:
            yield (
                f"{step}.losses.{name}: {step}.spec_augment.mask_time_prob is 0, so no frame is ever masked; set it "
                f"(0.8 with mask_time_length 10 in the paper), or use {step}.losses.hidden"
            )


def _cache_problems(step: str, config: Config, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
    """Why the teacher's answers cannot be stored: they are not the same every time, or too many."""
    augment, losses = config.data.augment, compared_losses(config)[step]
    changes = {"speed": augment.speed != [1.0, 1.0], "gain_db": augment.gain_db != [0.0, 0.0],
               "noise_probability": augment.noise_probability > 0}  # fmt: skip
    changing = [f"data.augment.{name}" for name, changed in changes.items() if changed]
    if changing:
        yield (
            f"distill.cache: with {' and '.join(changing)} the waveform is another in every step, and so is what the "
            "teacher says; leave one or the other out"
        )
    needed = needed_targets(losses, student, teacher)
    if not needed:
        yield f"distill.cache: no loss of {step} compares with the teacher, so there is nothing to store; leave it out"
    for name, loss in active_losses(losses).items():
        for field in loss.find_targets(student, teacher):
            if field == MASKED:
                yield (
                    f"distill.cache: {step}.losses.{name} asks the teacher with other masks in every step; leave the "
                    "cache out, or set its unmasked_weight to 0"
                )
            elif field not in CACHEABLE:
                yield f"distill.cache: {step}.losses.{name} needs the teacher's {field}, which are not stored"
        if loss.needs_all_tokens and config.distill.cache_top_k:
            yield f"distill.cache_top_k: {step}.losses.{name} needs the logits of all tokens; set it to 0"


def _vocabulary_problems(config: Config, source: ModelOutline) -> Iterator[str]:
    """What needs labels cannot do without a vocabulary to spell them."""
    if source.processor.tokenizer is not None:
        return
    keys = [f"{step}.losses.ctc" for step, losses in compared_losses(config).items() if losses.ctc.weight]
    if "distill" in config.steps and config.control == "ctc_only" and "distill.losses.ctc" not in keys:
        keys.append("control")
    for key in keys:
        yield f"{key}: {source.path} has no vocabulary (vocab.json) to spell the transcripts with"
    if "finetune" in config.steps and config.finetune.head != "new":
        missing = f"{source.path} has no vocabulary (vocab.json) for its head"
        yield f"finetune.head: {missing}; use finetune.head=new"


def _transcript_problems(config: Config, teacher: ModelOutline) -> Iterator[str]:
    """Without transcripts somebody has to write them."""
    if config.data.transcripts == "given" or not wants_labels(config):
        return
    missing = "" if teacher.config.ctc_head else "CTC head"
    missing = missing or ("" if teacher.processor.tokenizer is not None else "vocabulary (vocab.json)")
    if missing:
        yield (
            f"data.transcripts: {config.data.transcripts} takes the teacher's transcripts as labels, but "
            f"{teacher.path} has no {missing} to write them with; set it to given, or ask for no labels: steps "
            "without finetune, distill.losses.ctc.weight 0, no control"
        )


def find_problems(config: Config) -> Iterator[str]:
    """Say what is wrong with a configuration in view of its teacher and its corpus.

    Args:
        config: with values of the right types.

    Yields:
        One sentence a problem, beginning with the key at fault.
    """
    if any(config.steps.count(step) > 1 for step in ("student", "gates", "finetune")):
        yield f"steps: {config.steps} names a step twice; only prune and distill may come again"
    try:
        teacher = outline_model(config.teacher.path)
    except BigfootError as error:
        yield f"teacher.path: {error}"
    else:
        yield from _transcript_problems(config, teacher)
        yield from growth_problems(config)
        yield from _student_problems(config, teacher)
    yield from _data_problems(config.data)
    yield from decoder_problems(config.evaluate)
    yield from _tokenizer_problems(config)


_PACKAGES = {
    "unigram": ("sentencepiece", "text"), "bpe": ("sentencepiece", "text"), "phonemes": ("espeakng_loader", "synthetic")
}  # fmt: skip


def _tokenizer_problems(config: Config) -> Iterator[str]:
    """A package or file that is missing is told before hours of distillation."""
    finetune = config.finetune
    if "finetune" not in config.steps:
        return
    package, extra = _PACKAGES.get(finetune.tokenizer, (None, None))
    if package is not None and importlib.util.find_spec(package) is None:
        yield f"finetune.tokenizer: {finetune.tokenizer} needs a package: {install_hint(str(extra))}"
    if finetune.tokenizer_text is not None and not Path(finetune.tokenizer_text).expanduser().is_file():
        yield f"finetune.tokenizer_text: no file {finetune.tokenizer_text}"


def _student_problems(config: Config, teacher: ModelOutline) -> Iterator[str]:
    """What keeps the student from being cut, pruned or taught."""
    source = teacher
    if config.student.path is not None:
        try:
            source = outline_model(config.student.path)
        except BigfootError as error:
            yield f"student.path: {error}"
            return
        yield from _source_problems(config, source, teacher)
    if source.config.small_weights is not None and config.steps not in ([], ["quantize"]):
        key = "teacher.path" if config.student.path is None else "student.path"
        yield (
            f"{key}: {source.path} has {source.config.precision} weights, which are neither cut nor trained; bring it "
            "back first (bigfoot quantize MODEL OUT --precision float32), or cut the student out of another model "
            "(student.path)"
        )
        return
    if source.config.ctc_head:
        yield from _vocabulary_problems(config, source)
    if "student" in config.steps:
        yield from student_problems(config, source.config)
    if "prune" in config.steps:
        yield from _prune_problems(config, source)
    yield from _loss_problems(config, source.config, teacher.config)
    if "quantize" in config.steps:
        yield from _layer_problems(config, source.config)


def _layer_problems(config: Config, source: BigfootConfig) -> Iterator[str]:
    """Layers that are to stay in fp32 and are not there, said before hours of training."""
    with torch.device("meta"):
        student = BigfootForCTC(_student_shape(config, source))
    try:
        nameable_layers(student, config.quantize.precision, config.quantize.keep_fp32)
    except ConfigError as error:
        yield from (f"quantize.{problem}" for problem in error.problems)


def _source_problems(config: Config, source: ModelOutline, teacher: ModelOutline) -> Iterator[str]:
    """What a student that is not cut out of its teacher must have in common with it."""
    if "student" not in config.steps:
        yield "student.path: the steps have no student, so that nothing is cut out of it; add the step, or leave it out"
    ours, theirs = source.processor, teacher.processor
    if ours.do_normalize != theirs.do_normalize:
        one, other = (source, teacher) if ours.do_normalize else (teacher, source)
        yield (
            f"student.path: {one.path} normalizes audio (do_normalize) and {other.path} does not, and both hear the "
            "same batch; take a pair that agrees"
        )
    heads = source.config.ctc_head and teacher.config.ctc_head
    if heads and ours.tokenizer is not None and theirs.tokenizer is not None and ours.tokenizer != theirs.tokenizer:
        for step, losses in compared_losses(config).items():
            for name in _comparing_tokens(losses):
                yield (
                    f"{step}.losses.{name}: {source.path} and {teacher.path} have other vocabularies, so that their "
                    "posteriors are of different tokens; set its weight to 0"
                )


def _data_problems(config: DataConfig) -> Iterator[str]:
    try:
        if config.corpus != "synthetic_digits":
            resolve_root(config)
    except BigfootError as error:
        yield str(error)
    if config.augment.noise_folder is None:
        return
    if config.augment.noise_probability == 0:
        yield "data.augment.noise_folder: never heard with noise_probability 0; set that above 0, or leave this out"
    try:
        NoiseFolder.find(config.augment.noise_folder)
    except BigfootError as error:
        yield str(error)
