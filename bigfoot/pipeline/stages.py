"""The steps: each reads a model folder, writes a model folder, and leaves its facts beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed

from bigfoot.compress import conv_groups, prune, quantize
from bigfoot.compress.importance import HEARS_AUDIO
from bigfoot.config import to_dict
from bigfoot.data.batches import Batch, read_transcripts, sample_batches
from bigfoot.data.manifests import PreparedData
from bigfoot.distill import CTCLoss, DecoderLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
from bigfoot.distill.loss import Targets
from bigfoot.distill.objective import Objective, needed_targets
from bigfoot.distill.registry import without_teacher
from bigfoot.errors import DataError
from bigfoot.evaluation.evaluate import evaluate_accuracy, missing_wer_reason
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.formats.language_model import with_language_model
from bigfoot.measure.size import count_macs, measure_size_bytes
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import with_decoder, with_new_head
from bigfoot.pipeline.facts import FACTS_FILE, StepResult, read_facts, write_facts
from bigfoot.pipeline.fingerprints import digest_files, fingerprint, fingerprint_files
from bigfoot.pipeline.labels import Labels, prunes_by_labels
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.student import InitAudio, build_student
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.state import forget_state
from bigfoot.text.building import build_tokenizer
from bigfoot.text.tokenizer import Tokenizer, count_unknown, describe_unknown
from bigfoot.text.tokenizers import Processor
from bigfoot.training.finetuning import DecoderConfig, FinetuneConfig
from bigfoot.training.gated import GatedObjective
from bigfoot.training.growth import GroupGrowth
from bigfoot.training.guards import describe_teacher
from bigfoot.training.loop import TrainingRun, train
from bigfoot.training.settings import TrainConfig
from bigfoot.training.unfitting import describe_unfitting

log = logging.getLogger("bigfoot")

# Name of a step in configurations -> name of its row in the report.
ROW_NAMES = {
    "student": "student_init", "prune": "prune", "gates": "gates", "distill": "distil", "finetune": "finetune",
    "quantize": "quantize",
}  # fmt: skip


@dataclass
class Context:
    """What all steps of a run share.

    Args:
        config: of the run.
        run_dir: where steps write.
        data: manifests.
        teacher: frozen, with its processor.
        labels: the manifests that training reads, with the transcripts that it is to learn from.
        noise: digest of the recordings of noise; None without any.
    """

    config: Config
    run_dir: Path
    data: PreparedData
    teacher: LoadedModel
    labels: Labels
    noise: str | None = None


def run_step(
    name: str, before: StepResult, context: Context, *, control: bool = False, turn: int = 1
) -> StepResult:
    """Run a step, or skip it with a word where its output is there and nothing it depends on has changed.

    Args:
        name: of ``bigfoot.config.STEPS``.
        before: what the step before left.
        context: of the run.
        control: leave the teacher's losses out.
        turn: how often the step was taken with this one; later turns have folders and rows of their own.

    Returns:
        What it left behind.
    """
    start, end = "ctc_only_" if control else "", _name_turn(turn)
    label = f"{start}{name}{end}"
    folder, made = context.run_dir / label, _RUNNERS[name]
    settings = to_dict(getattr(context.config, name))
    own = {"its settings": [name, control, settings], "the model that it starts from": before.fingerprint}
    inputs = {what: fingerprint(value) for what, value in (own | _surroundings(name, context)).items()}
    expected = fingerprint(inputs)
    done = read_facts(folder, inputs)
    # Where several processes share the work, all decide on what was there before any of them writes.
    state = PartialState()
    state.wait_for_everyone()
    if done is not None:
        log.info("%s: nothing has changed, skipped (%s)", label, done.folder)
        return done
    log.info("%s: begins", label)
    # The facts of other settings must not vouch for a model that is about to be replaced.
    if state.is_main_process:
        forget_state(folder / FACTS_FILE)
    began = time.monotonic()
    begun = StepResult(f"{start}{ROW_NAMES[name]}{end}", folder / "model", expected, inputs)
    result = made(begun, before, context, control)
    result.seconds = result.seconds or time.monotonic() - began
    if state.is_main_process:
        write_facts(folder, result)
    state.wait_for_everyone()
    log.info("%s: done in %.0f s, model in %s", label, result.seconds, result.folder)
    return result


def label_steps(steps: Sequence[str]) -> list[str]:
    """Folders of the steps of a run, in their order.

    Example:
        >>> label_steps(["prune", "distill", "prune", "distill"])
        ['prune', 'distill', 'prune_2', 'distill_2']
    """
    return [f"{name}{_name_turn(steps[: index + 1].count(name))}" for index, name in enumerate(steps)]


def _name_turn(turn: int) -> str:
    return f"_{turn}" if turn > 1 else ""


def _surroundings(name: str, context: Context) -> dict[str, Any]:
    """What decides what a step makes, outside its own section; named as the log names it where it changed."""
    config, distill = context.config, context.config.distill
    if name == "student":
        # The seed is that of new weights, and there are some only in another shape, or in a control.
        drawn = bool(config.student.shape) or config.student.weights == "random"
        settings = [bool(distill.grow_groups), config.data.batch_seconds, *([config.seed] if drawn else [])]
        return {"data": context.labels.fingerprint, "other settings": settings}
    if name in ("prune", "quantize"):
        return {"data": context.labels.fingerprint, "other settings": [config.data.batch_seconds]}
    unread = ("num_workers", "trust_files")
    loading = {key: value for key, value in to_dict(config.data).items() if key not in unread}
    stored = name == "gates" and distill.cache is not None
    cache = [distill.cache_dtype, distill.cache_top_k] if stored else []
    return {
        "data": context.labels.fingerprint,
        "noise": context.noise,
        "tokenizer or language model": _digest_pieces(config.finetune) if name == "finetune" else [],
        "other settings": [config.seed, config.precision, loading, *cache],
    }


def _digest_pieces(config: FinetuneConfig) -> list[str]:
    """Digests of what a vocabulary or a decoder is made from, where it lies on this machine."""
    folders = [Path(given).expanduser() for given in (config.tokenizer_path, config.decoder.language_model) if given]
    return [*digest_files(config.tokenizer_text), *(fingerprint_files(path) for path in folders if path.exists())]


def _make_student(result: StepResult, before: StepResult, context: Context, _control: bool) -> StepResult:
    loaded = load_model(before.folder)
    audio = InitAudio(context.data.manifests["train"], loaded, context.config)
    model, result.changes = build_student(loaded.model, context.config, audio)
    entry = {"step": "student", "changes": result.changes}
    _save_once(model, loaded.processor, result.folder, [*loaded.history, entry])
    return result


def _prune(result: StepResult, before: StepResult, context: Context, _control: bool) -> StepResult:
    config, loaded = context.config.prune, load_model(before.folder)
    batches = []
    if config.importance in HEARS_AUDIO:
        manifest, room = context.labels.manifests["train"], context.config.data.batch_seconds
        labels = prunes_by_labels(context.config)
        batches = sample_batches(manifest, loaded.processor, config.seconds, room, labels=labels)
    home = loaded.model.device
    given = loaded.model.to(PartialState().device)
    model, change = prune.apply(given, config, batches, count_macs=lambda model: count_macs(model)[model])
    result.changes = [change.describe()]
    entry = {"step": result.folder.parent.name, "changes": result.changes}
    _save_once(model.to(home), loaded.processor, result.folder, [*loaded.history, entry])
    return result


def _quantize(result: StepResult, before: StepResult, context: Context, _control: bool) -> StepResult:
    config, loaded = context.config.quantize, load_model(before.folder)
    audio: Iterable[PaddedAudio] = ()
    if config.precision == "int8_static":
        manifest, room = context.labels.manifests["train"], context.config.data.batch_seconds
        audio = _one_by_one(sample_batches(manifest, loaded.processor, config.seconds, room))
    wanted = quantize.QuantizeConfig(config.precision, tuple(config.keep_fp32), config.percentile)
    model, change = quantize.apply(loaded.model, wanted, audio)
    result.changes = [change.describe()]
    entry = {"step": result.folder.parent.name, "precision": config.precision, "changes": result.changes}
    _save_once(model, loaded.processor, result.folder, [*loaded.history, entry])
    sizes = [measure_size_bytes(folder) / 1e6 for folder in (before.folder, result.folder)]
    log.info("quantize: %s %.2f MB -> %.2f MB", change.describe(), *sizes)
    return result


def _one_by_one(batches: Iterable[Batch]) -> Iterator[PaddedAudio]:
    """The utterances of batches without their padding."""
    for batch in batches:
        for samples, mask in zip(batch.input_values, batch.attention_mask, strict=True):
            yield PaddedAudio(samples[mask][None], mask[mask][None])


def _save_once(model: BigfootForCTC, processor: Processor, folder: Path, history: list[dict[str, Any]]) -> None:
    """Save a model from the first process; all go on when it is there."""
    state = PartialState()
    if state.is_main_process:
        save_model(model, processor, folder, history, may=OWN_OR_EDITED)
    state.wait_for_everyone()


@dataclass
class _Lesson:
    """What a step that learns from the teacher begins with."""

    student: LoadedModel
    losses: LossesConfig
    processor: Processor
    teacher: BigfootForCTC | TeacherCache


def _begin_lesson(name: str, before: StepResult, context: Context, control: bool) -> _Lesson:
    """Load student and teacher, or the teacher's answers; what trains beside the student begins by the seed."""
    from bigfoot.pipeline.checks import compared_losses

    config, student = context.config, load_model(before.folder)
    losses = compared_losses(config)
    own = without_teacher(losses[name]) if control else losses[name]
    processor = _usable_processor(student.processor, context.labels.manifests)
    teacher = load_model(context.teacher.folder or config.teacher.path).model
    told: BigfootForCTC | TeacherCache = teacher
    if config.distill.cache is not None and not control:
        told = _cache_teacher(teacher, student.model, own, list(losses.values()), processor, context)
    # Whatever was drawn before.
    set_seed(config.seed)
    return _Lesson(student, own, processor, told)


