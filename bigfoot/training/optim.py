"""AdamW with a learning rate for each part of the model, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bigfoot.training.hooks import TrainingHook
from bigfoot.training.protocol import TrainingObjective
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
    betas = config.adam_betas[0], config.adam_betas[1]
    # Fused: one pass over weights, gradients and averages where there would be ten.
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)


def collect_parts(objective: TrainingObjective, hooks: Sequence[TrainingHook]) -> dict[str, nn.Module]:
    """Return what is trained, by the names that ``learning_rate_factors`` uses, for ``build_optimizer``.

    Args:
        objective: student and losses.
        hooks: of the training.
    """
    parts: dict[str, nn.Module] = {name: part for hook in hooks for name, part in hook.inner_parts().items()}
    parts |= {**objective.student.parts(), "projections": objective.projections}
    parts |= {name: part for hook in hooks for name, part in hook.parts().items()}
    return parts | {"rest": objective.student}


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


class Schedule:
    """Factor of the learning rate at a step: linear warm-up, hold, then linear, cosine, constant or on plateaus.

    ``plateau`` follows dev, so its state belongs into checkpoints: it is in the attributes, which ``LambdaLR`` saves.

    Args:
        config: kind and length of the schedule.

    Examples:
        >>> factor = Schedule(TrainConfig(max_steps=10, warmup_steps=2, schedule="linear"))
        >>> [round(factor(step), 3) for step in (0, 1, 2, 9)]
        [0.5, 1.0, 1.0, 0.125]
    """

    def __init__(self, config: TrainConfig) -> None:
        self.kind, self.warm, self.held = config.schedule, config.warmup_steps, config.warmup_steps + config.hold_steps
        self.whole = config.max_steps - self.held
        self.patience, self.lowers_by = config.plateau_patience, config.plateau_factor
        self.best: float | None = None
        self.waited, self.reached = 0, 1.0

    def __call__(self, step: int) -> float:
        """Return the factor in [0, 1] after so many steps; never 0 at the first one."""
        if step < self.warm:
            return (step + 1) / self.warm
        done = min(1.0, max(0, step - self.held) / max(1, self.whole))
        if self.kind == "linear":
            return 1.0 - done
        return 0.5 * (1.0 + math.cos(math.pi * done)) if self.kind == "cosine" else self.reached

    def take_dev(self, error: float | None) -> None:
        """Lower the rate of ``plateau`` where dev has not improved for ``plateau_patience`` evaluations.

        Args:
            error: on dev; None, where it has no score, counts as no improvement.
        """
        if self.kind != "plateau":
            return
        if error is not None and (self.best is None or error < self.best):
            self.best, self.waited = error, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.waited, self.reached = 0, self.reached * self.lowers_by


def build_scheduler(optimizer: torch.optim.Optimizer, schedule: Schedule) -> LambdaLR:
    """Wrap a schedule for the optimizer."""
    return LambdaLR(optimizer, schedule)
