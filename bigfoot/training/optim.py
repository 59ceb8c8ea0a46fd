"""AdamW with a learning rate for each part of the model, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bigfoot.training.settings import TrainConfig


def build_optimizer(parts: Mapping[str, nn.Module], config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov & Hutter, 2019) with a group for every part and kind of parameter.

    Args:
        parts: modules by the names that ``learning_rate_factors`` uses; they share no parameters but those counted
            with the first part that has them.
        config: learning rates, decay, averaging.

    Returns:
        The optimizer. Matrices and kernels decay; biases, norms and other vectors do not.
    """
    seen: set[int] = set()
    groups: list[dict[str, Any]] = []
    depths = _find_depths(parts) if config.layer_decay != 1 else {}
    for name, module in parts.items():
        fresh = [p for p in module.parameters() if id(p) not in seen]
        seen.update(id(p) for p in fresh)
        rate = config.learning_rate * config.learning_rate_factors.get(name, 1.0)
        for depth in sorted({depths.get(id(p), 0) for p in fresh}):
            level = [p for p in fresh if depths.get(id(p), 0) == depth]
            for decay, chosen in (
                (config.weight_decay, [p for p in level if p.ndim > 1]),
                (0.0, [p for p in level if p.ndim <= 1]),
            ):
                if chosen:
                    slower = rate * config.layer_decay**depth
                    groups.append({"params": chosen, "lr": slower, "weight_decay": decay, "name": name})
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.adam_betas[0], config.adam_betas[1]))


def _find_depths(parts: Mapping[str, nn.Module]) -> dict[int, int]:
    """Return how many encoder layers are above each parameter of the encoder, by the parameter's id."""
    layers = list(getattr(parts.get("encoder"), "layers", []))
    depths: dict[int, int] = {}
    for name in ("feature_encoder", "feature_projection", "encoder"):
        if name in parts:
            depths |= {id(parameter): len(layers) for parameter in parts[name].parameters()}
    for index, layer in enumerate(layers):
        depths |= {id(parameter): len(layers) - 1 - index for parameter in layer.parameters()}
    return depths


def schedule_factor(config: TrainConfig) -> Callable[[int], float]:
    """The learning rate's factor at a step: linear warm-up, then linear, cosine, or constant.

    Args:
        config: kind and length of the schedule.

    Returns:
        A function from steps done, 0-based, to a factor in [0, 1]; never 0 at the first step.

    Examples:
        >>> factor = schedule_factor(TrainConfig(max_steps=10, warmup_steps=2, schedule="linear"))
        >>> [round(factor(step), 3) for step in (0, 1, 2, 9)]
        [0.5, 1.0, 1.0, 0.125]
    """
    warm, whole = config.warmup_steps, max(1, config.max_steps - config.warmup_steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        done = min(1.0, (step - warm) / whole)
        if config.schedule == "linear":
            return 1.0 - done
        return 0.5 * (1.0 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1.0

    return factor


def build_scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig) -> LambdaLR:
    """Wrap ``schedule_factor`` for the optimizer."""
    return LambdaLR(optimizer, schedule_factor(config))