def _distill(result: StepResult, before: StepResult, context: Context, control: bool) -> StepResult:
    config, lesson = context.config.distill, _begin_lesson("distill", before, context, control)
    objective = Objective(lesson.losses, lesson.student.model, lesson.teacher)
    if not control:
        _judge_teacher(result, context)
    run = _training_run(result, context, config, lesson.processor)
    if config.grow_groups:
        groups = conv_groups.spell_out_groups(lesson.student.model.config, context.config.student.conv_groups)
        run.growth = GroupGrowth(groups, *config.grow_groups)
    return _train(result, lesson.student, objective, run)


def _gate(result: StepResult, before: StepResult, context: Context, control: bool) -> StepResult:
    lesson = _begin_lesson("gates", before, context, control)
    config = replace(context.config.gates, losses=lesson.losses)
    objective = GatedObjective(config, lesson.student.model, lesson.teacher, context.config.seed)
    factors = config.learning_rate_factors | {"gates": config.gate_learning_rate / config.learning_rate}
    run = _training_run(result, context, replace(config, learning_rate_factors=factors), lesson.processor)
    return _train(result, lesson.student, objective, run)


def _cache_teacher(
    teacher: BigfootForCTC, student: BigfootForCTC, losses: LossesConfig, all_losses: Sequence[LossesConfig],
    processor: Processor, context: Context,
) -> TeacherCache:  # fmt: skip
    """Have the first process write the teacher's answers, if they are not written yet, and take them in its place.

    All that any step of the run asks for is written at once, as the folder is one.
    """
    config, manifest = context.config.distill, context.labels.manifests["train"]
    assert config.cache is not None and context.teacher.folder is not None
    folder, state = Path(config.cache).expanduser(), PartialState()
    needed: Targets = {}
    for each in all_losses:
        for name, layers in needed_targets(each, student.config, teacher.config).items():
            needed[name] = needed.get(name, set()) | layers
    if state.is_main_process:
        digest = fingerprint_files(context.teacher.folder)
        corpus = context.data.audio["train"]
        key = CacheKey.of(corpus, processor, digest, needed, config.cache_dtype, config.cache_top_k)
        teacher.to(state.device)
        write_cache(folder, key, teacher, manifest, processor, context.config.evaluate.batch_size)
    state.wait_for_everyone()
    return TeacherCache(folder, teacher.config, needed_targets(losses, student.config, teacher.config))


