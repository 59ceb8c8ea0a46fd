"""The shape of a speech encoder, as a Hugging Face configuration that can say more than Hugging Face's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from bigfoot.errors import ModelError
from bigfoot.models.decoders.shape import decoder_problems
from bigfoot.models.small_weights import SmallWeights, small_weight_problems

BIGFOOT_PREFIX = "bigfoot"
"""Prefix of tensors whose shape plain transformers cannot express: it then reports all of them missing."""

FAMILY_PREFIXES = {"wav2vec2": "wav2vec2", "hubert": "hubert", "wavlm": "wavlm", "data2vec-audio": "data2vec_audio"}
"""Families by their model_type in transformers, with the prefix of the encoder's tensors there."""

# What a family's class in transformers takes for granted, by our fields and properties.
_GRANTED: dict[str, dict[str, object]] = {
    "wav2vec2": {"has_position_bias": False, "has_positional_stack": False, "conv_pos_batch_norm": False,
                 "feat_proj_layer_norm": True},
    "hubert": {"has_position_bias": False, "has_positional_stack": False},
    "wavlm": {"has_position_bias": True, "has_positional_stack": False, "conv_pos_batch_norm": False,
              "feat_proj_layer_norm": True},
    "data2vec-audio": {"has_position_bias": False, "has_positional_stack": True, "conv_pos_batch_norm": False,
                       "feat_proj_layer_norm": True, "feat_extract_norm": "layer", "do_stable_layer_norm": False},
}  # fmt: skip

_COUNTS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "max_bucket_distance", "time_reduction",
)  # fmt: skip
_OPTIONAL_COUNTS = ("num_buckets", "conv_pos_kernel_size")
_SHARES = (
    "hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "layerdrop",
    "mask_time_prob", "mask_feature_prob", "layer_norm_eps", "initializer_range",
)  # fmt: skip
_COUNTS_OF_LAYERS = (
    "conv_dim", "conv_stride", "conv_kernel", "conv_groups", "layer_num_attention_heads", "layer_intermediate_sizes",
)  # fmt: skip
# Of these, 0 means that the layer has no such block.
_REMOVABLE = ("layer_num_attention_heads", "layer_intermediate_sizes")
# Far beyond what is ever trained, so that a config.json cannot fill the memory before its weights are looked at.
_MOST = {"num_hidden_layers": 1_000, "vocab_size": 1_000_000, "time_reduction": 64}
_MOST_OTHERWISE = 2**17
_MOST_CONVS = 64
_MOST_WEIGHTS = 10**10


LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")
"""Linear maps of a layer that can have a low rank: of its attention, then of its feed-forward block."""


