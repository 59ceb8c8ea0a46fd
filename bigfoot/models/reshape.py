"""Moving weights from one shape to another: what every compression step stands on."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from bigfoot.models.configuration import BIGFOOT_PREFIX, BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.lora import merge_adapters_
from bigfoot.models.packed import STEPS
from bigfoot.models.plain_names import own_name, plain_name
from bigfoot.models.pretrained import refuse_small
from bigfoot.models.small_state import round_state
from bigfoot.models.small_weights import SmallWeights
from bigfoot.models.tasks.shape import TaskShape


def reshape_config(config: BigfootConfig, **changes: object) -> BigfootConfig:
    """Return a copy of a configuration with some fields changed, checked anew.

    Raises:
        ModelError: the changed shape cannot be built, or weights are quantized, and it is not stated what becomes of
            that (``small_weights``).

    Examples:
        >>> reshape_config(BigfootConfig(), num_hidden_layers=4).num_hidden_layers
        4
    """
    if "small_weights" not in changes:
        refuse_small(config, "its shape cannot be changed")
    values = config.to_dict()
    for derived in ("model_type", "transformers_version", "architectures"):
        values.pop(derived, None)
    return BigfootConfig(**{**values, **changes})


# The table of position biases serves all layers, but stands with the first that has maps of its own.
_PLAIN_TABLE = "encoder.encoder.position_bias."
_DECODER = "decoder."
_TASK = "task_head."
_BESIDE = (_DECODER, _TASK)
"""Parts whose names are the same in every shape."""


def _table_name(config: BigfootConfig) -> str:
    return f"encoder.encoder.layers.{config.position_table_layer}.attention.rel_attn_embed."


def plain_state(model: BigfootForCTC) -> dict[str, Tensor]:
    """Return the weights under names that do not depend on the shape: ``encoder.*``, ``head.*``, and so on.

    The others are ``decoder.*`` and ``task_head.*``. A change of shape may change ``weight_prefix``; steps that move
    weights between shapes work on these names, in which layers of all blocks agree (``plain_names``). What stands
    under ``encoder.encoder.layers.3`` belongs to that layer alone.
    """
    prefix, head, table = f"{model.config.weight_prefix}.", f"{model.head_name}.", _table_name(model.config)

    def plain(name: str) -> str:
        if name.startswith(_BESIDE):
            return name
        if not name.startswith(prefix):
            return f"head.{name.removeprefix(head)}"
        return plain_name(f"encoder.{name.removeprefix(prefix)}".replace(table, _PLAIN_TABLE), model.config)

    return {plain(name): tensor for name, tensor in model.state_dict().items()}


def load_plain_state(model: BigfootForCTC, state: dict[str, Tensor]) -> None:
    """Fill a model from ``plain_state``, to the last tensor.

    Raises:
        RuntimeError: a name or shape does not fit, which is a fault of the step.
    """
    model.load_state_dict({name_in_model(plain, model.config): tensor for plain, tensor in state.items()})


def name_in_model(plain: str, config: BigfootConfig) -> str:
    """Return the name of a tensor of ``plain_state`` in a model of a given shape.

    Examples:
        >>> name_in_model("head.bias", BigfootConfig()), name_in_model("encoder.x", BigfootConfig())
        ('lm_head.bias', 'wav2vec2.x')
    """
    if plain.startswith(_BESIDE):
        return plain
    if not plain.startswith("encoder."):
        head = f"{BIGFOOT_PREFIX}_lm_head" if config.weight_prefix == BIGFOOT_PREFIX else "lm_head"
        return f"{head}.{plain.removeprefix('head.')}"
    named = own_name(plain.replace(_PLAIN_TABLE, _table_name(config)), config)
    return f"{config.weight_prefix}.{named.removeprefix('encoder.')}"


def with_new_head(
    model: BigfootForCTC, vocab_size: int, blank_id: int, seed: int, origins: Sequence[int | None] = ()
) -> BigfootForCTC:
    """Build a model with the same encoder and a fresh CTC head; decoder and task head go.

    Tokens initialized from one of the old head's share its probability: their biases are lower by the log of how many
    they are.

    Args:
        model: left as it is; with or without a head.
        vocab_size: tokens of the new head.
        blank_id: token of the blank.
        seed: of the new weights.
        origins: for each new token the token of the old head that it is initialized from, None for random weights; all
            are random by default.

    Returns:
        The new model in eval mode.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> with_new_head(load_model("tiny_teacher").model, 50, 0, seed=1).head.out_features
        50
    """
    shape = reshape_config(
        model.config, vocab_size=vocab_size, pad_token_id=blank_id, ctc_head=True, decoder=None, task=None
    )
    renewed = BigfootForCTC(shape)
    state = {name: tensor for name, tensor in plain_state(model).items() if name.startswith("encoder.")}
    head = nn.Linear(shape.hidden_size, vocab_size)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(head.weight.shape, generator=generator) * shape.initializer_range
    bias = torch.zeros(vocab_size)
    if origins:
        assert model.head is not None  # nothing else has tokens to initialize from
        heirs = Counter(origins)
        for token, origin in enumerate(origins):
            if origin is not None:
                weight[token] = model.head.weight[origin].detach()
                bias[token] = model.head.bias[origin].detach() - math.log(heirs[origin])
    load_plain_state(renewed, state | {"head.weight": weight, "head.bias": bias})
    return renewed.eval()


def with_rows(model: BigfootForCTC, rows: Sequence[int], blank_id: int) -> BigfootForCTC:
    """Build a model with some rows of its CTC head.

    Args:
        model: with a CTC head and no decoder; left as it is.
        rows: that stay, in their new order.
        blank_id: token of the blank among them.

    Returns:
        The new model in eval mode.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> with_rows(load_model("tiny_teacher").model, [0, 5, 6], 0).head.out_features
        3
    """
    shape = reshape_config(model.config, vocab_size=len(rows), pad_token_id=blank_id)
    trimmed, kept = BigfootForCTC(shape), torch.tensor(rows)
    load_plain_state(trimmed, {
        name: tensor[kept.to(tensor.device)] if name.startswith("head.") else tensor
        for name, tensor in plain_state(model).items()
    })  # fmt: skip
    return trimmed.eval()


def without_head(model: BigfootForCTC) -> BigfootForCTC:
    """Build a model with the same encoder alone: no CTC head, no decoder, no task head.

    Args:
        model: left as it is.

    Returns:
        The new model in eval mode.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> without_head(load_model("tiny_teacher").model).head is None
        True
    """
    bare = BigfootForCTC(reshape_config(model.config, ctc_head=False, decoder=None, task=None))
    load_plain_state(bare, {name: t for name, t in plain_state(model).items() if name.startswith("encoder.")})
    return bare.eval()


def with_decoder(model: BigfootForCTC, shape: dict[str, Any] | None, seed: int) -> BigfootForCTC:
    """Build a model with the same encoder and head and a fresh decoder, or without one.

    Args:
        model: left as it is.
        shape: fields of ``DecoderShape``; None takes the decoder away.
        seed: of the new weights.

    Returns:
        The new model in eval mode.

    Raises:
        ModelError: the decoder cannot be built.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> with_decoder(load_model("tiny_teacher").model, {"num_layers": 2}, seed=1).decoder.name
        'MiniGPT'
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        renewed = BigfootForCTC(reshape_config(model.config, decoder=shape))
    kept = {name: tensor for name, tensor in plain_state(model).items() if not name.startswith(_DECODER)}
    load_plain_state(renewed, plain_state(renewed) | kept)
    return renewed.eval()