def _finetune(result: StepResult, before: StepResult, context: Context, _control: bool) -> StepResult:
    config, student = context.config.finetune, load_model(before.folder)
    if config.head != "teacher":
        tokenizer = build_tokenizer(_with_tokenizer_folder(config), read_transcripts(context.labels.manifests["train"]))
        known = student.processor.tokenizer
        origins = tokenizer.find_first_letters(known) if config.head == "respelled" and known is not None else []
        student.processor = Processor(tokenizer, student.processor.do_normalize, student.processor.sample_rate)
        student.model = with_new_head(student.model, len(tokenizer), tokenizer.blank_id, context.config.seed, origins)
        whose = "training transcripts" if context.config.data.transcripts == "given" else "teacher's transcripts"
        begun = f", {len(origins) - origins.count(None)} tokens begun as their first letters" if origins else ""
        result.changes = [f"finetune: a new CTC head ({tokenizer.describe()}) for the {whose}{begun}"]
        result.notes += _describe_strangers(tokenizer, context)
    if config.objective != "ctc" and student.model.decoder is None:
        result.changes.append(_add_decoder_(student, config.decoder, context.config.seed))
    objective = Objective(_transcript_losses(config), student.model, None)
    run = _training_run(result, context, config, student.processor)
    run.freeze_feature_encoder_steps = config.freeze_feature_encoder_steps
    return _train(result, student, objective, run)


