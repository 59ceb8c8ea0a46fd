"""Names of tensors in families whose modules transformers has otherwise than ``SpeechEncoder``."""

from __future__ import annotations

from torch import Tensor

from bigfoot.models.configuration import RENAMED, BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import name_in_model, plain_state
from bigfoot.models.shape import FAMILY_PREFIXES

# What stands before a tensor's name in transformers, and here.
_NAMES = {
    "sew": {
        "layer_norm.": "feature_projection.layer_norm.", "feature_projection.": "feature_projection.projection.",
    },
}  # fmt: skip


def to_own_names(tensors: dict[str, Tensor], config: BigfootConfig) -> dict[str, Tensor]:
    """Rename the tensors of a family to those of a model of ours.

    Args:
        tensors: by today's names in transformers.
        config: of the model.
    """
    if config.family not in RENAMED:
        return tensors
    return {name_in_model(_plain_name(name, config.family), config): tensor for name, tensor in tensors.items()}


def _plain_name(name: str, family: str) -> str:
    """Return the name in ``plain_state`` of a tensor by its name in transformers."""
    if name.startswith("lm_head."):
        return f"head.{name.removeprefix('lm_head.')}"
    bare = name.removeprefix(f"{FAMILY_PREFIXES[family]}.")
    theirs = next((theirs for theirs in _NAMES[family] if bare.startswith(theirs)), "")
    return f"encoder.{_NAMES[family].get(theirs, '')}{bare.removeprefix(theirs)}"


def family_state(model: BigfootForCTC) -> dict[str, Tensor]:
    """Return a model's tensors by the names that its family has in transformers.

    Args:
        model: of a shape that transformers can express.
    """
    family = model.config.family
    if family not in RENAMED:
        return dict(model.state_dict())
    prefix = FAMILY_PREFIXES[family]
    back = {f"encoder.{ours}": f"{prefix}.{theirs}" for theirs, ours in _NAMES[family].items()}
    back |= {"encoder.": f"{prefix}.", "head.": "lm_head."}

    def rename(plain: str) -> str:
        ours = next(ours for ours in back if plain.startswith(ours))
        return back[ours] + plain.removeprefix(ours)

    return {rename(plain): tensor for plain, tensor in plain_state(model).items()}