def with_task_head(model: BigfootForCTC, shape: dict[str, Any] | None, seed: int) -> BigfootForCTC:
    """Build a model with the same encoder and a fresh task head in place of CTC head and decoder, or without one.

    Args:
        model: left as it is.
        shape: fields of ``TaskShape``; None takes the task head away and keeps the others.
        seed: of the new weights.

    Returns:
        The new model in eval mode.

    Raises:
        ModelError: the head cannot be built.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> with_task_head(load_model("tiny_teacher").model, {"labels": ["no", "yes"]}, seed=1).task_head.name
        'single-label head, mean pooling'
    """
    changes: dict[str, Any] = {"task": None}
    if shape is not None:
        changes = {"task": asdict(TaskShape.read(shape)), "ctc_head": False, "decoder": None}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        renewed = BigfootForCTC(reshape_config(model.config, **changes))
    fresh = plain_state(renewed)
    kept = {name: tensor for name, tensor in plain_state(model).items() if name in fresh and not name.startswith(_TASK)}
    load_plain_state(renewed, fresh | kept)
    return renewed.eval()


def with_prompts(model: BigfootForCTC, count: int, seed: int) -> BigfootForCTC:
    """Build the same model with fresh learned frames in front of its layers' input (Lester et al., 2021).

    Args:
        model: left as it is.
        count: of frames; 0 takes them away.
        seed: of the new weights.

    Returns:
        The new model in eval mode.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> with_prompts(load_model("tiny_teacher").model, 4, seed=1).speech_encoder.prompts.shape
        torch.Size([4, 128])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        renewed = BigfootForCTC(reshape_config(model.config, num_prompts=count))
    kept = {name: tensor for name, tensor in plain_state(model).items() if name != "encoder.prompts"}
    load_plain_state(renewed, plain_state(renewed) | kept)
    return renewed.eval()


def with_kept_adapters(model: BigfootForCTC, rank: int, modules: Sequence[str]) -> BigfootForCTC:
    """Build a model whose configuration names the adapters that were put on it, so that its folder keeps them.

    Args:
        model: after ``inject_adapters_`` on its encoder's layers; left as it is.
        rank: of the adapters.
        modules: that have them.

    Returns:
        The new model in eval mode.
    """
    kept = BigfootForCTC(reshape_config(model.config, lora={"rank": rank, "modules": list(modules)}))
    load_plain_state(kept, plain_state(model))
    return kept.eval()


def with_merged_adapters(model: BigfootForCTC) -> BigfootForCTC:
    """Build the same model with its adapters added to the weights.

    Args:
        model: with adapters, of its configuration or of ``inject_adapters_``; left as it is.

    Returns:
        A model without adapters, in eval mode.
    """
    copied = copy.deepcopy(model)
    merge_adapters_(copied.speech_encoder.encoder.layers)
    merged = BigfootForCTC(reshape_config(model.config, lora=None))
    load_plain_state(merged, plain_state(copied))
    return merged.eval()


_KERNEL = "encoder.encoder.pos_conv_embed.conv."
_PLAIN_KERNEL = f"{_KERNEL}weight"
_LENGTH, _DIRECTION = (f"{_KERNEL}parametrizations.weight.original{index}" for index in (0, 1))


def with_small_weights(
    model: BigfootForCTC, small: SmallWeights | None, steps: Mapping[str, Tensor] | None = None
) -> BigfootForCTC:
    """Build the same model with quantized weights, or with fp32 weights again.

    A weight-normalized positional kernel is multiplied out for int8, and is length and direction again after it.

    Args:
        model: left as it is.
        small: how weights will be written; None for fp32, which keeps their values.
        steps: of packed layers by name, (out, groups); those that the model has where None.

    Returns:
        The new model in eval mode, computing in fp32.

    Raises:
        ModelError: a weight is non-finite or too large, or ``small`` does not fit the shape.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> with_small_weights(load_model("tiny_teacher").model, SmallWeights("int8")).config.precision
        'int8'
    """
    state = plain_state(model)
    shape = reshape_config(model.config, small_weights=None if small is None else small.to_dict())
    if shape.has_int8_weights and _LENGTH in state:
        kernel = model.get_submodule(f"{model.config.weight_prefix}.encoder.pos_conv_embed.conv").weight
        state[_PLAIN_KERNEL] = torch.as_tensor(kernel).detach()
        del state[_LENGTH], state[_DIRECTION]
    elif not shape.has_int8_weights and not shape.conv_pos_batch_norm and _PLAIN_KERNEL in state:
        kernel = state.pop(_PLAIN_KERNEL)
        state |= {_LENGTH: kernel.norm(dim=(0, 1), keepdim=True), _DIRECTION: kernel}
    kept = () if small is None or steps is not None else tuple(f"{layer}.{STEPS}" for layer in small.bits)
    state = {name: tensor for name, tensor in state.items() if not name.endswith(STEPS) or name.endswith(kept)}
    renewed = BigfootForCTC(shape)
    if small is not None:
        renamed = {name_in_model(plain, shape): tensor for plain, tensor in state.items()}
        renamed |= {f"{shape.weight_prefix}.{layer}.{STEPS}": given for layer, given in (steps or {}).items()}
        layers = int8_layers(renewed.speech_encoder)
        renewed.load_state_dict(round_state(renamed, small, layers, shape.weight_prefix))
    else:
        load_plain_state(renewed, state)
    return renewed.eval()
