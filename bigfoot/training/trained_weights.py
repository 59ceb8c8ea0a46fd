"""Checkpoints of a model that is frozen in part: what does not learn is in the folder that it was loaded from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = "model.safetensors"


def leave_frozen_out(accelerator: Accelerator) -> None:
    """Save and load the weights that learn, and no others, with every checkpoint.

    Whoever resumes must have loaded the frozen ones from where they were: the fingerprint of a run covers it.

    Args:
        accelerator: with one prepared model; one that shards its model keeps all weights.
    """
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        return
    accelerator.register_save_state_pre_hook(_keep_trained)
    accelerator.register_load_state_pre_hook(_load_trained)


def _keep_trained(models: Sequence[nn.Module], weights: Sequence[dict[str, Tensor]], folder: str) -> None:
    for model, state in zip(models, weights, strict=True):
        for name in _frozen(model) & state.keys():
            del state[name]


def _load_trained(models: list[Any], folder: str) -> None:
    # What is taken from the list accelerate does not load again.
    model = models.pop()
    named = dict(model.named_parameters(remove_duplicate=False))
    found = load_file(str(Path(folder) / WEIGHTS))
    missing, unexpected = model.load_state_dict(found, strict=False)
    # Of weights that are shared one name is written.
    loaded = {id(named[name]) for name in found if name in named}
    lacking = [name for name in missing if name not in _frozen(model) and id(named.get(name)) not in loaded]
    if lacking or unexpected:
        raise ValueError(f"{WEIGHTS} does not fit the model: {', '.join([*lacking, *unexpected][:5])}")


def _frozen(model: nn.Module) -> set[str]:
    return {
        name for name, parameter in model.named_parameters(remove_duplicate=False) if not parameter.requires_grad
    }
