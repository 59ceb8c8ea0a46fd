"""Every key of the Knowledge-Distillation-Toolkit and of its follow-up, and what bigfoot makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NO_DEFAULT: Any = object()
# Mean length of LibriSpeech's training utterances, rounded up: batches are padded to the longest of them.
_SECONDS_PER_UTTERANCE = 15.0


@dataclass(frozen=True)
class Old:
    """The old configuration.

    Args:
        values: by dotted key, the original's defaults filled in.
        steps_per_epoch: optimizer steps of one of its epochs, where the user knows.
        name: of the new file, without suffix.
    """

    values: dict[str, Any]
    steps_per_epoch: int | None
    name: str

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - what a YAML file holds
        return self.values.get(key)


@dataclass(frozen=True)
class Outcome:
    """What becomes of an old key.

    Args:
        settings: bigfoot's keys and values; empty where there is no counterpart.
        note: why there is none, or in what the two differ.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    note: str = ""


Converter = Callable[[Any, Old], Outcome]


@dataclass(frozen=True)
class Key:
    """An old key.

    Args:
        kind: of its value; ``float`` takes whole numbers too.
        convert: from value and whole configuration to its outcome.
        default: what the original takes where the key is absent; without one an absent key is passed over.
        words: all that the original understands; any other word is an error.
    """

    kind: type
    convert: Converter
    default: Any = NO_DEFAULT
    words: tuple[str, ...] = ()


def _lost(reason: str) -> Converter:
    return lambda value, old: Outcome(note=reason)


def _same(key: str, note: str = "") -> Converter:
    return lambda value, old: Outcome({key: value}, note)


_UNREAD = Outcome(note="with train_on_dev_clean the original does not read it")


def _train_path(value: str, old: Old) -> Outcome:
    return _UNREAD if old["data_loader.train_on_dev_clean"] else _root(value)


def _root(value: str) -> Outcome:
    if not value:
        return Outcome(note="empty; set data.root or BIGFOOT_DATA")
    return Outcome({"data.root": value}, "" if Path(value).is_dir() else "TO BE SET BY HAND: no such folder here")


def _val_path(value: str, old: Old) -> Outcome:
    if old["data_loader.train_on_dev_clean"] or value == old["data_loader.train_data_path"]:
        return _root(value)
    return Outcome(note="all splits are read from below data.root: link dev-clean there")


def _dev_clean(value: bool, old: Old) -> Outcome:
    if not value:
        return Outcome({"data.dev_splits": ["dev-clean"]})
    note = "the original keeps 500 of 2703 utterances back for validation, bigfoot 7 of 40 speakers"
    return Outcome({"data.train_splits": ["dev-clean"], "data.hold_out_speakers": 7}, note)


def _train_part(key: str) -> Converter:
    return lambda value, old: _UNREAD if old["data_loader.train_on_dev_clean"] else Outcome({key: value})


def _batch(value: int, old: Old) -> Outcome:
    note = f"bigfoot counts seconds, padding included: {value} utterances of about {_SECONDS_PER_UTTERANCE:g} s"
    return Outcome({"data.batch_seconds": value * _SECONDS_PER_UTTERANCE}, note)


def _teacher(value: str, old: Old) -> Outcome:
    # Written down even where it cannot be read: without it the run would quietly take the default teacher.
    if not value:
        return Outcome(note="TO BE SET BY HAND: teacher.path is bigfoot's tiny_teacher as it is")
    readable = (Path(value) / "config.json").is_file()
    note = "" if readable else "TO BE SET BY HAND: bigfoot or Hugging Face folders are read, not fairseq files"
    return Outcome({"teacher.path": value}, note)


def _epochs(key: str) -> Converter:
    def convert(value: int, old: Old) -> Outcome:
        schedule = old["knowledge_distillation.optimization.scheduler_method"]
        if key == "distill.warmup_steps" and schedule != "linear_decay_with_warm_up":
            return Outcome({key: 0}, "the original warms up with linear_decay_with_warm_up only")
        if old.steps_per_epoch is None:
            return Outcome(note=f"bigfoot counts steps: give --steps_per_epoch, or set {key} by hand")
        return Outcome({key: value * old.steps_per_epoch}, f"{value} epochs of {old.steps_per_epoch} steps")

    return convert


