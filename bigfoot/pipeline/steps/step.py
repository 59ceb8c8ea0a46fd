"""What a step is: a function from a saved model to a saved model and its facts, with its check and its row."""

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
    """One kind of step; subclasses say how it is checked, run and reported.

    Args:
        name: under which it is registered; its section of the configuration and its folder are called so.
    """

    row: ClassVar[str] = ""
    """Name of its row in the report; that of the step where empty."""
    repeats: ClassVar[bool] = False
    """Whether a run can have it several times."""
    reshapes: ClassVar[bool] = False
    """Whether the model has another shape after it, which the log then compares."""
    trains: ClassVar[bool] = False
    """Whether it trains by optimizer steps."""
    untrained: ClassVar[bool] = False
    """Whether its model has not been trained in the shape that it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.row_name = self.row or name

    def section(self, config: Config) -> Any:  # noqa: ANN401 - the dataclass that was registered with it
        """Its settings.

        Args:
            config: of the run.
        """
        return getattr(config, self.name)

    def check(self, plan: Plan) -> Iterator[Problem]:
        """Find what keeps it from being run, before anything is done.

        Args:
            plan: with the teacher, the source model and the student's shape, as far as they could be found.

        Yields:
            Problem by problem.
        """
        yield from ()

    def reads_labels(self, config: Config) -> bool:
        """Whether it learns from transcripts.

        Args:
            config: of the run.
        """
        return False

    def depends_on(self, context: Context) -> dict[str, Any]:
        """What decides its output besides its own section and the model before it.

        Args:
            context: of the run.

        Returns:
            Plain values, named as the log names them where they changed.
        """
        return {"data": context.labels.fingerprint, "other settings": [context.config.seed]}

    def remaining_share(self, config: Config) -> float | None:
        """Share of the parameters that it leaves; None where its settings do not say.

        Args:
            config: of the run.
        """
        return 1.0

    def describe(self, config: Config, precision: str) -> str:
        """How its model came to be and what transcribes, for the protocol column of the report.

        Args:
            config: of the run.
            precision: of the model's weights.
        """
        return f"{self.name}, CTC"

    def describe_after_control(self, precision: str) -> str:
        """The same in the control of a run, after what all of its rows begin with.

        Args:
            precision: of the model's weights.
        """
        return f"then {self.name}"

    @abstractmethod
    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """Read the model of the step before, and save another in ``result.folder``.

        Args:
            result: gets changes, notes and records.
            before: what the step before left.
            context: of the run.
            control: leave the teacher's losses out.
        """


def get_step(name: str) -> Step:
    """Fetch a step by its name; its module is imported when it is first asked for.

    Raises:
        BigfootError: there is none.

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
