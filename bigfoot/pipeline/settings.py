"""Every setting of a run: the sections of its parts, each declared with its owner, and what only the whole can tell."""

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
    read_settings,
    unknown_words,
)
from bigfoot.config.plugins import load_plugins
from bigfoot.config.reading import read_list
from bigfoot.data.settings import DataConfig
from bigfoot.errors import BigfootError, ConfigError
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.pipeline.registry import STEPS
from bigfoot.training.distilling import DistillConfig, GatesConfig
from bigfoot.training.finetuning import FinetuneConfig

TRACKERS = ("tensorboard", "wandb", "mlflow", "comet_ml")


@dataclass
class TeacherConfig:
    """The good model that is too big."""

    path: str = "tiny_teacher"
    """A bigfoot folder, a Hugging Face folder or id, or ``tiny_teacher``, which ships with bigfoot."""


@dataclass
class PublishedConfig:
    """How a paper counts the parameters of the student that a YAML file makes, for ``bigfoot summary FILE``."""

    num_params: float = not_negative(0.0)
    """What it prints; 0 where it prints nothing."""
    projections: int = not_negative(0)
    """Linear maps to the teacher's width that are counted, though they are dropped after training."""
    upsamplers: int = not_negative(0)
    """Upsamplers that are counted with those."""
    about: bool = False
    """Whether the paper's own shape is not known, and the file's is near it."""


@dataclass
class Config:
    """A whole run: from a teacher to a table."""

    run_dir: str = "runs/demo"
    """Where everything of the run is written, and found again by the same command."""
    seed: int = not_negative(7)
    """Of data, weights, masks and order."""
    threads: int | None = above_zero(None)
    """CPU threads of torch; its own default where null."""
    precision: str = one_of("auto", "no", "bf16", "fp16")
    """Of training: ``no`` (fp32), ``bf16``, ``fp16``; ``auto`` takes bf16 on a GPU that has it and fp32 elsewhere."""
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Where curves go besides the report: ``tensorboard``, ``wandb``, ``mlflow``, ``comet_ml``; all but the first need
    their own package."""
    steps: list[str] = field(default_factory=lambda: ["student", "distill", "finetune"])
    """What is done to the teacher, in order: ``student``, ``prune``, ``gates``, ``distill``, ``finetune``, and
    ``quantize`` last; ``prune`` and ``distill`` as often as wanted. Evaluating and reporting follow by themselves."""
    control: str | None = one_of("ctc_only", default=None)
    """``ctc_only`` runs the same student, seed, steps and data once more with the teacher's losses off."""
    scale: str = one_of("full", "tiny")
    """``tiny`` takes ``tiny_teacher`` and the student's widths at the share that they have to a base teacher's, so that
    a method can be tried anywhere; data and steps are to be given with it."""
    plugins: list[str] = field(default_factory=list)
    """Modules of your own that register losses, techniques or steps: names, or paths of ``.py`` files, looked for
    beside the configuration, in the working directory, and where Python looks for modules. They are code, and run."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is heard."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """What is imitated."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """What is kept of it."""
    prune: Prune = field(default_factory=Prune)
    """What is taken out of it."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """How the student learns from the teacher."""
    gates: GatesConfig = field(default_factory=GatesConfig)
    """What it learns, meanwhile, to do without."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """How it learns from the transcripts."""
    quantize: Quantize = field(default_factory=Quantize)
    """How small its weights become at last."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How it is judged."""
    published: PublishedConfig = field(default_factory=PublishedConfig)
    """How its size was published."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what no section can say by itself."""
        yield from unknown_words("steps", "step", self.steps, list(STEPS))
        yield from unknown_words("trackers", "tracker", self.trackers, TRACKERS)
        if self.control is not None and "distill" not in self.steps:
            yield Problem("control", "no_distillation", "there is no distill step to compare with")
        if self.distill.grow_groups:
            yield from self._growth_problems()

    def _growth_problems(self) -> Iterator[Problem]:
        """Why groups cannot grow while the student is distilled."""
        key = "distill.grow_groups"
        if self.steps[:2] != ["student", "distill"]:
            message = "needs the steps student and distill, in this order, to begin with"
            yield Problem(key, "bad_order", message)
        if self.steps.count("distill") > 1:
            yield Problem(key, "repeated", "groups grow once, and steps names distill several times")
        if not self.student.change_conv_layers:
            yield Problem(key, "no_groups", "student.change_conv_layers is false, so there are no groups to grow")
        if self.student.conv_init == "least_squares":
            message = "kernels begin dense, so student.conv_init must be slice or permute"
            yield Problem(key, "not_grouped", message)


def config_schema() -> type[Config]:
    """``Config``, with the sections of the registered steps that it does not declare itself.

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
    """Merge the defaults, a YAML file and overrides; collect what is wrong instead of stopping at the first.

    Args:
        path: YAML file, looked up as given and then under ``configs/``; None for the defaults alone.
        overrides: ``a.b=c`` each, YAML on the right-hand side.

    Returns:
        The configuration (defaults where a key was wrong) and what is wrong with it.

    Raises:
        ConfigError: the file is missing or is not YAML.

    Examples:
        >>> config, problems = read_config(None, ["student.conv_groups=4", "student.conv_gruops=4"])
        >>> config.student.conv_groups, [str(problem) for problem in problems]
        (4, ['student.conv_gruops: unknown key; did you mean student.conv_groups?'])
    """
    folder = None if path is None else find_config(path).parent
    plugins, problems = load_plugins(read_list("plugins", path, overrides), folder)
    config, found = read_settings(config_schema(), path, overrides)
    config.plugins = plugins
    return config, [*problems, *found]


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """``read_config`` for those who want a configuration or an error.

    Raises:
        ConfigError: with everything that is wrong.
    """
    config, problems = read_config(path, overrides)
    if problems:
        raise ConfigError(problems)
    return config
