"""Training of a model whose weights, gradients and optimizer state are divided among the processes (FSDP2).

PyTorch's ``fully_shard`` (https://pytorch.org/docs/stable/distributed.fsdp.fully_shard.html) is called here and not by
accelerate, which knows it on GPUs alone; over gloo the same code runs on processors. Checkpoints hold whole tensors in
the files of an ordinary one: any number of processes takes them up, sharded or not.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.checkpointing import load_accelerator_state, save_accelerator_state
from accelerate.utils import parse_flag_from_env
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from bigfoot.errors import TrainingError
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.protocol import TrainingObjective

_WEIGHTS, _OPTIMIZER = "model.safetensors", "optimizer.bin"


@cache
def is_launched_sharded() -> bool:
    """Return whether ``accelerate launch --use_fsdp`` asked for it; accelerate is not to do the same once more."""
    wanted: bool = parse_flag_from_env("ACCELERATE_USE_FSDP")
    os.environ.pop("ACCELERATE_USE_FSDP", None)
    return wanted


def shard(objective: TrainingObjective, name: str, parts: Iterable[object], precision: str) -> Sharding:
    """Divide the weights of a training among its processes.

    Args:
        objective: on its device; sharded in place.
        name: of the training.
        parts: loop and hooks, each of which has to work with a part of each weight.
        precision: of the training.

    Raises:
        TrainingError: one of them does not, or the precision.
    """
    whole = [type(each).__name__ for each in parts if not getattr(each, "can_shard", False)]
    if whole or precision == "fp16":
        raise TrainingError(f"{name}: weights cannot be sharded with {' and '.join(whole) or 'fp16'}")
    return Sharding(objective)


class Sharding:
    """A sharded objective, and a whole copy of its student to evaluate and to save.

    Transformer layers are gathered one by one where they are run, all else for the whole step.

    Args:
        objective: on its device; sharded in place.
    """

    def __init__(self, objective: TrainingObjective) -> None:
        student = cast(BigfootForCTC, objective.student)
        self.whole = copy.deepcopy(student)
        self._objective = cast(nn.Module, objective)
        # A table of position biases belongs to one layer and is read by all.
        layers = () if student.config.has_position_bias else student.speech_encoder.encoder.layers
        for layer in layers:
            fully_shard(layer)
        fully_shard(self._objective)

    @property
    def _student(self) -> BigfootForCTC:
        return cast(BigfootForCTC, cast(TrainingObjective, self._objective).student)

    def gather_(self) -> BigfootForCTC:
        """Copy the weights into the whole student; every process has to call it.

        Returns:
            The whole student.
        """
        self.whole.load_state_dict(_whole(self._student.state_dict()))
        return self.whole

    def anchor(self) -> Tensor:
        """Return 0, by way of the mask embedding, which a batch without masks would leave without a gradient.

        Gradients are summed over processes as one tensor: all must have those of the same weights.
        """
        embedding = self._student.speech_encoder.masked_spec_embed
        return torch.zeros(()) if embedding is None else embedding.sum() * 0.0

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Keep gradients in this process while the block runs, to be summed with later ones.

        Yields:
            Nothing.
        """
        root = cast(FSDPModule, self._objective)
        root.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            root.set_requires_gradient_sync(True)

    def save_state(self, accelerator: Accelerator, optimizer: Any, scheduler: Any, folder: Path) -> None:  # noqa: ANN401
        """Write what ``Accelerator.save_state`` writes of a model that is not sharded.

        Args:
            accelerator: of this process.
            optimizer: of the sharded weights.
            scheduler: of the optimizer.
            folder: of the checkpoint.
        """
        weights, state = _whole(self._objective.state_dict()), _whole(optimizer.state_dict())
        whole = type("Gathered", (), {"state_dict": lambda _: state})()
        save_accelerator_state(
            str(folder), [weights] if accelerator.is_main_process else [], [whole], [scheduler], [],
            accelerator.process_index, accelerator.step,
        )  # fmt: skip

    def load_state(self, accelerator: Accelerator, optimizer: Any, scheduler: Any, folder: Path) -> None:  # noqa: ANN401
        """Take up a checkpoint, sharded or not.

        Args:
            accelerator: of this process.
            optimizer: of the sharded weights.
            scheduler: of the optimizer.
            folder: of the checkpoint.
        """
        here = self._objective.state_dict()
        found = load_file(str(folder / _WEIGHTS))
        if unknown := found.keys() - here.keys():
            raise ValueError(f"{_WEIGHTS} does not fit the model: {', '.join(sorted(unknown)[:5])}")
        with torch.no_grad():
            for name, tensor in found.items():
                here[name].copy_(_like(here[name], tensor))
        state = torch.load(folder / _OPTIMIZER, weights_only=True, map_location="cpu")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state["state"] = {
            index: {key: _like(parameters[index], value) if key != "step" else value for key, value in values.items()}
            for index, values in state["state"].items()
        }
        optimizer.load_state_dict(state)
        load_accelerator_state(str(folder), [], [], [scheduler], [], accelerator.process_index)


def _whole(state: Any) -> Any:  # noqa: ANN401 - a tree of tensors
    return tree_map(lambda each: each.full_tensor() if isinstance(each, DTensor) else each, state)


def _like(target: Tensor, tensor: Tensor) -> Tensor:
    """Divide a tensor as another one is."""
    if not isinstance(target, DTensor):
        return tensor.to(target.device)
    # Every process has read the file.
    placed = tensor.to(target.device_mesh.device_type)
    return distribute_tensor(placed, target.device_mesh, target.placements, src_data_rank=None)
