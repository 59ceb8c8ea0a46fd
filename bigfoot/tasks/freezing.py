"""Freezing by layer number, range or module name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from torch import nn

from bigfoot.config import Problem
from bigfoot.errors import ModelError
from bigfoot.models.ctc import BigfootForCTC
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


def find_range_problems(names: Sequence[str], num_layers: int) -> Iterator[Problem]:
    """Check layers by number before there is a model.

    Args:
        names: see ``find_frozen``.
        num_layers: of the encoder.
    """
    for name in names:
        match = _LAYERS.fullmatch(name)
        if match and not int(match[1]) <= int(match[2] or match[1]) < num_layers:
            message = f"{name!r} is out of the encoder's layers 0-{num_layers - 1}"
            yield Problem("train_task.freeze", "out_of_range", message)


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