def _add_decoder_(student: LoadedModel, config: DecoderConfig, seed: int) -> str:
    """Give a student the configured decoder; what was done, in a sentence."""
    shape = {key: value for key, value in to_dict(config).items() if key != "language_model"}
    if config.kind == "mini_gpt":
        student.model = with_decoder(student.model, shape, seed)
        return f"finetune: a new decoder, {config.num_layers} layers of MiniGPT"
    assert config.language_model is not None  # said by the checks of the configuration
    student.model, tokenizer = with_language_model(student.model, shape, config.language_model, seed)
    student.processor = replace(student.processor, decoder_tokenizer=tokenizer)
    learns = {"full": "all of it learns", "lora": "adapters learn", "frozen": "only what is new learns"}[config.train]
    return f"finetune: {config.language_model} as decoder ({tokenizer.describe()}; {learns})"


def _transcript_losses(config: FinetuneConfig) -> LossesConfig:
    """The losses that need no teacher, by ``finetune.objective``."""
    ctc = {"ctc": 1.0, "decoder": 0.0, "joint": config.ctc_weight}[config.objective]
    first, last = config.label_smoothing
    decoder = DecoderLoss(1.0 - ctc, first, last, config.max_steps)
    return LossesConfig(LogitKLLoss(weight=0.0), ctc=CTCLoss(weight=ctc), decoder=decoder)


def _with_tokenizer_folder(config: FinetuneConfig) -> FinetuneConfig:
    """A tokenizer named by its id on the hub is fetched first."""
    if config.tokenizer_path is None or Path(config.tokenizer_path).exists():
        return config
    return replace(config, tokenizer_path=str(fetch_folder(config.tokenizer_path)))


