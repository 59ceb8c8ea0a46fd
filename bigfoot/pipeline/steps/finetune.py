"""Step ``finetune``: train on the transcripts, with CTC, with a decoder, or with both."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from bigfoot.config import Problem, to_dict
from bigfoot.data.batches import read_transcripts
from bigfoot.decoding.hot_words import hot_word_problems
from bigfoot.distill import CTCLoss, DecoderLoss, LossesConfig
from bigfoot.distill.objective import Objective, active_losses
from bigfoot.errors import ConfigError, DataError
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.formats.language_model import with_language_model
from bigfoot.install import install_hint
from bigfoot.models.reshape import with_decoder, with_new_head
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.fingerprints import digest_files, fingerprint_files
from bigfoot.pipeline.plan import Models, Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.training import TrainingStep, build_run, train_and_save
from bigfoot.storage.remote import fetch
from bigfoot.text.building import build_tokenizer
from bigfoot.text.tokenizer import Tokenizer, count_unknown, describe_unknown
from bigfoot.text.tokenizers import Processor
from bigfoot.training.finetuning import DecoderConfig, FinetuneConfig
from bigfoot.training.hooks import FrozenFeatureEncoder

log = logging.getLogger("bigfoot")

# Packages that build a tokenizer: the imported name, and the extra that installs it.
_PACKAGES = {
    "unigram": ("sentencepiece", "text"), "bpe": ("sentencepiece", "text"), "phonemes": ("espeakng_loader", "synthetic")
}  # fmt: skip
_PROTOCOLS = {
    "ctc": "fine-tuned, CTC",
    "joint": "fine-tuned with CTC and a decoder, CTC",
    "decoder": "fine-tuned with a decoder, CTC head as it was, CTC",
}


class FinetuneStep(TrainingStep):
    """Train without a teacher, on the existing head or a new one."""

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        finetune = plan.config.finetune
        package, extra = _PACKAGES.get(finetune.tokenizer, ("", ""))
        if package and importlib.util.find_spec(package) is None:
            message = f"{finetune.tokenizer} needs a package: {install_hint(extra)}"
            yield Problem("finetune.tokenizer", "missing_package", message)
        if finetune.tokenizer_text is not None and not _is_file(finetune.tokenizer_text):
            yield Problem("finetune.tokenizer_text", "no_file", f"no file {finetune.tokenizer_text}")
        writes_own = finetune.decoder.kind == "pretrained" and finetune.objective != "ctc"
        if writes_own and plan.config.evaluate.autoregressive.ctc_weight:
            message = "a pretrained decoder has tokens of its own, which the CTC head cannot score; set it to 0"
            yield Problem("evaluate.autoregressive.ctc_weight", "other_vocabulary", message)
        if plan.models is not None and finetune.head != "new":
            yield from _head_problems(plan.models)
        if plan.models is not None:
            shape = plan.models.student if "student" in plan.config.steps else plan.models.source.config
            for name, loss in active_losses(finetune.losses).items():
                yield from (each.under(f"finetune.losses.{name}") for each in loss.check(shape, shape))

    def reads_labels(self, config: Config) -> bool:
        """See ``Step``."""
        return True

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``; local files of a vocabulary or a decoder are included."""
        config = context.config.finetune
        folders = filter(None, (config.tokenizer_path, config.decoder.language_model))
        found = [fingerprint_files(path) for path in map(_expand, folders) if path.exists()]
        pieces = [*digest_files(config.tokenizer_text), *found]
        return {**super().depends_on(context), "tokenizer or language model": pieces}

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return _PROTOCOLS[config.finetune.objective]

    def describe_after_control(self, precision: str) -> str:
        """See ``Step``."""
        return "then fine-tuned"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        config, student = context.config.finetune, load_model(before.folder)
        if config.head != "teacher":
            _replace_head_(student, result, context)
        if config.objective != "ctc" and student.model.decoder is None:
            result.changes.append(_add_decoder_(student, config.decoder, context.config.seed))
        set_seed(context.config.seed)  # of modules that losses add
        objective = Objective(_transcript_losses(config), student.model, None)
        hooks = [FrozenFeatureEncoder(config.freeze_feature_encoder_steps)]
        run = build_run(result, context, config, student.processor, hooks)
        train_and_save(result, student, objective, run)


