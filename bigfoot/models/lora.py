"""Low-rank adapters on the encoder's layers (Hu et al., 2021), by peft: put there, and merged into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.text.json_fields import Whole, quote

_RANK = Whole(1, 2**12)


def lora_problems(raw: object) -> Iterator[str]:
    """Explain why the field ``lora`` of a configuration cannot be built.

    Args:
        raw: the field.

    Yields:
        One sentence a problem.
    """
    if not isinstance(raw, dict) or raw.keys() != {"rank", "modules"}:
        yield f"lora {quote(raw)} should hold rank and modules"
        return
    if problem := _RANK.problem("lora.rank", raw["rank"]):
        yield problem
    names = raw["modules"]
    if not isinstance(names, list) or not 0 < len(names) < 100 or not all(isinstance(each, str) for each in names):
        yield f"lora.modules {quote(names)} should list names of linear maps, such as [q_proj, v_proj]"


def find_maps(layers: nn.ModuleList) -> set[str]:
    """Return the names of the linear maps of layers, such as ``q_proj``.

    Args:
        layers: of an encoder.
    """
    return {name.rpartition(".")[2] for name, module in layers.named_modules() if isinstance(module, nn.Linear)}


def inject_adapters_(layers: nn.ModuleList, rank: int, modules: Sequence[str]) -> None:
    """Put adapters on linear maps of layers; they start as no change.

    Args:
        layers: changed in place.
        rank: of each adapter.
        modules: names of linear maps, such as ``q_proj``.

    Raises:
        ModelError: no layer has such a map.
        MissingExtraError: ``peft`` is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("tasks", "peft") from error
    known = find_maps(layers)
    if unknown := sorted(set(modules) - known):
        there = ", ".join(sorted(known)) or "none"
        raise ModelError(f"lora_modules: no layer has a linear map {quote(unknown[0])}; there are {there}")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(modules)), layers)


def merge_adapters_(layers: nn.ModuleList) -> None:
    """Add adapters to the weights of their maps, and take them away.

    Args:
        layers: of ``inject_adapters_``; changed in place.
    """
    try:
        from peft.tuners.lora import LoraLayer
    except ImportError as error:
        raise MissingExtraError("tasks", "peft") from error
    for name, module in list(layers.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()  # type: ignore[attr-defined]
            parent, _, child = name.rpartition(".")
            setattr(layers.get_submodule(parent), child, module.get_base_layer())


def inject_configured_(layers: nn.ModuleList, lora: dict[str, Any] | None) -> None:
    """Put adapters where a configuration has them; see ``inject_adapters_``."""
    if lora is not None:
        inject_adapters_(layers, lora["rank"], lora["modules"])