def _describe_strangers(tokenizer: Tokenizer, context: Context) -> list[str]:
    """Characters that a new vocabulary lacks: no model with it can write them, and they count as errors."""
    notes = []
    for split, manifest in context.labels.manifests.items():
        unknown = count_unknown(tokenizer, read_transcripts(manifest))
        if unknown and split == "train":
            raise DataError(
                f"finetune.tokenizer: it cannot spell characters of train: {describe_unknown(unknown)}; take another, "
                "or correct the transcripts"
            )
        if unknown:
            notes.append(f"transcripts of {split} hold what no hypothesis can: {describe_unknown(unknown)}")
    for note in notes:
        log.warning("finetune: %s", note)
    return notes


def _usable_processor(processor: Processor, manifests: dict[str, Path]) -> Processor:
    """Without transcripts that the vocabulary can spell, distillation goes on without labels and dev WER."""
    tokenizer = processor.tokenizer
    if tokenizer is None:
        return processor
    strange: set[str] = set()
    for split in ("train", "dev"):
        for text in read_transcripts(manifests[split]):
            strange |= tokenizer.unknown_characters(text)
    if not strange:
        return processor
    log.warning("distill: the transcripts hold %s, which the teacher's vocabulary does not; no dev WER", strange)
    return Processor(None, processor.do_normalize, processor.sample_rate)


def _judge_teacher(result: StepResult, context: Context) -> None:
    """Warn of a teacher that cannot teach, before hours are spent on it; its own transcripts would not show it."""
    config, teacher = context.config, context.teacher
    if missing_wer_reason(teacher) or config.data.transcripts == "none":
        return
    home = teacher.model.device
    teacher.model.to(PartialState().device)
    once = replace(config.evaluate, bootstrap_samples=1, decoder="greedy")
    heard = evaluate_accuracy(teacher, context.data.manifests["dev"], once, config.seed).transcripts
    teacher.model.to(home)
    warning = describe_teacher(heard.references, heard.hypotheses)
    if warning:
        log.warning("distill: %s", warning)
        result.notes.append(warning)


def _training_run(result: StepResult, context: Context, config: TrainConfig, processor: Processor) -> TrainingRun:
    settings = context.config
    return TrainingRun(
        name=result.folder.parent.name, config=config, data=settings.data, processor=processor,
        manifests=context.labels.manifests, folder=result.folder.parent, seed=settings.seed,
        fingerprint=result.fingerprint, precision=settings.precision, trackers=settings.trackers,
        eval_batch_size=settings.evaluate.batch_size,
    )  # fmt: skip


def _train(result: StepResult, student: LoadedModel, objective: Objective, run: TrainingRun) -> StepResult:
    if objective.weights.get("ctc") and run.processor.tokenizer is not None:
        result.notes += describe_unfitting(run.manifests["train"], run.processor, student.model)
    trained = train(objective, run)
    best = load_model(trained.best)
    if run.growth is not None:
        # What the fading has left outside the blocks is nothing, so that the slices are the whole kernels.
        best.model, change = conv_groups.apply(best.model, conv_groups.ConvGroupsConfig(run.growth.groups))
        result.changes.append(change.describe())
    if isinstance(objective, GatedObjective):
        result.changes.append(objective.describe())
    entry = {
        "step": run.name, "changes": result.changes, "losses": objective.weights, "max_steps": run.config.max_steps,
        "best_step": trained.best_step, "best_dev_wer": trained.best_wer, "seconds": round(trained.seconds, 1),
    }  # fmt: skip
    # The student's own processor: the run's may have been stripped of its vocabulary.
    _save_once(best.model, student.processor, result.folder, [*student.history, entry])
    result.seconds, result.records, result.best_step = trained.seconds, trained.records, trained.best_step
    result.notes += trained.notes
    return result


_RUNNERS: dict[str, Callable[[StepResult, StepResult, Context, bool], StepResult]] = {
    "student": _make_student,
    "prune": _prune,
    "gates": _gate,
    "distill": _distill,
    "finetune": _finetune,
    "quantize": _quantize,
}
