"""Scale a method's shape from a base teacher to the tiny teacher that ships with bigfoot."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from bigfoot.formats.folder import TINY_TEACHER, load_config
from bigfoot.models.configuration import BigfootConfig
from bigfoot.pipeline.settings import Config

_WIDTHS = {
    "hidden_size": "hidden_size", "intermediate_size": "intermediate_size",
    "layer_intermediate_sizes": "intermediate_size", "num_attention_heads": "num_attention_heads",
    "layer_num_attention_heads": "num_attention_heads",
}  # fmt: skip
_CONV_STEP = 8


def apply_scale(config: Config) -> Config:
    """Apply ``scale``.

    With ``tiny``, the teacher is ``scale_to``, the student is initialized from it, and the student's widths keep their
    ratio to the teacher's, rounded to multiples that heads and groups of the positional convolution need. Layers,
    reuse, reduction, groups and kernels are unchanged; data and steps must be set by the user.

    Args:
        config: of the run; not modified.

    Returns:
        A configuration of full scale.

    Examples:
        >>> from bigfoot.pipeline.settings import load_config
        >>> apply_scale(load_config("methods/maskhubert.yaml", ["scale=tiny"])).student.shape["hidden_size"]
        80
    """
    if config.scale == "full":
        return config
    tiny, base, wanted = load_config(config.scale_to), BigfootConfig(), config.student
    try:
        shape = _scale_shape(wanted.shape, tiny, base)
    except (TypeError, ValueError, ZeroDivisionError):
        shape = wanted.shape  # Values of the wrong type are reported by later checks.
    rank = wanted.low_rank.rank
    low_rank = replace(wanted.low_rank, rank=max(1, rank * tiny.hidden_size // base.hidden_size) if rank else 0)
    student = replace(wanted, path=None, shape=shape, low_rank=low_rank)
    teacher = replace(config.teacher, path=config.scale_to, language=None)
    return replace(config, scale="full", scale_to=TINY_TEACHER, teacher=teacher, student=student)


def _scale_shape(given: dict[str, Any], tiny: BigfootConfig, base: BigfootConfig) -> dict[str, Any]:
    shape = {name: _scale_field(name, value, tiny, base) for name, value in given.items()}
    if "hidden_size" in shape:
        heads = shape.get("num_attention_heads", tiny.num_attention_heads)
        step = math.lcm(heads, shape.get("num_conv_pos_embedding_groups", tiny.num_conv_pos_embedding_groups))
        shape["hidden_size"] = max(step, step * round(shape["hidden_size"] / step))
    if shape.get("feature_projection") == "none" and "conv_dim" in shape:
        # Convolutions as wide as the encoder, or as wide as the last convolution, keep that equality.
        last, size = given["conv_dim"][-1], shape.get("hidden_size", tiny.hidden_size)
        pairs = zip(shape["conv_dim"], given["conv_dim"], strict=True)
        shape["conv_dim"] = [size if there == last else here for here, there in pairs]
    return shape


def _scale_field(name: str, value: Any, tiny: BigfootConfig, base: BigfootConfig) -> Any:  # noqa: ANN401 - as in YAML
    if name == "conv_dim":
        share = max(tiny.conv_dim) / max(base.conv_dim)
        return [max(_CONV_STEP, _CONV_STEP * round(width * share / _CONV_STEP)) for width in value]
    if name not in _WIDTHS:
        return value
    share = getattr(tiny, _WIDTHS[name]) / getattr(base, _WIDTHS[name])
    if isinstance(value, list):
        return [_scale_width(each, share) for each in value]
    return _scale_width(value, share)


def _scale_width(width: int, share: float) -> int:
    """Round without removing an existing block: 0 means that it is absent."""
    return max(min(1, width), round(width * share))