class BigfootConfig(PreTrainedConfig):
    """Configuration of ``SpeechEncoder`` and ``BigfootForCTC``.

    Scalars keep Hugging Face's names and meaning (``Wav2Vec2Config``); the lists in the plural say what those cannot,
    one number a layer, and are None where every layer is alike. ``num_attention_heads`` together with ``hidden_size``
    fixes the width of one head, also where layers have fewer heads.

    Args:
        family: whose tensor names the weights carry: ``wav2vec2``, ``hubert``, ``wavlm`` or ``data2vec-audio``. It
            decides nothing about the shape; the fields below do.
        conv_groups: groups of each convolution, (number of conv layers,); None means 1 everywhere.
        conv_sharing: lists of convolutions, 0-based and of equal shape, that use one kernel; biases and norms stay
            their own. None where each has its own.
        layer_num_attention_heads: heads of each layer; None means ``num_attention_heads`` everywhere. With 0 a layer
            has no attention: nothing is added there; norms that come last stay, norms that come first go with it.
        layer_intermediate_sizes: feed-forward width of each layer; None means ``intermediate_size`` everywhere. 0 as
            with heads.
        attention_reuse: for each layer, the earlier layer whose attention maps it uses, having no queries and keys of
            its own (ARMHuBERT, Jang et al., 2023), or None for maps of its own; None where all have.
        layer_ranks: for each layer, ranks of those of its linear maps (``LINEARS``) that are a product of two thin
            ones; None where none is.
        time_reduction: frames that a convolution before the first layer makes one of, 1 for none; what comes out is
            spread over as many frames again (FitHuBERT, Lee et al., 2022).
        feature_projection: ``linear``, or ``none``, as fairseq has it where the last convolution is as wide as the
            encoder: features are normalized and nothing else.
        num_buckets: of the gated relative position bias (WavLM); None where attention has none.
        max_bucket_distance: in frames, where its last bucket begins.
        layer_position_heads: for each layer, which of ``num_attention_heads`` heads of the position bias its heads
            use, so that heads can be pruned and the others keep theirs; None means the first.
        conv_pos_kernel_size: width of ``num_conv_pos_embeddings`` positional convolutions, one after the other
            (data2vec); None for a single one that is ``num_conv_pos_embeddings`` wide.
        conv_pos_batch_norm: a batch norm before the positional convolution in place of weight norm (some HuBERTs).
        feat_proj_layer_norm: whether features are normalized before they are projected (not in some HuBERTs).
        ctc_head: whether there is a linear CTC head over ``vocab_size`` tokens.
        decoder: fields of ``DecoderShape`` of a decoder beside it; None where there is none.
        small_weights: fields of ``SmallWeights``, where weights take fewer bytes on disk; None where all are fp32.

    Example:
        >>> config = BigfootConfig(num_hidden_layers=2, conv_groups=[1, 2, 2, 2, 2, 2, 2])
        >>> config.is_huggingface_shape, config.weight_prefix
        (False, 'bigfoot')
    """

    model_type = "bigfoot"

    family: str = "wav2vec2"
    vocab_size: int = 32
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    layer_num_attention_heads: list[int] | None = None
    intermediate_size: int = 3072
    layer_intermediate_sizes: list[int] | None = None
    attention_reuse: list[int | None] | None = None
    layer_ranks: list[dict[str, int]] | None = None
    time_reduction: int = 1
    num_buckets: int | None = None
    max_bucket_distance: int = 800
    layer_position_heads: list[list[int]] | None = None
    hidden_act: str = "gelu"
    hidden_dropout: float | int = 0.1
    activation_dropout: float | int = 0.1
    attention_dropout: float | int = 0.1
    feat_proj_dropout: float | int = 0.0
    final_dropout: float | int = 0.1
    # LayerDrop is not applied: it would shorten hidden_states and unsettle distillation. Zero, so that plain
    # transformers, opening the folder to train, does the same.
    layerdrop: float | int = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: list[int] | tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: list[int] | tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: list[int] | tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_groups: list[int] | tuple[int, ...] | None = None
    conv_sharing: list[list[int]] | None = None
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    conv_pos_kernel_size: int | None = None
    conv_pos_batch_norm: bool = False
    feature_projection: str = "linear"
    feat_proj_layer_norm: bool = True
    do_stable_layer_norm: bool = False
    apply_spec_augment: bool = True
    mask_time_prob: float | int = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float | int = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0
    ctc_loss_reduction: str = "mean"
    ctc_zero_infinity: bool = True
    ctc_head: bool = True
    decoder: dict[str, Any] | None = None
    small_weights: dict[str, Any] | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    def __post_init__(self, **kwargs: object) -> None:
        """Check that the lists agree with each other."""
        super().__post_init__(**kwargs)
        problems = list(shape_problems(self))
        if problems:
            raise ModelError("this shape cannot be built: " + "; ".join(problems))

    @property
    def num_conv_layers(self) -> int:
        """Convolutions of the feature encoder."""
        return len(self.conv_dim)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def groups_of_convs(self) -> list[int]:
        """Groups of each convolution, spelled out."""
        return list(self.conv_groups) if self.conv_groups is not None else [1] * self.num_conv_layers

    @property
    def kernel_owners(self) -> list[int]:
        """For each convolution, the one whose kernel it uses: itself, or the first of those it shares with.

        Example:
            >>> BigfootConfig(conv_sharing=[[1, 2], [3, 4]]).kernel_owners
            [0, 1, 1, 3, 3, 5, 6]
        """
        owners = list(range(self.num_conv_layers))
        for members in self.conv_sharing or []:
            for layer in members:
                owners[layer] = min(members)
        return owners

    @property
    def heads_of_layers(self) -> list[int]:
        """Attention heads of each layer, spelled out."""
        return self.layer_num_attention_heads or [self.num_attention_heads] * self.num_hidden_layers

    @property
    def has_position_bias(self) -> bool:
        """Whether attention has a gated relative position bias."""
        return self.num_buckets is not None

    @property
    def position_heads_of_layers(self) -> list[list[int]]:
        """For each layer the heads of the position bias that its heads use, spelled out."""
        return self.layer_position_heads or [list(range(heads)) for heads in self.heads_of_layers]

    @property
    def has_positional_stack(self) -> bool:
        """Whether positions come from several narrow convolutions."""
        return self.conv_pos_kernel_size is not None

    @property
    def widths_of_layers(self) -> list[int]:
        """Feed-forward width of each layer, spelled out."""
        return self.layer_intermediate_sizes or [self.intermediate_size] * self.num_hidden_layers

    @property
    def reused_maps(self) -> list[int | None]:
        """For each layer, the layer whose attention maps it uses, or None for its own, spelled out."""
        return list(self.attention_reuse) if self.attention_reuse is not None else [None] * self.num_hidden_layers

    @property
    def ranks_of_layers(self) -> list[dict[str, int]]:
        """For each layer, ranks of its linear maps by name, spelled out."""
        return self.layer_ranks or [{} for _ in range(self.num_hidden_layers)]

    @property
    def position_table_layer(self) -> int | None:
        """The layer that holds the table of position biases for all: the first with maps of its own."""
        layers = enumerate(zip(self.heads_of_layers, self.reused_maps, strict=True))
        return next((index for index, (heads, reused) in layers if heads and reused is None), None)

    def linear_shapes(self, layer: int) -> dict[str, tuple[int, int]]:
        """(features in, features out) of each linear map that a layer has, by ``LINEARS``.

        Args:
            layer: 0-based.
        """
        size, inner, width = self.hidden_size, self.heads_of_layers[layer] * self.head_dim, self.widths_of_layers[layer]
        maps = ("q_proj", "k_proj", "v_proj") if self.reused_maps[layer] is None else ("v_proj",)
        attention = dict.fromkeys(maps, (size, inner)) | {"out_proj": (inner, size)} if inner else {}
        feed_forward = {"intermediate_dense": (size, width), "output_dense": (width, size)} if width else {}
        return attention | feed_forward

    @property
    def is_huggingface_shape(self) -> bool:
        """Whether the family's own class in transformers can express this shape."""
        return not beyond_huggingface(self)

    @property
    def small(self) -> SmallWeights | None:
        """How weights are written, where they take fewer bytes on disk."""
        return None if self.small_weights is None else SmallWeights.read(self.small_weights)

    @property
    def precision(self) -> str:
        """Of the weights on disk: ``float32`` or one of ``bigfoot.models.small_weights.PRECISIONS``."""
        return "float32" if self.small is None else self.small.precision

    @property
    def has_int8_weights(self) -> bool:
        """Whether weights are eight bits wide on disk."""
        return self.small is not None and self.small.is_int8

    @property
    def weight_prefix(self) -> str:
        """Name under which the encoder's tensors stand in a checkpoint."""
        return FAMILY_PREFIXES[self.family] if self.is_huggingface_shape else BIGFOOT_PREFIX

    @property
    def inputs_to_logits_ratio(self) -> int:
        """Samples of audio to a frame."""
        ratio = 1
        for stride in self.conv_stride:
            ratio *= stride
        return ratio

    @property
    def receptive_field(self) -> int:
        """Fewest samples that give a frame."""
        samples = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples


