"""Registry of steps: one line per step, built-in or from a user's module."""

from __future__ import annotations

from dataclasses import dataclass

from bigfoot.compress.settings import Prune, Quantize, StudentConfig
from bigfoot.config import Registry
from bigfoot.config.reading import check_section
from bigfoot.tasks.settings import TrainTaskConfig
from bigfoot.training.distilling import DistillConfig, GatesConfig
from bigfoot.training.finetuning import FinetuneConfig
from bigfoot.training.quantizing import QatConfig
from bigfoot.training.supernet_settings import SupernetConfig


@dataclass(frozen=True)
class StepEntry:
    """Registered step, as the configuration needs it.

    Args:
        settings: dataclass of its section.
        made_by: subclass of ``bigfoot.pipeline.steps.step.Step``, or its ``module:name``, imported on first use.
    """

    settings: type
    made_by: type | str


STEPS: Registry[StepEntry] = Registry("step")
"""All steps, in the order of help texts and messages."""


def register_step(name: str, settings: type, made_by: type | str) -> None:
    """Register a step under the name that ``steps``, its section of the configuration and its folder use.

    Args:
        name: a unique identifier.
        settings: dataclass of its section, every field with a default.
        made_by: see ``StepEntry``.

    Raises:
        BigfootError: the name is taken, or the dataclass cannot be a section of a configuration.
    """
    check_section(settings)
    maker = made_by if isinstance(made_by, str) else f"{made_by.__module__}:{made_by.__qualname__}"
    STEPS.add(name, StepEntry(settings, made_by), f"{settings.__module__}.{settings.__qualname__} of {maker}")


def list_stages() -> list[str]:
    """List the stages after which a run can stop; for a repeated step, after its last occurrence.

    Examples:
        >>> list_stages()[:3]
        ['data', 'teacher', 'student']
    """
    return ["data", "teacher", *STEPS, "report"]


register_step("student", StudentConfig, "bigfoot.pipeline.steps.student:StudentStep")
register_step("prune", Prune, "bigfoot.pipeline.steps.prune:PruneStep")
register_step("gates", GatesConfig, "bigfoot.pipeline.steps.gates:GatesStep")
register_step("distill", DistillConfig, "bigfoot.pipeline.steps.distill:DistillStep")
register_step("supernet", SupernetConfig, "bigfoot.pipeline.steps.supernet:SupernetStep")
register_step("finetune", FinetuneConfig, "bigfoot.pipeline.steps.finetune:FinetuneStep")
register_step("train_task", TrainTaskConfig, "bigfoot.pipeline.steps.train_task:TrainTaskStep")
register_step("qat", QatConfig, "bigfoot.pipeline.steps.qat:QatStep")
register_step("quantize", Quantize, "bigfoot.pipeline.steps.quantize:QuantizeStep")