_OPTIMIZERS = {
    # Adam is AdamW without decay, but for what PyTorch's defaults make of it.
    "adam": {"distill.weight_decay": 0.0, "distill.adam_betas": [0.9, 0.999]},
    "adam_wav2vec2.0": {"distill.weight_decay": 0.0, "distill.adam_betas": [0.9, 0.98]},
    "adam_distilBert": {"distill.weight_decay": 0.0, "distill.adam_betas": [0.9, 0.999]},
    "adamW_distilBert": {"distill.weight_decay": 0.01, "distill.adam_betas": [0.9, 0.98]},
    "sgd": {},
}


def _optimizer(value: str, old: Old) -> Outcome:
    if value == "sgd":
        return Outcome(note="bigfoot trains with AdamW; the learning rate of SGD will not do for it")
    return Outcome(_OPTIMIZERS[value], "epsilon is AdamW's 1e-8; biases and norms do not decay")


_SCHEDULES: dict[str, tuple[dict[str, Any], str]] = {
    "": ({"distill.schedule": "constant", "distill.warmup_steps": 0}, ""),
    "linear_decay_with_warm_up": ({"distill.schedule": "linear"}, "a change every step, in the original every epoch"),
    "cosine_anneal": ({"distill.schedule": "cosine"}, "one fall to nothing; the original starts again every 9 epochs"),
}