def beyond_huggingface(config: BigfootConfig) -> list[str]:
    """Name the parts of a shape that the family's own transformers class cannot express.

    Args:
        config: the shape.

    Returns:
        One phrase a part; empty where transformers can express all of it.
    """
    parts = []
    if any(groups != 1 for groups in config.groups_of_convs):
        parts.append(f"conv_groups {config.groups_of_convs}")
    if config.conv_sharing:
        parts.append(f"conv_sharing {config.conv_sharing}")
    if any(heads != config.num_attention_heads for heads in config.heads_of_layers):
        parts.append(f"attention heads {config.heads_of_layers}")
    if any(width != config.intermediate_size for width in config.widths_of_layers):
        parts.append(f"feed-forward widths {config.widths_of_layers}")
    if any(layer is not None for layer in config.reused_maps):
        parts.append(f"attention_reuse {config.attention_reuse}")
    if any(config.ranks_of_layers):
        parts.append(f"layer_ranks of layers {[i for i, ranks in enumerate(config.ranks_of_layers) if ranks]}")
    if config.time_reduction != 1:
        parts.append(f"time_reduction {config.time_reduction}")
    if config.feature_projection != "linear":
        parts.append(f"feature_projection {config.feature_projection!r}")
    if config.has_position_bias and any(heads != sorted(heads) for heads in config.position_heads_of_layers):
        parts.append(f"position heads {config.position_heads_of_layers}")
    if config.has_int8_weights:
        parts.append(f"{config.precision} weights")
    for name, granted in _GRANTED[config.family].items():
        if getattr(config, name) != granted:
            parts.append(f"{name} {getattr(config, name)!r}")
    return parts


