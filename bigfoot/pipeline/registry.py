"""The steps by name: one line a step, built-in or of a user's module."""

from __future__ import annotations

from dataclasses import dataclass

from bigfoot.compress.settings import Prune, Quantize, StudentConfig
from bigfoot.config import Registry
from bigfoot.training.distilling import DistillConfig, GatesConfig
from bigfoot.training.finetuning import FinetuneConfig


@dataclass(frozen=True)
class StepEntry:
    """What a configuration needs to know of a step before anything is run.

    Args:
        settings: dataclass of its section.
        made_by: subclass of ``bigfoot.pipeline.steps.step.Step``, or ``module:name`` of it, imported when first used.
    """

    settings: type
    made_by: type | str


STEPS: Registry[StepEntry] = Registry("step")
"""All steps, in the order in which help and messages list them."""


def register_step(name: str, settings: type, made_by: type | str) -> None:
    """Give a step its name: in ``steps``, as a section of the configuration, and as its folder in a run.

    Args:
        name: an identifier that no other step has.
        settings: dataclass of its section, every field with a default.
        made_by: see ``StepEntry``.

    Raises:
        BigfootError: there is another step of that name.
    """
    STEPS.add(name, StepEntry(settings, made_by), f"{settings.__module__}.{settings.__qualname__}")


def list_stages() -> list[str]:
    """Where a run can be told to stop; of a step that is taken several times, after the last.

    Examples:
        >>> list_stages()[:3]
        ['data', 'teacher', 'student']
    """
    return ["data", "teacher", *STEPS, "report"]


register_step("student", StudentConfig, "bigfoot.pipeline.steps.student:StudentStep")
register_step("prune", Prune, "bigfoot.pipeline.steps.prune:PruneStep")
register_step("gates", GatesConfig, "bigfoot.pipeline.steps.gates:GatesStep")
register_step("distill", DistillConfig, "bigfoot.pipeline.steps.distill:DistillStep")
register_step("finetune", FinetuneConfig, "bigfoot.pipeline.steps.finetune:FinetuneStep")
register_step("quantize", Quantize, "bigfoot.pipeline.steps.quantize:QuantizeStep")
