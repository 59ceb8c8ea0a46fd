"""Training of a student that computes as its quantized folder and its exported file do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from bigfoot.compress.fake_quant import Int8Input, Int8Weight, PackedWeight, parametrize_
from bigfoot.compress.quantize import Int8Plan, quantizable_layers
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.cache import TeacherCache
from bigfoot.distill.objective import Objective
from bigfoot.distill.registry import LossesConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import with_small_weights
from bigfoot.models.small_state import channel_axes
from bigfoot.models.small_weights import SmallWeights
from bigfoot.training.hooks import TrainingHook

_INPUT = "int8_input"
_WEIGHT = ".parametrizations.weight."


class Rounding:
    """Rounded weights and inputs of a student's layers, with their learned steps.

    Args:
        student: changed in place: its layers compute with rounded numbers from now on.
        small: how the folder will be written; ranges and steps are the first ones.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> student = load_model("tiny_teacher").model
        >>> rounding = Rounding(student, SmallWeights("int8"))
        >>> rounding.deployed().config.precision, student.config.precision
        ('int8', 'float32')
    """

    def __init__(self, student: BigfootForCTC, small: SmallWeights) -> None:
        self.student, self.small = student, small
        self.weights: dict[str, PackedWeight | Int8Weight] = {}
        self.inputs: dict[str, Int8Input] = {}
        for name, layer in quantizable_layers(student).items():
            if small.keeps(name) and not small.computes_int8:
                continue
            if name in small.bits:
                rounded: PackedWeight | Int8Weight = PackedWeight(
                    cast("Tensor", layer.weight), small.bits[name], small.group_size
                )
            else:
                rounded = Int8Weight(channel_axes(f"{name}.weight"))
            self.weights[name] = rounded
            if name in small.ranges:
                self.inputs[name] = Int8Input(*small.ranges[name], fine=name in small.fine)
                self.inputs[name].to(cast("Tensor", layer.weight).device)
                layer.add_module(_INPUT, self.inputs[name])
                layer.register_forward_pre_hook(cast("Callable[..., Any]", _round_input))
            parametrize_(layer, rounded)

    def learned(self) -> nn.ModuleList:
        """Return the modules whose parameters are steps."""
        packed = [each for each in self.weights.values() if isinstance(each, PackedWeight)]
        return nn.ModuleList([*packed, *self.inputs.values()])

    def as_small(self) -> SmallWeights:
        """Return how the folder is written now: with the learned ranges."""
        ranges = {name: each.ends() for name, each in self.inputs.items()}
        small = self.small
        return SmallWeights(small.precision, small.keep_fp32, ranges, small.fine, small.bits, small.group_size)

    def deployed(self) -> BigfootForCTC:
        """Return the quantized model, in eval mode, whose outputs are the student's."""
        plain = BigfootForCTC(self.student.config)
        plain.load_state_dict(_without_rounding(self.student.state_dict()))
        packed = {name: each for name, each in self.weights.items() if isinstance(each, PackedWeight)}
        steps = {name: each.stored_steps().cpu() for name, each in packed.items()}
        return with_small_weights(plain, self.as_small(), steps)


def _round_input(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return cast("Tensor", cast("Any", layer)._modules[_INPUT](given[0])), *given[1:]


def _without_rounding(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names that they have in a student without rounding."""
    found = {}
    for name, tensor in state.items():
        layer, parametrized, kind = name.partition(_WEIGHT)
        if f".{_INPUT}." in name or kind.partition(".")[0].isdigit():
            continue
        # A weight-normalized kernel has two originals, and keeps them.
        found[f"{layer}.weight" if parametrized and kind == "original" else name] = tensor.cpu()
    return found


def first_small(student: BigfootForCTC, plan: Int8Plan, keep_fp32: list[str]) -> SmallWeights:
    """Return how an ``int8_static`` folder is written, with the measured ranges.

    Args:
        student: whose layers they are.
        plan: measured; see ``bigfoot.compress.quantize.calibrate``.
        keep_fp32: see ``SmallWeights``.
    """
    small = SmallWeights("int8_static", tuple(keep_fp32))
    plan = plan.without([name for name in plan.ranges if small.keeps(name)])
    ranges = {name: tuple(ends) for name, ends in plan.ranges.items() if ends is not None}
    return SmallWeights("int8_static", tuple(keep_fp32), ranges, plan.fine & plan.ranges.keys())


class QatObjective(Objective):
    """``Objective`` whose student computes with rounded weights, and inputs where the folder has ranges.

    Steps are parameters of the student's layers, so a checkpoint holds everything needed to resume.

    Args:
        losses: names and weights.
        student: rounded from now on.
        teacher: frozen here, or a cache of its outputs; None if no loss term needs one.
        small: see ``Rounding``.
        bridge: see ``Objective``.
    """

    def __init__(
        self, losses: LossesConfig, student: BigfootForCTC, teacher: BigfootForCTC | TeacherCache | None,
        small: SmallWeights, bridge: Bridge | None = None,
    ) -> None:  # fmt: skip
        super().__init__(losses, student, teacher, bridge)
        self.rounding = Rounding(student, small)

    def forward(self, batch: Any, masks: dict[str, Tensor]) -> Any:  # noqa: ANN401 - as the base
        """See ``Objective``; each weight is rounded once a pass."""
        with torch.nn.utils.parametrize.cached():
            return super().forward(batch, masks)

    def deployed(self) -> BigfootForCTC:
        """See ``Objective``: the quantized model."""
        return self.rounding.deployed()


class StepsHook(TrainingHook):
    """Gives quantization steps their own learning rate.

    Args:
        objective: whose steps they are.
    """

    def __init__(self, objective: QatObjective) -> None:
        self._objective = objective

    def inner_parts(self) -> Mapping[str, nn.Module]:
        """See ``TrainingHook``."""
        return {"steps": self._objective.rounding.learned()}
