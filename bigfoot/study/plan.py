"""Which runs a comparison of methods is made of, each an ordinary run of a method's YAML file.

What all runs share stands in a file of its own (``configs/compare``); its first lines read::

    methods: [bigfoot, distilhubert, ctc_only]
    seeds: [1, 2, 3]
    steps: 160
    settings:
      scale: tiny
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bigfoot.config import CONFIG_FOLDER, Problem, above_zero, read_settings, to_dict, unknown_words
from bigfoot.distill.registry import without_teacher
from bigfoot.errors import ConfigError
from bigfoot.pipeline.fingerprints import fingerprint
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import Config, load_config
from bigfoot.pipeline.steps.step import get_step

CONTROLS = ("ctc_only", "random_weights")
"""The student of ``bigfoot.yaml`` without its teacher's losses, and with nothing of its teacher's weights."""
TEACHER = "teacher"
_CONTROLLED = "bigfoot"


@dataclass
class ComparisonConfig:
    """What all runs of a comparison share."""

    methods: list[str] = field(default_factory=list)
    """Files of ``configs/methods`` without their ending, and ``CONTROLS``; empty: all there are."""
    seeds: list[int] = field(default_factory=lambda: [1])
    """Each method is run with each of them."""
    steps: int = above_zero(100)
    """Optimizer steps before fine-tuning, all training steps of a method together; see ``share_steps``."""
    other_steps: int = above_zero(50)
    """The same for the methods that are not named, where they are asked for too; these get the first seed alone."""
    speed_rounds: int = above_zero(9)
    """Interleaved rounds of the speed measurement at the end."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Keys of a run's configuration, set in every run over what its file says."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what no range of a single number can say."""
        if not self.seeds:
            yield Problem("seeds", "empty", "empty; give one or more")


@dataclass(frozen=True)
class PlannedRun:
    """A run of a method with a seed.

    Args:
        name: of the method, a control or the teacher.
        seed: of its data, weights and order.
        other: whether it has fewer steps than the rest.
        config_path: under ``configs/``.
        overrides: ``a.b=c`` each, over that file.
        config: what both come to, at its scale.
    """

    name: str
    seed: int
    other: bool
    config_path: str
    overrides: list[str]
    config: Config

    @property
    def folder(self) -> Path:
        """Where it is run."""
        return Path(self.config.run_dir)

    @property
    def key(self) -> str:
        """Digest of all settings: a result with another one belongs to another comparison."""
        return fingerprint(self.name, to_dict(self.config))

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.name}, seed {self.seed}"


def read_comparison(path: str | Path) -> ComparisonConfig:
    """Read what all runs share.

    Args:
        path: YAML file, looked up as given and then under ``configs/``.

    Raises:
        ConfigError: not there, or with a key that is unknown or of another kind.

    Examples:
        >>> read_comparison("compare/fsdd.yaml").seeds
        [1, 2, 3]
    """
    read, problems = read_settings(ComparisonConfig, path)
    if problems:
        raise ConfigError([replace(problem, key=f"{path}: {problem.key}") for problem in problems])
    return read


def known_methods() -> list[str]:
    """The files of ``configs/methods``, then the controls."""
    return [*sorted(path.stem for path in (CONFIG_FOLDER / "methods").glob("*.yaml")), *CONTROLS]


def plan_runs(
    wanted: ComparisonConfig, folder: str | Path, overrides: Sequence[str] = (), *, others: bool = False
) -> list[PlannedRun]:
    """List the runs of a comparison.

    Args:
        wanted: what they share.
        folder: in which each gets a folder of its own.
        overrides: ``a.b=c`` each, for every run, over all else.
        others: also run the methods that are not named, with the first seed and ``other_steps``.

    Returns:
        The teacher with each seed, then seed by seed the methods in their order, then the others.

    Raises:
        ConfigError: an unknown method, or a key that is wrong; all such are named at once.

    Examples:
        >>> wanted = ComparisonConfig(["bigfoot", "ctc_only"], seeds=[1, 2])
        >>> [run.label for run in plan_runs(wanted, "runs/c")][1:4]
        ['teacher, seed 2', 'bigfoot, seed 1', 'ctc_only, seed 1']
    """
    known = known_methods()
    methods = list(dict.fromkeys(wanted.methods)) or known
    unknown = list(unknown_words("methods", "method", methods, known))
    if unknown:
        raise ConfigError(unknown)
    runs = [(TEACHER, seed, False) for seed in wanted.seeds]
    runs += [(name, seed, False) for seed in wanted.seeds for name in methods]
    if others:
        runs += [(name, wanted.seeds[0], True) for name in known if name not in methods]
    return [_plan_run(wanted, Path(folder), overrides, *run) for run in runs]


def _plan_run(
    wanted: ComparisonConfig, folder: Path, overrides: Sequence[str], name: str, seed: int, other: bool
) -> PlannedRun:
    method = name if name not in (*CONTROLS, TEACHER) else _CONTROLLED
    path = f"methods/{method}.yaml"
    own = load_config(path)
    given = [*_unset_data(own), *_flatten(wanted.settings)]
    shares = share_steps(own, wanted.other_steps if other else wanted.steps)
    given += [f"{step}.max_steps={count}" for step, count in shares.items()]
    if "gates" in shares:
        given.append(f"gates.sparsity_warmup_steps={_scaled_warmup(own, shares['gates'])}")
    given += _tell_apart(name, own)
    given += [f"seed={seed}", f"run_dir={folder / name / f'seed_{seed}'}", *overrides]
    return PlannedRun(name, seed, other, path, given, apply_scale(load_config(path, given)))


def share_steps(config: Config, steps: int) -> dict[str, int]:
    """Divide a number of optimizer steps among the training steps of a method, as its file divides its own.

    DPHuBERT's 50,000 steps with gates and 25,000 without become two thirds and one third; where pruning and
    distilling take turns, every turn gets the same.

    Args:
        config: of the method, with its own ``max_steps``.
        steps: to divide; what does not divide is left out, less than one step a turn.

    Returns:
        ``max_steps`` of each kind of training before fine-tuning, one or more.

    Examples:
        >>> from bigfoot.pipeline.settings import load_config
        >>> turns = ["steps=[gates,distill,distill,finetune]", "gates.max_steps=400", "distill.max_steps=100"]
        >>> share_steps(load_config(None, turns), 60)
        {'gates': 40, 'distill': 10}
    """
    trained = [name for name in config.steps if get_step(name).trains and name != "finetune"]
    total = sum(getattr(config, step).max_steps for step in trained)
    return {step: max(1, steps * getattr(config, step).max_steps // total) for step in dict.fromkeys(trained)}


def _scaled_warmup(config: Config, steps: int) -> int:
    return steps * config.gates.sparsity_warmup_steps // config.gates.max_steps


def _tell_apart(name: str, own: Config) -> list[str]:
    """What makes a control, or the teacher alone, of the file that it begins from."""
    if name == TEACHER:
        return ["steps=[]"]
    if name == "random_weights":
        return ["student.weights=random"]
    if name == "ctc_only":
        losses = to_dict(without_teacher(own.distill.losses))
        return [f"distill.losses.{term}.weight={section['weight']}" for term, section in losses.items()]
    return []


def _unset_data(own: Config) -> list[str]:
    """A method's file names splits of its own corpus, which another corpus does not have."""
    return [
        f"data.{key}={json.dumps(type(value)())}"
        for key, value in to_dict(own.data).items()
        if value and (key.endswith("_splits") or key.startswith("train_"))
    ]


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            found += _flatten(value, f"{prefix}{name}.")
        else:
            found.append(f"{prefix}{name}={json.dumps(value)}")
    return found
