"""Low-rank adapters on the encoder (Hu et al., 2021), by peft; merged into the weights whenever a model is saved."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from bigfoot.distill.objective import Objective
from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.models.ctc import BigfootForCTC


def add_adapters_(model: BigfootForCTC, rank: int, modules: Sequence[str]) -> list[nn.Parameter]:
    """Put adapters on linear maps of the encoder; they start as no change.

    Args:
        model: changed in place.
        rank: of each adapter.
        modules: names of linear maps in the layers, such as ``q_proj``.

    Returns:
        The encoder's own parameters, which are to be frozen.

    Raises:
        ModelError: no layer has such a map.
        MissingExtraError: ``peft`` is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("tasks", "peft") from error
    encoder = model.speech_encoder
    own = list(encoder.parameters())
    known = {name.rpartition(".")[2] for name, module in encoder.encoder.layers.named_modules()
             if isinstance(module, nn.Linear)}  # fmt: skip
    if unknown := sorted(set(modules) - known):
        there = ", ".join(sorted(known))
        raise ModelError(f"lora_modules: no layer has a linear map {unknown[0]!r}; there are {there}")
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(modules))
    inject_adapter_in_model(config, encoder.encoder.layers)
    return own


class AdaptedObjective(Objective):
    """An objective whose student has adapters: what is saved is the same model without them."""

    def deployed(self) -> BigfootForCTC:
        """Return a copy of the student with its adapters merged into the weights."""
        return merge_adapters(self.student)


def merge_adapters(model: BigfootForCTC) -> BigfootForCTC:
    """Copy a model, with its adapters merged into the weights.

    Args:
        model: of ``add_adapters_``; left as it is.

    Returns:
        A model of the same shape and without adapters, in eval mode.
    """
    from peft.tuners.lora import LoraLayer

    merged = copy.deepcopy(model)
    layers = merged.speech_encoder.encoder.layers
    for name, module in list(layers.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()  # type: ignore[attr-defined]
            parent, _, child = name.rpartition(".")
            setattr(layers.get_submodule(parent), child, module.get_base_layer())
    return merged.requires_grad_(True).eval()
