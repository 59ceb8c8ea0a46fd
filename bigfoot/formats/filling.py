"""Building a model around the weights of a file, with no second copy of them in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.finite import find_non_finite

_MOST_FAULTS = 40
_DRAWN = frozenset({
    "uniform_", "normal_", "trunc_normal_", "zero_", "zeros_", "ones_", "fill_", "constant_", "kaiming_uniform_",
    "kaiming_normal_", "xavier_uniform_", "xavier_normal_",
})  # fmt: skip


class _Undrawn(TorchFunctionMode):
    """Leaves parameters as their memory is: where they are about to be replaced, nothing is drawn and no page used."""

    def __torch_function__(
        self, func: Callable[..., Any], _types: object, args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - of any function of torch's  # fmt: skip
        given = kwargs or {}
        # torch.nn.init names its tensor.
        target = args[0] if args else given.get("tensor")
        if isinstance(target, nn.Parameter) and getattr(func, "__name__", "") in _DRAWN:
            return target
        return func(*args, **given)


def in_fp32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors of any floating point to fp32; counters, and whatever else is none, stay as they are.

    Args:
        tensors: by name.
    """
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def fill_model(config: BigfootConfig, tensors: dict[str, Tensor], source: str) -> BigfootForCTC:
    """Build a model of weights, after a check that they are its own: a configuration may claim any size.

    The tensors given become the model's own where they are fp32, so that there is one copy of them.

    Args:
        config: the shape.
        tensors: every weight, by name; not to be used afterwards.
        source: where they come from, for messages.

    Returns:
        The model in eval mode.

    Raises:
        ModelError: tensors are missing, left over or of another shape; the first 40 are listed.
    """
    with torch.device("meta"):
        tensors = _fit(BigfootForCTC(config), tensors, source)
    with _Undrawn():
        model = BigfootForCTC(config)
    wanted = model.state_dict()
    shared = model.get_expanded_tied_weights_keys(all_submodels=True)
    tied = set(shared) | set(shared.values())
    with torch.no_grad():
        # Parameters that are one stay one: they are filled, the others replaced.
        model.load_state_dict({name: tensors[name] for name in tied}, strict=False)
        own = {name: _own(tensors[name], tensor) for name, tensor in wanted.items() if name not in tied}
        model.load_state_dict(own, strict=False, assign=True)
    return model.eval()


def _own(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Return a tensor of the wanted kind that shares its memory with no other."""
    kept = tensor.to(wanted.dtype).contiguous()
    alone = kept.untyped_storage().nbytes() == kept.numel() * kept.element_size()
    return kept if alone else kept.clone()


def _fit(model: BigfootForCTC, tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return every tensor of a model, the shared ones too, or list what does not fit."""
    wanted = model.state_dict()
    shared = model.get_expanded_tied_weights_keys(all_submodels=True)
    tensors = {**{name: tensors[owner] for name, owner in shared.items() if owner in tensors}, **tensors}
    faults = [f"missing {name}" for name in wanted if name not in tensors]
    faults += [f"left over {name}" for name in tensors if name not in wanted]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    # Copied as they are, the integers of another library's quantization would be weights without their scales; in eight
    # bytes nobody quantizes.
    faults += [
        f"{name} holds {str(tensors[name].dtype).removeprefix('torch.')}, expected floating point"
        for name, tensor in wanted.items()
        if name in tensors and tensor.is_floating_point() and not _holds_values(tensors[name])
    ]
    faults += find_non_finite({name: tensor for name, tensor in tensors.items() if name in wanted})
    if faults:
        shown = sorted(faults)[:_MOST_FAULTS]
        shown += [f"and {len(faults) - len(shown)} more"] if len(faults) > len(shown) else []
        raise ModelError(f"{source}: its weights do not fit its configuration:\n  " + "\n  ".join(shown))
    return tensors


def _holds_values(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.dtype == torch.int64


def refuse_quantized(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: object) -> None:
    """Refuse the weights of a quantized model: their numbers mean nothing without scales, which nobody here applies.

    Args:
        tensors: of the file, by name.
        wanted: of the model, by name.
        source: where they come from, for messages.

    Raises:
        ModelError: a tensor holds integers, or floating point of eight bits, in the place of weights.
    """
    for name, tensor in wanted.items():
        kind = tensors[name].dtype if name in tensors else tensor.dtype
        if tensor.is_floating_point() and (not kind.is_floating_point or kind.itemsize == 1):
            raise ModelError(
                f"{source}: it is quantized ({name} holds {str(kind).removeprefix('torch.')}); name the folder of the "
                "model that it was made from"
            )
