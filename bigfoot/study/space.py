"""What a hyper-parameter search varies, as a YAML file describes it (``configs/tune/default.yaml``)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigfoot.config import Problem, above_zero, not_negative, one_of, read_settings
from bigfoot.errors import ConfigError
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.settings import Config, read_config

if TYPE_CHECKING:  # an extra
    import optuna

DEFAULT_SPACE = "tune/default.yaml"


@dataclass(frozen=True)
class Dimension:
    """Values that one setting may take: those of a range, or choices.

    Args:
        low: lowest.
        high: highest.
        log: whether the logarithm is uniform.
        step: distance of neighbours, such as 1 for integers; None for all numbers.
        choices: instead of a range.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: Sequence[Any] | None = None

    def suggest(self, trial: optuna.Trial, key: str) -> Any:  # noqa: ANN401 - of a setting's own type
        """Draw a value.

        Args:
            trial: of optuna, that the value belongs to.
            key: of the setting.
        """
        if self.choices is not None:
            # As JSON, since optuna knows numbers and words alone.
            return self.read(trial.suggest_categorical(key, [json.dumps(choice) for choice in self.choices]))
        assert self.low is not None and self.high is not None
        ends = (self.low, self.high, *([self.step] if self.step else []))
        if all(isinstance(end, int) for end in ends):
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    def read(self, drawn: Any) -> Any:  # noqa: ANN401 - likewise
        """Return the setting's value of what optuna has.

        Args:
            drawn: number or word.
        """
        return json.loads(drawn) if self.choices is not None else drawn

    def extremes(self) -> list[Any]:
        """Return values that are valid where all are: both ends, or every choice."""
        return [self.low, self.high] if self.choices is None else list(self.choices)


@dataclass
class SpaceConfig:
    """A search space, and how trials are chosen."""

    space: dict[str, Any] = field(default_factory=dict)
    """By key of the run's configuration: ``{low, high}``, with ``log`` or ``step``; or ``{choices}``."""
    pruner: str = one_of("median", "none")
    """``median`` ends a trial whose dev error is worse than the median of earlier trials at the same step."""
    startup_trials: int = above_zero(5)
    """Trials with random values, before those that follow from earlier ones (TPE), and before the first is pruned."""
    retries: int = not_negative(1)
    """How often a trial is taken up again that was under way when the search was killed; then it counts as failed."""

    def find_problems(self) -> Iterator[Problem]:
        """Check that every dimension is a range or choices."""
        for key, given in self.space.items():
            yield from _dimension_problems(f"space.{key}", given)
        if not self.space:
            yield Problem("space", "empty", "nothing is varied; give one key or more")


def _dimension_problems(key: str, given: Any) -> Iterator[Problem]:  # noqa: ANN401 - whatever a file holds
    known = [entry.name for entry in fields(Dimension)]
    if not isinstance(given, Mapping) or not set(given) <= set(known):
        yield Problem(key, "wrong_type", f"expected a mapping of {', '.join(known)}, got {given}")
        return
    if "choices" in given:
        if set(given) != {"choices"} or not isinstance(given["choices"], list) or not given["choices"]:
            yield Problem(key, "bad_bounds", f"choices is a list with one entry or more, and stands alone, got {given}")
        return
    low, high = given.get("low"), given.get("high")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or not low < high:
        yield Problem(key, "bad_bounds", f"expected low below high, two numbers, got {low} and {high}")
    elif given.get("log") and (low <= 0 or given.get("step") is not None):
        yield Problem(key, "bad_bounds", f"a logarithmic range starts above 0 and has no step, got {given}")


@dataclass(frozen=True)
class Space:
    """A checked search space.

    Args:
        dimensions: by key.
        settings: how trials are chosen.
    """

    dimensions: Mapping[str, Dimension]
    settings: SpaceConfig

    def suggest(self, trial: optuna.Trial) -> list[str]:
        """Draw a value for each key.

        Args:
            trial: of optuna.

        Returns:
            Overrides, ``key=value`` each.
        """
        return [f"{key}={json.dumps(each.suggest(trial, key))}" for key, each in self.dimensions.items()]


def read_space(path: str | Path | None, config: str | None, overrides: Sequence[str], run: Config) -> Space:
    """Read a search space, and check every key and its extreme values against the run's configuration.

    Args:
        path: YAML file, looked up as given and then under ``configs/``; None for ``tune/default.yaml``.
        config: of the run.
        overrides: of the run; what they set is not varied.
        run: what both give.

    Raises:
        ConfigError: with all problems.
    """
    settings, problems = read_settings(SpaceConfig, path or DEFAULT_SPACE)
    if problems:
        raise ConfigError(problems)
    fixed = {override.partition("=")[0] for override in overrides}
    kept = {key: Dimension(**given) for key, given in settings.space.items()
            if key not in fixed and _is_read(key, run)}  # fmt: skip
    known = read_config(config, overrides)[1]
    for key, dimension in kept.items():
        for value in dimension.extremes():
            found = read_config(config, [*overrides, f"{key}={json.dumps(value)}"])[1]
            problems += [problem for problem in found if problem not in [*known, *problems]]
    if not kept:
        problems = [Problem("space", "empty", "no key is of a step that the run has and is not set already")]
    if problems:
        raise ConfigError(problems)
    return Space(kept, settings)


def _is_read(key: str, run: Config) -> bool:
    section = key.partition(".")[0]
    return section not in STEPS or section in run.steps