def shape_problems(config: BigfootConfig) -> list[str]:
    """Say why a shape cannot be built.

    Args:
        config: the shape.

    Returns:
        One sentence a problem; empty where there is none.
    """
    problems = list(_value_problems(config)) or list(_size_problems(config))
    if problems:
        return problems
    convs = config.num_conv_layers
    if not len(config.conv_kernel) == len(config.conv_stride) == convs:
        return [f"conv_dim, conv_kernel and conv_stride have {convs}, {len(config.conv_kernel)} and "
                f"{len(config.conv_stride)} entries"]  # fmt: skip
    if len(config.groups_of_convs) != convs:
        return [f"conv_groups has {len(config.groups_of_convs)} entries for {convs} convolutions"]
    for layer, groups in enumerate(config.groups_of_convs):
        channels_in = 1 if layer == 0 else config.conv_dim[layer - 1]
        channels = config.conv_dim[layer]
        if channels_in % groups or channels % groups:
            sizes = f"{channels_in} -> {channels} channels"
            problems.append(f"conv layer {layer}: {groups} groups do not divide its {sizes}")
    problems += _sharing_problems(config)
    if config.decoder is not None:
        problems += decoder_problems(config.decoder)
        if not config.ctc_head:
            problems.append("decoder: its tokens are numbered by the CTC head, and there is none")
    if config.hidden_size % config.num_attention_heads:
        problems.append(f"{config.num_attention_heads} heads do not divide hidden_size {config.hidden_size}")
    if config.hidden_size % config.num_conv_pos_embedding_groups:
        problems.append(
            f"{config.num_conv_pos_embedding_groups} positional groups do not divide hidden_size {config.hidden_size}"
        )
    for name, values in (("heads", config.heads_of_layers), ("feed-forward widths", config.widths_of_layers)):
        if len(values) != config.num_hidden_layers:
            problems.append(f"{len(values)} {name} for {config.num_hidden_layers} layers")
    problems += _position_problems(config)
    if len(config.heads_of_layers) == len(config.widths_of_layers) == config.num_hidden_layers:
        problems += _reuse_problems(config) or _rank_problems(config)
    if config.feature_projection == "none" and config.conv_dim[-1] != config.hidden_size:
        problems.append(
            f"feature_projection none: the last convolution has {config.conv_dim[-1]} channels, "
            f"and hidden_size is {config.hidden_size}"
        )
    if config.feat_extract_norm not in ("group", "layer"):
        problems.append(f"feat_extract_norm {config.feat_extract_norm!r} is neither 'group' nor 'layer'")
    if not problems and (weights := _count_weights(config)) > _MOST_WEIGHTS:
        problems.append(f"it has {weights:.1e} weights, more than the {_MOST_WEIGHTS:.0e} that are built at most")
    return problems


def _count_weights(config: BigfootConfig) -> int:
    """Weights of the large tensors."""
    shapes = (_kernel_shape(config, layer) for layer in range(config.num_conv_layers))
    positions = config.hidden_size // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    positions *= config.conv_pos_kernel_size or 1
    layers = sum(4 * config.head_dim * heads for heads in config.heads_of_layers) + 2 * sum(config.widths_of_layers)
    convs = sum(channels_in * channels * width for channels_in, channels, width in shapes)
    reduction = 2 * config.hidden_size * config.time_reduction if config.time_reduction > 1 else 0
    return convs + config.hidden_size * (layers + positions + reduction + config.vocab_size)