def _expand(path: str) -> Path:
    return fetch(path).expanduser()


def _is_file(path: str) -> bool:
    try:
        return _expand(path).is_file()
    except DataError:  # in the cloud there is none
        return False


def _head_problems(models: Models) -> Iterator[Problem]:
    source = models.source
    if not source.config.ctc_head:
        task = "; its task head is trained by the step train_task" if source.config.task else ""
        yield Problem("finetune.head", "no_head", f"there is no CTC head to go on with; use finetune.head=new{task}")
    elif source.processor.tokenizer is None:
        message = f"{source.path} has no vocabulary (vocab.json) for its head; use finetune.head=new"
        yield Problem("finetune.head", "no_vocabulary", message)


def _replace_head_(student: LoadedModel, result: StepResult, context: Context) -> None:
    """Add a head over new tokens to a student; initialize each from its first letter if configured."""
    config = context.config.finetune
    tokenizer = build_tokenizer(_with_tokenizer_folder(config), read_transcripts(context.labels.manifests["train"]))
    # Its texts will be searched for hot words: better refused now than after the training.
    if problems := [each.under("evaluate") for each in hot_word_problems(context.config.evaluate, tokenizer)]:
        raise ConfigError(problems)
    known = student.processor.tokenizer
    origins = tokenizer.find_first_letters(known) if config.head == "respelled" and known is not None else []
    student.processor = Processor(tokenizer, student.processor.do_normalize, student.processor.sample_rate)
    student.model = with_new_head(student.model, len(tokenizer), tokenizer.blank_id, context.config.seed, origins)
    whose = "training transcripts" if context.config.data.transcripts == "given" else "teacher's transcripts"
    count = len(origins) - origins.count(None)
    from_letters = f", {count} tokens initialized from their first letters" if origins else ""
    result.changes = [f"finetune: a new CTC head ({tokenizer.describe()}) for the {whose}{from_letters}"]
    result.notes += _check_vocabulary(tokenizer, context)


def _add_decoder_(student: LoadedModel, config: DecoderConfig, seed: int) -> str:
    """Add the configured decoder to a student; return a sentence that describes it."""
    shape = {key: value for key, value in to_dict(config).items() if key != "language_model"}
    if config.kind == "mini_gpt":
        student.model = with_decoder(student.model, shape, seed)
        return f"finetune: a new decoder, {config.num_layers} layers of MiniGPT"
    assert config.language_model is not None  # a problem of its section otherwise
    student.model, tokenizer = with_language_model(student.model, shape, config.language_model, seed)
    student.processor = replace(student.processor, decoder_tokenizer=tokenizer)
    learns = {"full": "all of it learns", "lora": "adapters learn", "frozen": "only what is new learns"}[config.train]
    return f"finetune: {config.language_model} as decoder ({tokenizer.describe()}; {learns})"


def _transcript_losses(config: FinetuneConfig) -> LossesConfig:
    """Return the losses of ``finetune.objective``; none needs a teacher."""
    ctc = {"ctc": 1.0, "decoder": 0.0, "joint": config.ctc_weight}[config.objective]
    first, last = config.label_smoothing
    decoder = DecoderLoss(1.0 - ctc, first, last, config.max_steps)
    return replace(config.losses, ctc=CTCLoss(weight=ctc), decoder=decoder)


def _with_tokenizer_folder(config: FinetuneConfig) -> FinetuneConfig:
    """Build a tokenizer; one named by its hub id is downloaded first."""
    if config.tokenizer_path is None or Path(config.tokenizer_path).exists():
        return config
    return replace(config, tokenizer_path=str(fetch_folder(config.tokenizer_path)))


def _check_vocabulary(tokenizer: Tokenizer, context: Context) -> list[str]:
    """Find out-of-vocabulary characters of a new vocabulary: they always count as errors."""
    notes = []
    for split, manifest in context.labels.manifests.items():
        unknown = count_unknown(tokenizer, read_transcripts(manifest))
        if unknown and split == "train":
            raise DataError(
                f"finetune.tokenizer: characters of train are out of its vocabulary: {describe_unknown(unknown)}; take "
                "another, or correct the transcripts"
            )
        if unknown:
            notes.append(f"transcripts of {split} hold what no hypothesis can: {describe_unknown(unknown)}")
    for note in notes:
        log.warning("finetune: %s", note)
    return notes
