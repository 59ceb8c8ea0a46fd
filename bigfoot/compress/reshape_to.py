"""A student of another shape: what fits is copied out of the teacher, the rest is initialized at random."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigfoot.compress.change import Change
from bigfoot.compress.registry import blaming, technique
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config

SHAPE_FIELDS = (
    "hidden_size", "num_attention_heads", "layer_num_attention_heads", "intermediate_size", "layer_intermediate_sizes",
    "layer_first_intermediate_sizes", "layer_conv_channels", "attention_reuse", "time_reduction", "feature_projection",
    "conv_dim", "conv_kernel", "conv_stride", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups",
)  # fmt: skip
"""Fields of ``BigfootConfig`` that a student can have otherwise than its teacher."""

_HOW_ELSE = {
    "num_hidden_layers": "student.num_hidden_layers", "conv_groups": "student.conv_groups",
    "conv_sharing": "student.conv_sharing", "layer_ranks": "student.low_rank",
}  # fmt: skip
_CONV = re.compile(r"encoder\.feature_extractor\.conv_layers\.(\d+)\.")
_ACROSS_HEADS = re.compile(
    r"attention\.(([qkv]|pos_key|pos_query)_proj\.(weight|bias)|out_proj\.weight|linear_pos\.weight)$"
)
_GATED = "conv_module.pointwise_conv1.weight"
"""Values in the first half of its rows, their gates in the second."""


@dataclass(frozen=True)
class Reshape:
    """The shape, and how new weights are initialized.

    Args:
        shape: by ``SHAPE_FIELDS``; what is absent is as in the model.
        seed: of the weights that are initialized at random.
    """

    shape: Mapping[str, object]
    seed: int = 0


def choose_shape(config: BigfootConfig, wanted: Mapping[str, object]) -> BigfootConfig:
    """Return the shape of a student.

    Args:
        config: of the model that it is cut out of.
        wanted: by ``SHAPE_FIELDS``.

    Raises:
        UnfitError: an unknown field, with the nearest name, or a shape that cannot be built.

    Examples:
        >>> choose_shape(BigfootConfig(), {"hidden_size": 480, "intermediate_size": 640}).head_dim
        40
    """
    unknown = [_explain(field) for field in wanted if field not in SHAPE_FIELDS]
    if unknown:
        raise UnfitError(*(Problem("shape", "unknown_field", message) for message in unknown))
    # One number for all layers means all layers.
    freed = {
        "num_attention_heads": ["layer_num_attention_heads"],
        "intermediate_size": ["layer_intermediate_sizes", "layer_first_intermediate_sizes"],
        "hidden_size": ["layer_conv_channels"],
    }
    implied: dict[str, object] = {name: None for field, lists in freed.items() if field in wanted for name in lists}
    if any(field in wanted for field in ("num_attention_heads", "layer_num_attention_heads")):
        implied["layer_position_heads"] = None
    with blaming("shape", "bad_shape"):
        return reshape_config(config, **{**implied, **wanted})


def _explain(field: str) -> str:
    if field in _HOW_ELSE:
        return f"{field} is no field of a shape; use {_HOW_ELSE[field]}"
    close = difflib.get_close_matches(field, SHAPE_FIELDS, n=1, cutoff=0.5)
    return f"unknown field {field}; " + (f"did you mean {close[0]}?" if close else f"known: {', '.join(SHAPE_FIELDS)}")


def _reshape(shape: BigfootConfig, config: Reshape) -> BigfootConfig:
    return choose_shape(shape, config.shape)


@technique("reshape", Reshape, _reshape)
def apply(
    model: BigfootForCTC, config: Reshape, audio: Sequence[object] = ()
) -> tuple[BigfootForCTC, Change]:
    """Build a model of another shape, with as many layers.

    Of every tensor the part that both shapes have is copied: the first channels of the encoder (of each group of the
    positional convolution), the first dimensions of every head, the first units of feed-forward layers, the first
    channels of those convolutions that are as wide and stride as far, matched in their order.

    Args:
        model: left as it is.
        config: the shape, and a seed.
        audio: not read.

    Returns:
        The new model in eval mode, and what was copied, what was dropped and what is initialized at random.

    Raises:
        UnfitError: see ``choose_shape``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> thin, change = apply(load_model("tiny_teacher").model, Reshape({"intermediate_size": 64}))
        >>> thin.config.intermediate_size, change.fresh
        (64, [])
    """
    shape = choose_shape(model.config, config.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        student = BigfootForCTC(shape)
    old, state = plain_state(model), {name: tensor.clone() for name, tensor in plain_state(student).items()}
    sources = dict(_match_names(state, shape, model.config))
    copied = {
        name: _copy_into_(state[name], old[source], name, shape, model.config)
        for name, source in sources.items()
        if source in old
    }
    _rescale_positions_(state, old, copied)
    load_plain_state(student, state)
    used = {sources[name] for name, count in copied.items() if count}
    return student.eval(), _describe(state, copied, [name for name in old if name not in used])


def _match_names(state: Mapping[str, Tensor], new: BigfootConfig, old: BigfootConfig) -> Iterator[tuple[str, str]]:
    """(name in the student, name in the model) of tensors that correspond."""
    convs = _match_convs(new, old)
    for name in state:
        found = _CONV.match(name)
        if not found:
            yield name, name
        elif (source := convs.get(int(found[1]))) is not None:
            yield name, f"encoder.feature_extractor.conv_layers.{source}.{name[found.end() :]}"


def _match_convs(new: BigfootConfig, old: BigfootConfig) -> dict[int, int]:
    """Convolutions of the student by those of the model that are as wide and stride as far, in the same order."""
    ours, theirs = ([*zip(each.conv_kernel, each.conv_stride, strict=True)] for each in (new, old))
    blocks = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    return {block.a + i: block.b + i for block in blocks for i in range(block.size)}


def _copy_into_(target: Tensor, source: Tensor, name: str, new: BigfootConfig, old: BigfootConfig) -> int:
    """Copy the part that both have; 0 where nothing corresponds, else the number of copied weights."""
    if target.ndim != source.ndim:
        return 0
    if name.endswith(("pos_conv_embed.conv.weight", "weight.original1")) and not _same_groups(new, old):
        return 0  # Kernels of other groups read other channels.
    rows, columns = [], []
    for axis, (size, there) in enumerate(zip(target.shape, source.shape, strict=True)):
        blocks = _blocks(name, axis, target.ndim, (size, there), (new, old))
        first = [_first_of_blocks(each, count, other, others) for each, count, other, others in (
            (size, blocks[0], there, blocks[1]), (there, blocks[1], size, blocks[0]),
        )]  # fmt: skip
        rows.append(first[0])
        columns.append(first[1])
    if target.ndim == 0:
        target.copy_(source)
        return 1
    part = source[torch.meshgrid(*columns, indexing="ij")]
    target[torch.meshgrid(*rows, indexing="ij")] = part
    return part.numel()


def _rescale_positions_(state: dict[str, Tensor], old: Mapping[str, Tensor], copied: Mapping[str, int]) -> None:
    """Weight norm holds a kernel's length apart from its direction: of a part of it, the part's length."""
    length, direction = (f"encoder.encoder.pos_conv_embed.conv.parametrizations.weight.original{i}" for i in (0, 1))
    cut = copied.get(direction) and state[direction].shape != old[direction].shape
    if cut and state[length].shape == old[length].shape:
        norms = [each[direction].square().sum((0, 1), keepdim=True).sqrt() for each in (state, old)]
        state[length] = old[length] * norms[0] / norms[1].clamp(min=1e-12)


def _same_groups(new: BigfootConfig, old: BigfootConfig) -> bool:
    placed = "none" not in (new.positional_conv, old.positional_conv)
    return placed and new.num_conv_pos_embedding_groups == old.num_conv_pos_embedding_groups


def _blocks(
    name: str, axis: int, ndim: int, sizes: tuple[int, int], shapes: tuple[BigfootConfig, BigfootConfig]
) -> tuple[int, int]:
    """Into how many blocks an axis falls, here and there: heads, groups of the positional convolution, or one."""
    new, old = shapes
    if _ACROSS_HEADS.search(name) and axis == (1 if name.endswith("out_proj.weight") else 0):
        return sizes[0] // new.head_dim, sizes[1] // old.head_dim
    if name.endswith(_GATED) and axis == 0:
        return 2, 2
    if sizes == (new.hidden_size, old.hidden_size) and not _CONV.match(name) and _same_groups(new, old):
        # All that the encoder's width touches is cut alike, so that channels keep their meaning from layer to layer.
        return new.num_conv_pos_embedding_groups, old.num_conv_pos_embedding_groups
    return 1, 1


def _first_of_blocks(size: int, blocks: int, other: int, other_blocks: int) -> Tensor:
    """Places, in an axis of ``size`` in ``blocks``, of what the other axis has too: the first of the first blocks."""
    if not size or not other:
        return torch.arange(0)
    each = min(size // blocks, other // other_blocks)
    return torch.arange(size).view(blocks, -1)[: min(blocks, other_blocks), :each].flatten()


def _describe(state: Mapping[str, Tensor], copied: Mapping[str, int], left: list[str]) -> Change:
    total, taken = sum(tensor.numel() for tensor in state.values()), sum(copied.values())
    whole = sum(copied.get(name, 0) == tensor.numel() for name, tensor in state.items())
    partly = [name for name, tensor in state.items() if 0 < copied.get(name, 0) < tensor.numel()]
    kept = [f"{whole} of {len(state)} tensors whole, {len(partly)} in part: {taken:,} of {total:,} weights"]
    none = [name for name in state if not copied.get(name)]
    fresh = [f"{total - taken:,} weights"] if taken < total else []
    fresh += [f"nothing copied into {', '.join(_parts(none))}"] if none else []
    return Change("shape", kept, _parts(left), fresh)


def _parts(names: list[str]) -> list[str]:
    """Tensors as modules, layers of equal name together."""
    short = (re.sub(r"\.(weight|bias|parametrizations.*)$", "", name.removeprefix("encoder.")) for name in names)
    return [*dict.fromkeys(re.sub(r"encoder\.layers\.\d+", "encoder.layers.*", name) for name in short)]
