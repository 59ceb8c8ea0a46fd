"""Base class of steps: functions from a saved model to a saved model and its facts, with checks and a row."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from bigfoot.config import Problem
from bigfoot.errors import BigfootError
from bigfoot.pipeline.registry import STEPS

if TYPE_CHECKING:
    from bigfoot.pipeline.context import Context
    from bigfoot.pipeline.facts import StepResult
    from bigfoot.pipeline.plan import Plan
    from bigfoot.pipeline.settings import Config


class Step(ABC):
    """A kind of step; subclasses define how it is checked, run and reported.

    Args:
        name: in the registry, and of its section of the configuration and its folder.
    """

    row: ClassVar[str] = ""
    """Name of its row in the report; empty for the step's name."""
    repeats: ClassVar[bool] = False
    """Whether a run can repeat it."""
    reshapes: ClassVar[bool] = False
    """Whether it changes the model's shape, which is then logged."""
    trains: ClassVar[bool] = False
    """Whether it trains by optimizer steps."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Keys of its section that change nothing in its output, such as where something is kept."""
    untrained: ClassVar[bool] = False
    """Whether its model has not been trained in its current shape."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.row_name = self.row or name

    def section(self, config: Config) -> Any:  # noqa: ANN401 - the dataclass that was registered with it
        """Return its settings.

        Args:
            config: of the run.
        """
        return getattr(config, self.name)

    def check(self, plan: Plan) -> Iterator[Problem]:
        """Check whether it can run, before anything is done.

        Args:
            plan: with the teacher, the source model and the student's shape, as far as they could be resolved.

        Yields:
            Problem by problem.
        """
        yield from ()

    def reads_labels(self, config: Config) -> bool:
        """Return whether it learns from transcripts.

        Args:
            config: of the run.
        """
        return False

    def depends_on(self, context: Context) -> dict[str, Any]:
        """Return everything that determines its output besides its own section and the previous model.

        Args:
            context: of the run.

        Returns:
            Plain values, by the names under which the log reports their change.
        """
        return {"data": context.labels.fingerprint, "other settings": [context.config.seed]}

    def remaining_share(self, config: Config) -> float | None:
        """Return the share of parameters that it keeps; None if its settings do not determine it.

        Args:
            config: of the run.
        """
        return 1.0

    def describe(self, config: Config, precision: str) -> str:
        """Describe training and head of its model, for the protocol column of the report.

        Args:
            config: of the run.
            precision: of the model's weights.
        """
        return f"{self.name}, CTC"

    def describe_after_control(self, precision: str) -> str:
        """Return the same for the control of a run, to follow the prefix of all its rows.

        Args:
            precision: of the model's weights.
        """
        return f"then {self.name}"

    @abstractmethod
    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """Read the model of the previous step, and save a new one in ``result.folder``.

        Args:
            result: receives changes, notes and records.
            before: result of the previous step.
            context: of the run.
            control: disable the teacher's losses.
        """


def get_step(name: str) -> Step:
    """Return a step by its name; its module is imported on first use.

    Raises:
        BigfootError: the name is unknown.

    Examples:
        >>> get_step("student").row_name
        'student_init'
    """
    if name not in STEPS:
        raise BigfootError(f"steps: unknown step {name!r}; steps are {', '.join(STEPS)}")
    return _make(name, STEPS[name].made_by)


@cache
def _make(name: str, made_by: type | str) -> Step:
    if isinstance(made_by, str):
        module, _, attribute = made_by.partition(":")
        made_by = getattr(importlib.import_module(module), attribute)
    step = made_by(name)  # type: ignore[operator]
    assert isinstance(step, Step)
    return step