def _init_layers(value: int, old: Old) -> Outcome:
    keep = old["knowledge_distillation.student_model.num_trans_layer_student_model"] or value
    rule = old["knowledge_distillation.student_model.student_trans_layer_init_method"]
    every = max(1, value // max(1, keep))
    layers = {
        "first_k": list(range(keep)),
        "last_k": list(range(value - keep, value)),
        "every_k": list(range(0, value, every))[:keep],
    }.get(rule, [])
    return Outcome(
        note=f"bigfoot chooses among all layers of teacher.path; where they are not {value}, "
        f"student.layer_init={layers} takes those that the original took"
    )


def _conv_groups(value: int, old: Old) -> Outcome:
    if not old["knowledge_distillation.student_model.change_conv_layers"]:
        return Outcome(note="without change_conv_layers the original does not read it")
    return Outcome({"student.conv_groups": value}, "the kernels' block diagonals, not their first channels")


def _precision(value: int | str, old: Old) -> Outcome:
    if str(value) not in ("16", "32", "bf16"):
        return Outcome(note=f"{value} is not one of 16, 32, bf16; bigfoot's precision is no, bf16, fp16 or auto")
    words = {"16": "auto", "32": "no", "bf16": "bf16"}
    note = "bf16 where the machine has it, fp32 elsewhere; precision=fp16 is the original's"
    return Outcome({"precision": words[str(value)]}, note if str(value) == "16" else "")


_DATA, _KD = "data_loader", "knowledge_distillation"
_OPTIMIZATION, _LOSS, _STUDENT = f"{_KD}.optimization", f"{_KD}.final_loss_coeff", f"{_KD}.student_model"
_TRAINER, _COMET = f"{_KD}.pytorch_lightning_trainer", f"{_KD}.comet_info"
_LAUNCHER = "the launcher's: accelerate launch --num_processes N, or torchrun"

KEYS: dict[str, Key] = {
    f"{_DATA}.download": Key(bool, _lost("bigfoot downloads no corpus")),
    f"{_DATA}.train_on_dev_clean": Key(bool, _dev_clean, False),
    f"{_DATA}.train_data_path": Key(str, _train_path),
    f"{_DATA}.val_data_path": Key(str, _val_path),
    f"{_DATA}.train_batch_size": Key(int, _batch),
    f"{_DATA}.val_batch_size": Key(int, _same("evaluate.batch_size")),
    f"{_DATA}.use_train_clean_100": Key(bool, _train_part("data.train_clean_100")),
    f"{_DATA}.use_train_clean_360": Key(bool, _train_part("data.train_clean_360")),
    f"{_DATA}.use_train_other_500": Key(bool, _train_part("data.train_other_500")),
    f"{_DATA}.num_workers": Key(int, _same("data.num_workers")),
    f"{_KD}.general.num_gpu_used": Key(int, _lost(_LAUNCHER)),
    f"{_KD}.general.fairseq_pretrained_model_path": Key(str, _teacher),
    f"{_KD}.general.temperature": Key(float, _same("distill.losses.logit_kl.temperature"), 1),
    f"{_OPTIMIZATION}.max_epoch": Key(int, _epochs("distill.max_steps")),
    f"{_OPTIMIZATION}.optimize_method": Key(str, _optimizer, words=tuple(_OPTIMIZERS)),
    f"{_OPTIMIZATION}.scheduler_method": Key(
        str, lambda value, old: Outcome(*_SCHEDULES[value]), words=tuple(_SCHEDULES)),
    f"{_OPTIMIZATION}.learning_rate": Key(float, _same("distill.learning_rate")),
    f"{_OPTIMIZATION}.num_lr_warm_up_epoch": Key(int, _epochs("distill.warmup_steps")),
    f"{_LOSS}.student_loss": Key(float, _lost(
        "the original's loss of that name is always 0; distill.losses.ctc.weight learns from transcripts")),
    f"{_LOSS}.kd_loss": Key(float, _same("distill.losses.logit_kl.weight",
        "a mean over real frames; the original's grows with the batch, since it divides by frames alone"), 0),
    f"{_LOSS}.cos_embed_loss": Key(float, _same("distill.losses.logit_cosine.weight"), 0),
    f"{_LOSS}.features_pen": Key(float, _same("distill.losses.feature_penalty.weight"), 0),
    f"{_STUDENT}.num_trans_layer_student_model": Key(int, _same("student.num_hidden_layers")),
    f"{_STUDENT}.num_trans_layer_student_init_model": Key(int, _init_layers),
    f"{_STUDENT}.student_init_model_path": Key(str, _lost(
        "a student begins with layers of teacher.path; to go on from an earlier student, make it the teacher")),
    f"{_STUDENT}.student_init_model_type": Key(str, _lost(
        "as student_init_model_path: fairseq_pretrained is what bigfoot does, previous_kd_ckpt is not"),
        words=("fairseq_pretrained", "previous_kd_ckpt")),
    f"{_STUDENT}.student_trans_layer_init_method": Key(
        str, _same("student.layer_init"), words=("first_k", "last_k", "every_k")),
    f"{_STUDENT}.change_conv_layers": Key(bool, _same("student.change_conv_layers"), False),
    f"{_STUDENT}.conv_groups": Key(int, _conv_groups),
    f"{_TRAINER}.track_grad_norm": Key(int, _lost("gradient norms are not logged")),
    f"{_TRAINER}.accumulate_grad_batches": Key(int, _same("distill.gradient_accumulation_steps"), 1),
    f"{_TRAINER}.num_nodes": Key(int, _lost(_LAUNCHER)),
    f"{_TRAINER}.precision": Key(object, _precision),
    f"{_TRAINER}.resume_from_checkpoint": Key(str, _lost("the same command goes on where it stopped")),
    f"{_TRAINER}.seed": Key(int, _same("seed"), 32),
    f"{_COMET}.log_to_comet": Key(
        bool, lambda value, old: Outcome({"trackers": ["tensorboard", *["comet_ml"] * value]})),
    f"{_COMET}.comet_info_path": Key(str, _lost("Comet reads its key from COMET_API_KEY or its own settings file")),
    f"{_COMET}.comet_exp_name": Key(str, lambda value, old: Outcome({"run_dir": f"runs/{value or old.name}"}), ""),
}  # fmt: skip
"""Every key of the original and of its follow-up."""

UNSAID: list[Outcome] = [
    Outcome({"data.corpus": "librispeech"}, "the original knows no other"),
    Outcome({"evaluate.splits": ["dev"]}, "it has no test split"),
    Outcome({"steps": ["student", "distill"]}, "it does not fine-tune"),
    Outcome({"distill.spec_augment.mask_time_prob": 0.0}, "it masks nothing"),
    Outcome({}, "it clips no gradients; here distill.max_grad_norm = 1 holds"),
]
"""What the original does without a key that would say so."""