def _sharing_problems(config: BigfootConfig) -> Iterator[str]:
    """Lists that name layers twice or not at all, and layers whose kernels differ in shape."""
    sharing = config.conv_sharing or []
    if not isinstance(sharing, list | tuple) or not all(_is_list_of_layers(members) for members in sharing):
        yield f"conv_sharing {sharing!r} should list lists of 0-based convolutions, such as [[1, 2], [3, 4]]"
        return
    named = [layer for members in sharing for layer in members]
    outside = sorted({layer for layer in named if not 0 <= layer < config.num_conv_layers})
    if outside:
        yield f"conv_sharing names convolutions {outside}, out of range 0..{config.num_conv_layers - 1}"
        return
    if twice := sorted({layer for layer in named if named.count(layer) > 1}):
        yield f"conv_sharing names convolutions {twice} twice"
    for members in sharing:
        if len(members) < 2:
            yield f"conv_sharing {list(members)}: it takes two convolutions to share a kernel"
        if len({_kernel_shape(config, layer) for layer in members}) > 1:
            shapes = "; ".join(f"{layer} has {_describe_kernel(config, layer)}" for layer in members)
            yield f"conv_sharing {list(members)}: only kernels of equal shape can be shared, and {shapes}"


def _position_problems(config: BigfootConfig) -> Iterator[str]:
    """Positional convolutions of two kinds at once, buckets that hold nothing, and heads that have no bias."""
    if config.has_positional_stack and config.conv_pos_batch_norm:
        yield "conv_pos_batch_norm is for a single positional convolution, conv_pos_kernel_size for several"
    if config.num_buckets is None:
        return
    if not 1 <= config.num_buckets // 4 < config.max_bucket_distance:
        yield (
            f"num_buckets {config.num_buckets} should be 4 or more, and a quarter of it less than "
            f"max_bucket_distance {config.max_bucket_distance}"
        )
    chosen = config.position_heads_of_layers
    if len(chosen) != len(config.heads_of_layers):
        yield f"layer_position_heads has {len(chosen)} entries for {len(config.heads_of_layers)} layers"
        return
    for layer, (heads, count) in enumerate(zip(chosen, config.heads_of_layers, strict=True)):
        fits = len(heads) == len(set(heads)) == count and set(heads) <= set(range(config.num_attention_heads))
        if not fits:
            last = config.num_attention_heads - 1
            yield f"layer {layer}: its {count} heads need as many different heads of the bias, 0 to {last}, not {heads}"


def _reuse_problems(config: BigfootConfig) -> list[str]:
    """Layers that use maps of layers that come later, have none, or have other heads."""
    reused, heads, problems = config.reused_maps, config.heads_of_layers, []
    if len(reused) != config.num_hidden_layers:
        return [f"attention_reuse has {len(reused)} entries for {config.num_hidden_layers} layers"]
    for layer, source in enumerate(reused):
        if source is None:
            continue
        if not 0 <= source < layer:
            problems.append(f"attention_reuse: layer {layer} can use the maps of an earlier layer, not of {source}")
        elif reused[source] is not None:
            problems.append(f"attention_reuse: layer {layer} uses the maps of {source}, which has none of its own")
        elif heads[source] != heads[layer] or not heads[layer]:
            counts = f"{heads[layer]} heads and {source} has {heads[source]}"
            problems.append(f"attention_reuse: layer {layer} uses the maps of {source}, but has {counts}")
    return problems


def _rank_problems(config: BigfootConfig) -> list[str]:
    """Ranks of linear maps that are not there, or that are no smaller than the map."""
    if len(config.ranks_of_layers) != config.num_hidden_layers:
        return [f"layer_ranks has {len(config.ranks_of_layers)} entries for {config.num_hidden_layers} layers"]
    problems = []
    for layer, ranks in enumerate(config.ranks_of_layers):
        shapes = config.linear_shapes(layer)
        for name, rank in ranks.items():
            if name not in shapes:
                known = ", ".join(shapes) or "none"
                problems.append(f"layer_ranks: layer {layer} has no {name}; its linear maps are {known}")
            elif rank > min(shapes[name]):
                inputs, outputs = shapes[name]
                what = f"{name} of layer {layer} maps {inputs} to {outputs}"
                problems.append(f"layer_ranks: {what}, so no rank of {rank}")
    return problems


