"""How the layers of a training's models are run: compiled or not, with activations kept or computed again."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import nn

from bigfoot.errors import TrainingError
from bigfoot.models.running import LayerRunner, set_runner_
from bigfoot.training.protocol import TrainingObjective
from bigfoot.training.settings import TrainConfig

log = logging.getLogger("bigfoot")

_PAYS = 5000
"""Steps from which compiling, of about a minute, is repaid on a GPU."""
_GRAPHS = 64
"""Most graphs of one kind of layer: pruned layers each have their own number of heads, and a model is run in training
and in evaluation. What is beyond is run by PyTorch's operators."""


def find_missing_compiler(device: torch.device) -> str | None:
    """Return what ``torch.compile`` lacks on this machine; None where nothing is known to be missing.

    Args:
        device: of the training.
    """
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "the package triton"
    compilers = [name for name in (os.environ.get("CXX"), "g++", "clang++", "cl") if name]
    if not any(shutil.which(name) for name in compilers):
        return f"a C++ compiler (searched for {', '.join(compilers)})"
    return None


def _run(layer: nn.Module, *arguments: Any) -> Any:  # noqa: ANN401
    return layer(*arguments)


class CompiledLayers:
    """Runs layers by ``torch.compile``, with lengths and batch sizes left open: one graph for all layers of a shape.

    Compiled code is cached on the disk by PyTorch (``TORCHINDUCTOR_CACHE_DIR``), and found again in the next run.

    Args:
        backend: of ``torch.compile``.
        must: whether a compiler that fails ends the training; otherwise layers are run as they are from then on.

    Examples:
        >>> CompiledLayers("eager", must=True)(nn.Identity(), torch.ones(1))
        tensor([1.])
    """

    def __init__(self, backend: str, *, must: bool) -> None:
        torch._dynamo.config.recompile_limit = max(_GRAPHS, torch._dynamo.config.recompile_limit)
        self._call = torch.compile(_run, dynamic=True, backend=backend)
        self._must, self.failed = must, False

    def __call__(self, layer: nn.Module, *arguments: Any) -> Any:  # noqa: ANN401 - what the layer returns
        """Run a layer."""
        if self.failed:
            return layer(*arguments)
        try:
            return self._call(layer, *arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            if self._must:
                raise TrainingError(f"torch.compile failed ({reason}); set compile=off, or auto") from error
            log.warning("torch.compile failed (%s); layers are not compiled", reason)
            self.failed = True
            return layer(*arguments)


def choose_compiled(config: TrainConfig, device: torch.device, name: str) -> CompiledLayers | None:
    """Return what runs compiled layers; None where they are not compiled.

    Args:
        config: of the training.
        device: of the training.
        name: of the training, for the log.

    Raises:
        TrainingError: ``compile`` is ``on``, and this machine has no compiler.
    """
    if config.compile == "off" or (config.compile == "auto" and (device.type != "cuda" or config.max_steps < _PAYS)):
        return None
    missing = find_missing_compiler(device)
    if missing and config.compile == "on":
        raise TrainingError(f"{name}: compile=on, and this machine has not {missing}; install it, or set compile=auto")
    if missing:
        log.info("%s: layers are not compiled: this machine has not %s", name, missing)
        return None
    return CompiledLayers("inductor", must=config.compile == "on")


def set_execution_(objective: TrainingObjective, config: TrainConfig, device: torch.device, name: str) -> None:
    """Have the models of a training run as its settings want; tensors and their names stay as they are.

    Args:
        objective: its student and teachers are changed.
        config: of the training.
        device: of the training.
        name: of the training, for the log.

    Raises:
        TrainingError: see ``choose_compiled``; or the student's layers are of another kind.
    """
    compiled = choose_compiled(config, device, name)
    found = set_runner_(objective.student, LayerRunner(config.checkpoint_activations, compiled))
    if not found and (config.checkpoint_activations or config.compile == "on"):
        wanted = "checkpoint_activations" if config.checkpoint_activations else "compile=on"
        raise TrainingError(f"{name}: {wanted}, and the layers of this model are of another kind; leave it out")
    for teacher in _teachers(objective):
        set_runner_(teacher, LayerRunner(compiled=compiled))


def reset_execution_(objective: TrainingObjective) -> None:
    """Have the models of a training run as they do outside of one.

    Args:
        objective: its student and teachers are changed.
    """
    for model in [objective.student, *_teachers(objective)]:
        set_runner_(model, LayerRunner())


def _teachers(objective: TrainingObjective) -> Iterable[nn.Module]:
    return cast("Iterable[nn.Module]", getattr(objective, "teachers", []))
