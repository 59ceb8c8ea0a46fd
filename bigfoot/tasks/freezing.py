"""Freezing by layer number, range or module name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from bigfoot.config import Problem
from bigfoot.data.batches import Batch
from bigfoot.distill.losses import LossSum
from bigfoot.distill.objective import Objective
from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.lora import find_maps
from bigfoot.models.reshape import reshape_config
from bigfoot.training.hooks import TrainingHook

_LAYERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")


def find_frozen(model: BigfootForCTC, names: Sequence[str]) -> dict[str, nn.Parameter]:
    """Find the parameters that names mean.

    Args:
        model: with an encoder.
        names: ``feature_encoder``, ``feature_projection``, ``encoder``, ``layers.3``, ``layers.0-7``, or the name of
            any module below the encoder, such as ``encoder.pos_conv_embed``.

    Returns:
        Parameters by name.

    Raises:
        ModelError: a name means nothing in this model.
    """
    modules = [module for name in names for module in _find_modules(model, name)]
    # Prompts are there to learn in the place of what is frozen.
    chosen = {id(parameter) for module in modules for parameter in module.parameters()}
    chosen.discard(id(model.speech_encoder.prompts))
    return {name: parameter for name, parameter in model.named_parameters() if id(parameter) in chosen}


def find_name_problems(names: Sequence[str], maps: Sequence[str], config: BigfootConfig) -> Iterator[Problem]:
    """Check what is to be frozen, and what is to have adapters, before there is a model.

    Args:
        names: see ``find_frozen``.
        maps: linear maps of the layers that are to have adapters.
        config: shape of the model.
    """
    with torch.device("meta"):
        # Adapters that are there are merged when the model is loaded.
        model = BigfootForCTC(reshape_config(config, lora=None))
    layers = model.speech_encoder.encoder.layers
    for name in names:
        try:
            _find_modules(model, name)
        except ModelError as error:
            code = "out_of_range" if _LAYERS.fullmatch(name) else "unknown_word"
            yield Problem("train_task.freeze", code, str(error).removeprefix("freeze: "))
    known = find_maps(layers)
    for name in sorted(set(maps) - known):
        there = ", ".join(sorted(known)) or "none"
        message = f"no layer has a linear map {name!r}; there are {there}"
        yield Problem("train_task.lora_modules", "unknown_word", message)


def _find_modules(model: BigfootForCTC, name: str) -> list[nn.Module]:
    encoder = model.speech_encoder
    if name == "encoder":
        # The whole of it: who freezes the encoder trains the head alone.
        return [encoder]
    if match := _LAYERS.fullmatch(name):
        first = int(match[1])
        last, count = int(match[2] or first), len(encoder.encoder.layers)
        if not first <= last < count:
            raise ModelError(f"freeze: {name!r} is out of the encoder's layers 0-{count - 1}")
        return [encoder.encoder.layers[index] for index in range(first, last + 1)]
    parts = {**model.parts(), **dict(encoder.named_modules())}
    if name not in parts or not name:
        known = ", ".join(part for part in model.parts() if part != "task_head")
        raise ModelError(f"freeze: the model has no {name!r}; name {known}, layers.0-7, or a module of the encoder")
    return [parts[name]]


class OwnRates(TrainingHook):
    """Gives adapters and prompts learning rates of their own: ``adapters`` and ``prompts``.

    Args:
        model: with what there is of them.
    """

    def __init__(self, model: BigfootForCTC) -> None:
        self._model = model

    def inner_parts(self) -> dict[str, nn.Module]:
        """See ``TrainingHook``."""
        encoder = self._model.speech_encoder
        adapters = [part for name, part in encoder.named_modules() if name.endswith((".lora_A", ".lora_B"))]
        found: dict[str, nn.Module] = {"adapters": nn.ModuleList(adapters)} if adapters else {}
        return found if encoder.prompts is None else {**found, "prompts": nn.ParameterList([encoder.prompts])}


class FrozenParts(TrainingHook):
    """Keeps parameters as they are, to the bit, for all steps or the first ones.

    Args:
        parameters: that do not learn.
        unfreeze_at: step from which they learn; None for never.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], unfreeze_at: int | None = None) -> None:
        self._parameters, self._unfreeze_at = list(parameters), unfreeze_at
        if unfreeze_at is None:
            for parameter in self._parameters:
                # No gradient is computed for what never learns.
                parameter.requires_grad_(False)

    def before_clip_(self, student: BigfootForCTC, step: int) -> None:
        """See ``TrainingHook``."""
        if self._unfreeze_at is None or step < self._unfreeze_at:
            # Dropped rather than disabled until then, so that all devices agree on which parameters have one. Without
            # a gradient, AdamW neither moves nor decays a parameter.
            for parameter in self._parameters:
                parameter.grad = None


class RestingEncoder(Objective):
    """An objective whose student's encoder does not learn: it runs without dropout, as in use."""

    def forward(self, batch: Batch, masks: dict[str, Tensor]) -> dict[str, LossSum]:
        """See ``Objective``."""
        self.student.speech_encoder.eval()
        return super().forward(batch, masks)


def describe_trainable(model: nn.Module, frozen: Sequence[nn.Parameter]) -> str:
    """Count what learns.

    Args:
        model: any model.
        frozen: parameters of it that do not learn.

    Examples:
        >>> layer = nn.Linear(2, 3)
        >>> describe_trainable(layer, [layer.bias])
        '6 of 9 parameters learn (66.7 %)'
    """
    total = sum(parameter.numel() for parameter in model.parameters())
    learns = total - sum(parameter.numel() for parameter in frozen)
    return f"{learns:,} of {total:,} parameters learn ({learns / max(1, total):.1%})".replace("%)", " %)")