def _kernel_shape(config: BigfootConfig, layer: int) -> tuple[int, int, int]:
    """(channels in, channels out, width) of one group's kernel, and so of the whole."""
    channels_in, groups = 1 if layer == 0 else config.conv_dim[layer - 1], config.groups_of_convs[layer]
    return channels_in // groups, config.conv_dim[layer], config.conv_kernel[layer]


def _describe_kernel(config: BigfootConfig, layer: int) -> str:
    channels_in, channels, width = _kernel_shape(config, layer)
    return f"{channels_in} -> {channels} channels, kernel {width}"


def _is_list_of_layers(members: object) -> bool:
    return isinstance(members, list | tuple) and all(
        isinstance(layer, int) and not isinstance(layer, bool) for layer in members
    )


def _value_problems(config: BigfootConfig) -> Iterator[str]:
    """Fields that hold something of another kind, and activations that do not exist."""
    for name in _COUNTS:
        if not _is_count(getattr(config, name)):
            yield f"{name} {getattr(config, name)!r} should be a whole number, 1 or more"
    for name in _OPTIONAL_COUNTS:
        if getattr(config, name) is not None and not _is_count(getattr(config, name)):
            yield f"{name} {getattr(config, name)!r} should be a whole number, 1 or more, or nothing"
    heads = config.layer_position_heads
    if heads is not None and not (isinstance(heads, list | tuple) and all(map(_is_list_of_layers, heads))):
        yield f"layer_position_heads {heads!r} should list lists of 0-based heads, such as [[0, 1], [1]]"
    if config.family not in FAMILY_PREFIXES:
        yield f"family {config.family!r} is none of {', '.join(FAMILY_PREFIXES)}"
    for name in _COUNTS_OF_LAYERS:
        values, least = getattr(config, name), 0 if name in _REMOVABLE else 1
        listed = isinstance(values, list | tuple) and all(_is_count(value, least) for value in values)
        if values is not None and not listed:
            yield f"{name} {values!r} should list whole numbers, {least} or more"
    yield from _layer_list_problems(config)
    if config.small_weights is not None:
        yield from small_weight_problems(config.small_weights)
    for name in _SHARES:
        share = getattr(config, name)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            yield f"{name} {share!r} should be a number from 0 to 1"
    for name in ("hidden_act", "feat_extract_activation"):
        if getattr(config, name) not in ACT2FN:
            yield f"{name} {getattr(config, name)!r} is none of {', '.join(sorted(ACT2FN))}"


def _layer_list_problems(config: BigfootConfig) -> Iterator[str]:
    reused, ranks = config.attention_reuse, config.layer_ranks
    listed = isinstance(reused, list | tuple) and all(each is None or _is_count(each, 0) for each in reused)
    if reused is not None and not listed:
        yield f"attention_reuse {reused!r} should list a 0-based layer or null for each layer, such as [null, 0]"
    listed = isinstance(ranks, list | tuple) and all(
        isinstance(each, dict) and all(map(_is_count, each.values())) for each in ranks
    )
    if ranks is not None and not listed:
        yield f"layer_ranks {ranks!r} should list ranks by name for each layer, such as [{{v_proj: 64}}, {{}}]"
    if config.feature_projection not in ("linear", "none"):
        yield f"feature_projection {config.feature_projection!r} is neither 'linear' nor 'none'"


def _size_problems(config: BigfootConfig) -> Iterator[str]:
    """Counts that nobody builds."""
    for name in (*_COUNTS, *_OPTIONAL_COUNTS):
        count, most = getattr(config, name) or 0, _MOST.get(name, _MOST_OTHERWISE)
        if count > most:
            yield f"{name} {count} is more than the {most} that are built at most"
    for name in _COUNTS_OF_LAYERS:
        largest = max(getattr(config, name) or [0])
        if largest > _MOST_OTHERWISE:
            yield f"{name} has {largest}, more than the {_MOST_OTHERWISE} that are built at most"
    if config.num_conv_layers > _MOST_CONVS:
        yield f"conv_dim has {config.num_conv_layers} convolutions, more than the {_MOST_CONVS} that are built at most"


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
