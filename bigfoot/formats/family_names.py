"""Names of tensors in families whose modules transformers has otherwise than ``SpeechEncoder``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from bigfoot.models.configuration import RENAMED, BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import name_in_model, plain_state
from bigfoot.models.shape import FAMILY_PREFIXES

_PROJECTED = (
    ("layer_norm.", "feature_projection.layer_norm."), ("feature_projection.", "feature_projection.projection."),
)  # fmt: skip
# What stands before a tensor's name in transformers, and here, the longer first; # is the number of a layer.
_NAMES: Mapping[str, Sequence[tuple[str, str]]] = {
    "sew": _PROJECTED,
    "sew-d": (
        *_PROJECTED,
        ("encoder.encoder.rel_embeddings.", "encoder.position_table.embeddings."),
        ("encoder.encoder.LayerNorm.", "encoder.position_table.layer_norm."),
        ("encoder.encoder.layer.#.attention.self.query_proj.", "encoder.layers.#.attention.q_proj."),
        ("encoder.encoder.layer.#.attention.self.key_proj.", "encoder.layers.#.attention.k_proj."),
        ("encoder.encoder.layer.#.attention.self.value_proj.", "encoder.layers.#.attention.v_proj."),
        ("encoder.encoder.layer.#.attention.self.", "encoder.layers.#.attention."),
        ("encoder.encoder.layer.#.attention.output.dense.", "encoder.layers.#.attention.out_proj."),
        ("encoder.encoder.layer.#.attention.output.LayerNorm.", "encoder.layers.#.layer_norm."),
        ("encoder.encoder.layer.#.intermediate.dense.", "encoder.layers.#.feed_forward.intermediate_dense."),
        ("encoder.encoder.layer.#.output.dense.", "encoder.layers.#.feed_forward.output_dense."),
        ("encoder.encoder.layer.#.output.LayerNorm.", "encoder.layers.#.final_layer_norm."),
    ),
}  # fmt: skip
_LAYER = re.compile(r"(?<=\.layer\.)\d+(?=\.)|(?<=\.layers\.)\d+(?=\.)")


def to_own_names(tensors: dict[str, Tensor], config: BigfootConfig) -> dict[str, Tensor]:
    """Rename the tensors of a family to those of a model of ours.

    Args:
        tensors: by today's names in transformers.
        config: of the model.
    """
    if config.family not in RENAMED:
        return tensors
    pairs = _NAMES[config.family]
    return {name_in_model(_plain_name(name, config.family, pairs), config): tensor for name, tensor in tensors.items()}


def _plain_name(name: str, family: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Return the name in ``plain_state`` of a tensor by its name in transformers."""
    if name.startswith("lm_head."):
        return f"head.{name.removeprefix('lm_head.')}"
    return f"encoder.{_replace_start(name.removeprefix(f'{FAMILY_PREFIXES[family]}.'), pairs)}"


def _replace_start(name: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Replace the start of a name by what stands beside it; # in both is the first number of a layer."""
    found = _LAYER.search(name)
    number = "#" if found is None else found[0]
    for given, wanted in pairs:
        if name.startswith(start := given.replace("#", number)):
            return wanted.replace("#", number) + name.removeprefix(start)
    return name


def family_state(model: BigfootForCTC) -> dict[str, Tensor]:
    """Return a model's tensors by the names that its family has in transformers.

    Args:
        model: of a shape that transformers can express.
    """
    family = model.config.family
    if family not in RENAMED:
        return dict(model.state_dict())
    # The longer first here too: ``attention.`` alone is what is left of ``attention.self.``.
    back = sorted(((ours, theirs) for theirs, ours in _NAMES[family]), key=lambda pair: -len(pair[0]))

    def rename(plain: str) -> str:
        if plain.startswith("head."):
            return f"lm_{plain}"
        return f"{FAMILY_PREFIXES[family]}.{_replace_start(plain.removeprefix('encoder.'), back)}"

    return {rename(plain): tensor for plain, tensor in plain_state(model).items()}
