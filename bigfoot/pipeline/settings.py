"""All settings of a run: the sections of its parts, each declared in its module, and checks across sections."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path

from bigfoot.compress.settings import Prune, Quantize, StudentConfig
from bigfoot.config import (
    Problem,
    above_zero,
    find_config,
    not_negative,
    one_of,
    random_seed,
    read_settings,
    unknown_words,
)
from bigfoot.config.plugins import read_plugins
from bigfoot.config.reading import read_list
from bigfoot.data.settings import DataConfig
from bigfoot.errors import BigfootError, ConfigError
from bigfoot.evaluation.settings import EvaluateConfig, MeasureConfig
from bigfoot.pipeline.registry import STEPS
from bigfoot.tasks.settings import TrainTaskConfig
from bigfoot.training.distilling import DistillConfig, GatesConfig
from bigfoot.training.finetuning import FinetuneConfig
from bigfoot.training.quantizing import QatConfig
from bigfoot.training.settings import PRECISIONS
from bigfoot.training.supernet_settings import SupernetConfig

TRACKERS = ("tensorboard", "wandb", "mlflow", "comet_ml")


@dataclass
class TeacherConfig:
    """The model to compress."""

    path: str = "tiny_teacher"
    """A bigfoot folder, a Hugging Face folder or id, or ``tiny_teacher``, which ships with bigfoot."""
    language: str | None = None
    """One of the languages of a teacher that has several (MMS), such as ``eng``; the run keeps that one alone."""


@dataclass
class PublishedConfig:
    """How a paper counts the parameters of a YAML file's student, for ``bigfoot summary FILE``."""

    num_params: float = not_negative(0.0)
    """The printed number; 0 if there is none."""
    projections: int = not_negative(0)
    """Linear maps to the teacher's width that the paper counts, though they are dropped after training."""
    upsamplers: int = not_negative(0)
    """Upsamplers that the paper counts likewise."""
    about: bool = False
    """Whether the paper's shape is unknown, and the file's approximates it."""


