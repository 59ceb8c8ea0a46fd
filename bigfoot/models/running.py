"""How layers are run in training: activations kept or computed again, by PyTorch's operators or compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Compiled = Callable[..., Any]


@dataclass(frozen=True)
class LayerRunner:
    """Runs one layer after the other.

    Args:
        recomputes: in training, keep the input of each layer alone, and compute what is between again in the backward
            pass (Chen et al., 2016, "Training Deep Nets with Sublinear Memory Cost"); random numbers are the same.
        compiled: runs a layer with its arguments in place of its own call; None to call it.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> LayerRunner(recomputes=True)(layer, torch.ones(1, 2)).shape
        torch.Size([1, 2])
    """

    recomputes: bool = False
    compiled: Compiled | None = None

    def __call__(self, layer: nn.Module, *arguments: Any) -> Any:  # noqa: ANN401 - what the layer returns
        """Run a layer.

        Args:
            layer: of a model.
            arguments: of its call.
        """
        # A compiled layer does not know of hooks that came after it.
        compiles = self.compiled is not None and not torch.compiler.is_compiling() and not _is_hooked(layer)
        call: Callable[..., Any] = _Compiled(self.compiled, layer) if compiles and self.compiled is not None else layer
        if self.recomputes and layer.training and torch.is_grad_enabled():
            return checkpoint(call, *arguments, use_reentrant=False)
        return call(*arguments)


@dataclass(frozen=True)
class _Compiled:
    compiled: Compiled
    layer: nn.Module

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401
        return self.compiled(self.layer, *arguments)


def _is_hooked(layer: nn.Module) -> bool:
    return any(module._forward_hooks or module._forward_pre_hooks for module in layer.modules())


class RunsLayers(nn.Module):
    """A module that runs layers, in a way that a training may change.

    Attributes:
        compiles: whether its layers are worth compiling.
    """

    runner = LayerRunner()
    compiles = False


def _find(model: nn.Module) -> Iterator[RunsLayers]:
    yield from (module for module in model.modules() if isinstance(module, RunsLayers))


def set_runner_(model: nn.Module, runner: LayerRunner) -> int:
    """Change how the layers of a model are run; its tensors and their names stay as they are.

    Args:
        model: changed in place.
        runner: for all of its layers.

    Returns:
        Number of modules that run layers; 0 of an encoder of another kind.
    """
    found = list(_find(model))
    for module in found:
        module.runner = runner if module.compiles else replace(runner, compiled=None)
    return len(found)


def recomputes(model: nn.Module) -> bool:
    """Return whether layers of a model are run again in the backward pass."""
    return any(module.runner.recomputes for module in _find(model))