@dataclass
class Config:
    """Configuration of a run: from a teacher to a report."""

    run_dir: str = "runs/demo"
    """Run folder: all output is written there, and the same command resumes from it."""
    seed: int = random_seed(7)
    """Random seed of data, weights, masks and order."""
    threads: int | None = above_zero(None)
    """CPU threads of torch; null for its default."""
    precision: str = one_of(*PRECISIONS)
    """Of training: ``no`` (fp32), ``bf16``, ``fp16``; ``auto`` is bf16 on a GPU that supports it, fp32 elsewhere."""
    shard: bool = False
    """Divide the weights, gradients and optimizer state of ``distill`` and ``finetune`` among the processes of a
    launcher (FSDP2), where they are too large for one GPU."""
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Trackers of training curves, besides the report: ``tensorboard``, ``wandb``, ``mlflow``, ``comet_ml``; all but
    the first need their own package."""
    peak_tflops: float = not_negative(0.0)
    """Peak rate of one process's device in 10^12 operations a second, which model FLOP utilisation is a share of; 0
    measures a matrix product."""
    max_minutes: float | None = above_zero(None)
    """Training time of one command, after which a training step pauses with a checkpoint (exit code 75); the same
    command goes on. null for no limit."""
    steps: list[str] = field(default_factory=lambda: ["student", "distill", "finetune"])
    """Steps, in order: ``student``, ``prune``, ``gates``, ``distill``, ``supernet``, ``finetune``, ``train_task``, and
    ``qat`` or ``quantize`` last; ``prune``, ``distill`` and ``train_task`` may repeat. Evaluation and report follow."""
    control: str | None = one_of("ctc_only", default=None)
    """``ctc_only`` repeats the run with the same student, seed, steps and data, without the teacher's losses."""
    scale: str = one_of("full", "tiny")
    """``tiny`` uses ``tiny_teacher`` and scales the student's widths by their ratio to a base teacher's, so that a
    method can be tried on any machine; set data and steps with it."""
    scale_to: str = "tiny_teacher"
    """``scale: tiny``: the teacher in place of ``tiny_teacher``, where it is not that one; a model as for
    ``teacher.path``."""
    plugins: list[str] = field(default_factory=list)
    """Modules of your own that register losses, techniques or steps: names, or paths of ``.py`` files, searched beside
    the configuration, in the working directory, and on Python's path. Their code is executed."""
    data: DataConfig = field(default_factory=DataConfig)
    """Corpus and batches."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The model to compress."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """Shape and initialization of the student."""
    prune: Prune = field(default_factory=Prune)
    """Units to prune."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Distillation from the teacher."""
    gates: GatesConfig = field(default_factory=GatesConfig)
    """Distillation with gates that learn which units to prune."""
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
    """Distillation of students of many shapes at once."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Fine-tuning on transcripts."""
    train_task: TrainTaskConfig = field(default_factory=TrainTaskConfig)
    """A task in place of transcripts: a head on the encoder, trained on labels of utterances."""
    qat: QatConfig = field(default_factory=QatConfig)
    """Training with quantized weights, which are then stored."""
    quantize: Quantize = field(default_factory=Quantize)
    """Quantization of the weights."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Evaluation."""
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    """What is measured besides error rates."""
    published: PublishedConfig = field(default_factory=PublishedConfig)
    """Published size of the student."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints across sections."""
        yield from unknown_words("steps", "step", self.steps, list(STEPS))
        yield from unknown_words("trackers", "tracker", self.trackers, TRACKERS)
        if self.control is not None and "distill" not in self.steps:
            yield Problem("control", "no_distillation", "there is no distill step to compare with")
        if self.distill.grow_groups:
            yield from self._growth_problems()
        if self.shard:
            yield from self._shard_problems()
        if self.scale == "full" and self.scale_to != "tiny_teacher":
            yield Problem("scale_to", "not_read", "read with scale tiny alone; name the teacher under teacher.path")

    def _shard_problems(self) -> Iterator[Problem]:
        """Check what works on whole weights alone."""
        whole = [name for name in self.steps if name in ("gates", "supernet", "train_task", "qat")]
        if whole or self.distill.grow_groups:
            names = " and ".join([*dict.fromkeys(whole), *["distill.grow_groups"] * bool(self.distill.grow_groups)])
            yield Problem("shard", "needs_whole_weights", f"{names} works on whole weights; leave shard out")
        if self.precision == "fp16":
            yield Problem("shard", "half_precision", "sharded weights are trained in bf16 or fp32, not in fp16")

    @property
    def trains_task(self) -> bool:
        """Whether a task takes the place of transcripts."""
        return "train_task" in self.steps

    def _growth_problems(self) -> Iterator[Problem]:
        """Check whether groups can grow during distillation."""
        key = "distill.grow_groups"
        if self.steps[:2] != ["student", "distill"]:
            message = "needs the steps student and distill first, in this order"
            yield Problem(key, "bad_order", message)
        if self.steps.count("distill") > 1:
            yield Problem(key, "repeated", "groups grow once, and steps names distill several times")
        if not self.student.change_conv_layers:
            yield Problem(key, "no_groups", "student.change_conv_layers is false, so there are no groups to grow")
        if self.student.conv_init == "least_squares":
            message = "kernels start dense, so student.conv_init must be slice or permute"
            yield Problem(key, "not_grouped", message)


def config_schema() -> type[Config]:
    """Return ``Config`` with the sections of registered steps that it does not declare itself.

    Raises:
        BigfootError: a step has the name of another section.
    """
    own = typing.get_type_hints(Config)
    if taken := [name for name, entry in STEPS.items() if own.get(name, entry.settings) is not entry.settings]:
        raise BigfootError(f"steps: {' and '.join(taken)} is the name of another section; choose another for the step")
    more = [(name, entry.settings, field(default_factory=entry.settings))
            for name, entry in STEPS.items() if name not in own]  # fmt: skip
    return make_dataclass("Config", more, bases=(Config,)) if more else Config


def read_config(path: str | Path | None, overrides: Sequence[str] = ()) -> tuple[Config, list[Problem]]:
    """Merge the defaults, a YAML file and overrides; collect all problems instead of stopping at the first.

    Args:
        path: YAML file, looked up as given and then under ``configs/``; None for the defaults alone.
        overrides: ``a.b=c`` each, YAML on the right-hand side.

    Returns:
        The configuration (defaults for invalid keys) and its problems.

    Raises:
        ConfigError: the file is missing or is not YAML.

    Examples:
        >>> config, problems = read_config(None, ["student.conv_groups=4", "student.conv_gruops=4"])
        >>> config.student.conv_groups, [str(problem) for problem in problems]
        (4, ['student.conv_gruops: unknown key; did you mean student.conv_groups?'])
    """
    folder = None if path is None else find_config(path).parent
    plugins, problems = read_plugins(read_list("plugins", path, overrides), folder)
    config, found = read_settings(config_schema(), path, overrides)
    config.plugins = plugins
    return config, [*problems, *found]


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of ``read_config``, or raise its problems.

    Raises:
        ConfigError: with all problems.
    """
    config, problems = read_config(path, overrides)
    if problems:
        raise ConfigError(problems)
    return config
