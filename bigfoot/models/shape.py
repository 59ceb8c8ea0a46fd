"""The shape of a speech encoder: its fields, and what they amount to layer by layer."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from bigfoot.models.block_shape import PRODUCTS, BlockShape
from bigfoot.models.small_weights import SmallWeights
from bigfoot.models.streaming_shape import StreamingShape

MEL_WINDOW, MEL_HOP = 400, 160
"""Samples of a filter bank's window and from one window to the next, 25 ms and 10 ms."""

FAMILY_PREFIXES = {
    "wav2vec2": "wav2vec2", "hubert": "hubert", "wavlm": "wavlm", "data2vec-audio": "data2vec_audio",
    "unispeech": "unispeech", "unispeech-sat": "unispeech_sat", "wav2vec2-conformer": "wav2vec2_conformer",
    "wav2vec2-bert": "wav2vec2_bert", "sew": "sew", "sew-d": "sew_d",
}  # fmt: skip
"""Families by their model_type in transformers, with the prefix of the encoder's tensors there."""

LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense")
"""Linear maps of a layer that can have a low rank: of its attention, then of its feed-forward blocks."""


_Count = TypeVar("_Count", int, Tensor)


class Shape(BlockShape):
    """The fields of ``BigfootConfig``, and what follows from them.

    Scalars keep Hugging Face's names and meaning (``Wav2Vec2Config``); lists in the plural express what those cannot,
    one number a layer, and are None where every layer is alike. ``num_attention_heads`` together with ``hidden_size``
    fixes the width of one head, also where layers have fewer heads.

    Args:
        family: whose tensor names the weights carry, by ``FAMILY_PREFIXES``. It decides nothing about the shape; the
            fields below do.
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
        max_bucket_distance: in frames, where its last bucket starts.
        layer_position_heads: for each layer, which of ``num_attention_heads`` heads of the position bias its heads
            use, so that heads can be pruned and the others keep theirs; None means the first.
        conv_pos_kernel_size: width of ``num_conv_pos_embeddings`` positional convolutions, one after the other
            (data2vec); None for a single one that is ``num_conv_pos_embeddings`` wide.
        conv_pos_batch_norm: a batch norm before the positional convolution in place of weight norm (some HuBERTs).
        feat_proj_layer_norm: whether features are normalized before they are projected (not in some HuBERTs).
        adapter_attn_dim: width of an adapter behind the blocks of every layer (MMS); None where there are none.
        ctc_head: whether there is a linear CTC head over ``vocab_size`` tokens.
        decoder: fields of ``DecoderShape`` of a decoder beside it; None where there is none.
        task: fields of ``TaskShape`` of a task head beside it; None where there is none.
        frame_encoder: ``kind`` and ``settings`` of an encoder of another kind (``bigfoot.models.frames``) in the place
            of convolutions and layers; of the fields above, ``hidden_size``, ``num_hidden_layers`` and
            ``num_attention_heads`` are then its own, and the others mean nothing. None for the usual one.
        num_prompts: learned frames in front of the layers' input (soft prompts), which the frame mask counts.
        streaming: fields of ``StreamingShape`` of a model that reads audio chunk by chunk; None for whole ones.
        lora: ``rank`` of low-rank adapters and the ``modules`` that have them, where they are kept beside the weights;
            None where there are none.
        small_weights: fields of ``SmallWeights``, where weights are quantized; None where all are fp32.
    """

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
    adapter_attn_dim: int | None = None
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
    task: dict[str, Any] | None = None
    frame_encoder: dict[str, Any] | None = None
    num_prompts: int = 0
    streaming: dict[str, Any] | None = None
    lora: dict[str, Any] | None = None
    small_weights: dict[str, Any] | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

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
        """Groups of each convolution."""
        return list(self.conv_groups) if self.conv_groups is not None else [1] * self.num_conv_layers

    @property
    def kernel_owners(self) -> list[int]:
        """For each convolution, the one whose kernel it uses: itself, or the first of those it shares with.

        Examples:
            >>> Shape(conv_sharing=[[1, 2], [3, 4]]).kernel_owners
            [0, 1, 1, 3, 3, 5, 6]
        """
        owners = list(range(self.num_conv_layers))
        for members in self.conv_sharing or []:
            for layer in members:
                owners[layer] = min(members)
        return owners

    @property
    def heads_of_layers(self) -> list[int]:
        """Attention heads of each layer."""
        return self.layer_num_attention_heads or [self.num_attention_heads] * self.num_hidden_layers

    @property
    def has_position_bias(self) -> bool:
        """Whether attention has a gated relative position bias."""
        return self.num_buckets is not None

    @property
    def position_heads_of_layers(self) -> list[list[int]]:
        """For each layer the heads of the position bias that its heads use."""
        return self.layer_position_heads or [list(range(heads)) for heads in self.heads_of_layers]

    @property
    def has_positional_stack(self) -> bool:
        """Whether positions come from several narrow convolutions."""
        return self.conv_pos_kernel_size is not None

    @property
    def widths_of_layers(self) -> list[int]:
        """Feed-forward width of each layer."""
        return self.layer_intermediate_sizes or [self.intermediate_size] * self.num_hidden_layers

    @property
    def reused_maps(self) -> list[int | None]:
        """For each layer, the layer whose attention maps it uses, or None for its own."""
        return list(self.attention_reuse) if self.attention_reuse is not None else [None] * self.num_hidden_layers

    @property
    def ranks_of_layers(self) -> list[dict[str, int]]:
        """For each layer, ranks of its linear maps by name."""
        return self.layer_ranks or [{} for _ in range(self.num_hidden_layers)]

    def frames_in_layers(self, frames: _Count) -> _Count:
        """Return how many frames the layers see of so many real ones.

        Args:
            frames: of an utterance, or of each.

        Examples:
            >>> Shape(time_reduction=2).frames_in_layers(5), Shape(squeeze_factor=2).frames_in_layers(5)
            (3, 2)
        """
        if self.squeeze_factor > 1:
            return frames // self.squeeze_factor
        return -(-frames // self.time_reduction)

    def shorten(self, frames: _Count) -> _Count:
        """Return how many frames a layer behind the encoder makes of so many.

        Args:
            frames: of an utterance, or of each.
        """
        reach = 2 * self.adapter_padding - self.adapter_kernel_size + self.adapter_stride
        return (frames + reach) // self.adapter_stride

    @property
    def adapter_padding(self) -> int:
        """Frames of zeros on both sides of the convolutions behind the encoder."""
        return 1 if self.has_convolutions else self.adapter_stride // 2

    def frames_of_outputs(self, frames: _Count) -> _Count:
        """Return how many frames come out of so many that the front end gives.

        Args:
            frames: of an utterance, or of each.

        Examples:
            >>> Shape(add_adapter=True).frames_of_outputs(5), Shape().frames_of_outputs(5)
            (3, 5)
        """
        for _ in range(self.num_adapter_layers if self.add_adapter else 0):
            frames = self.shorten(frames)
        return frames

    @property
    def frames_per_output(self) -> int:
        """Frames of the front end to one that comes out."""
        return self.adapter_stride**self.num_adapter_layers if self.add_adapter else 1

    @property
    def is_conformer(self) -> bool:
        """Whether layers are conformers."""
        return self.block == "conformer"

    @property
    def has_convolutions(self) -> bool:
        """Whether the front end is made of convolutions over the waveform."""
        return self.front_end == "convolutions"

    @property
    def feature_size(self) -> int:
        """Features of a frame that the front end gives."""
        return self.conv_dim[-1] if self.has_convolutions else self.num_mel_bins * self.mel_stride

    @property
    def sinusoid_size(self) -> int:
        """Width of the sinusoids of relative positions."""
        return self.relative_size or self.hidden_size

    @property
    def is_disentangled(self) -> bool:
        """Whether content and positions have products of their own in the scores."""
        return self.position_embeddings_type == "disentangled"

    @property
    def position_span(self) -> int:
        """Rows of the table of ``disentangled`` positions in each direction."""
        return self.position_buckets if self.position_buckets > 0 else self.max_position_embeddings

    @property
    def own_position_maps(self) -> tuple[str, ...]:
        """Linear maps of ``disentangled`` positions in each layer, where they are not those of frames."""
        if not self.is_disentangled or not self.relative_attention or self.share_att_key:
            return ()
        names = {"c2p": "pos_key_proj", "p2c": "pos_query_proj"}
        return tuple(names[product] for product in PRODUCTS if product in self.pos_att_type)

    @property
    def norms_position_table(self) -> bool:
        """Whether that table is normed."""
        return self.norm_rel_ebd == "layer_norm"

    @property
    def projection_norm_eps(self) -> float:
        """Of the norm of features."""
        return self.layer_norm_eps if self.feature_layer_norm_eps is None else self.feature_layer_norm_eps

    @property
    def block_norm_eps(self) -> float:
        """Of the norms in conformer layers: transformers' first conformers do not read ``layer_norm_eps`` there."""
        return 1e-5 if self.conv_module_norm == "batch" else self.layer_norm_eps

    @property
    def first_widths_of_layers(self) -> list[int]:
        """Width of the first feed-forward block of each layer; 0 where layers have one block alone."""
        everywhere = self.intermediate_size if self.is_conformer else 0
        return self.layer_first_intermediate_sizes or [everywhere] * self.num_hidden_layers

    @property
    def conv_channels_of_layers(self) -> list[int]:
        """Channels of the convolution in each layer; 0 where there is none."""
        return self.layer_conv_channels or [self.hidden_size if self.is_conformer else 0] * self.num_hidden_layers

    @property
    def position_table_layer(self) -> int | None:
        """The layer that holds the table of position biases for all: the first with maps of its own."""
        layers = enumerate(zip(self.heads_of_layers, self.reused_maps, strict=True))
        return next((index for index, (heads, reused) in layers if heads and reused is None), None)

    def linear_shapes(self, layer: int) -> dict[str, tuple[int, int]]:
        """Return (features in, features out) of each linear map that a layer has, by ``LINEARS``.

        Those of a conformer's first feed-forward block have ``first_`` before their names.

        Args:
            layer: 0-based.
        """
        size, inner, width = self.hidden_size, self.heads_of_layers[layer] * self.head_dim, self.widths_of_layers[layer]
        maps = ("q_proj", "k_proj", "v_proj") if self.reused_maps[layer] is None else ("v_proj",)
        attention = dict.fromkeys(maps, (size, inner)) | {"out_proj": (inner, size)} if inner else {}
        feed_forward = {"intermediate_dense": (size, width), "output_dense": (width, size)} if width else {}
        if first := self.first_widths_of_layers[layer]:
            feed_forward |= {"first_intermediate_dense": (size, first), "first_output_dense": (first, size)}
        return attention | feed_forward

    @property
    def stream(self) -> StreamingShape | None:
        """How the model streams; None where it reads whole recordings."""
        return None if self.streaming is None else StreamingShape.read(self.streaming)

    @property
    def small(self) -> SmallWeights | None:
        """How quantized weights are written; None where all are fp32."""
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
    def inputs_to_logits_ratio(self) -> int:
        """Samples of audio to a frame that comes out."""
        if not self.has_convolutions:
            return MEL_HOP * self.mel_stride * self.frames_per_output
        ratio = self.frames_per_output
        for stride in self.conv_stride:
            ratio *= stride
        return ratio

    @property
    def receptive_field(self) -> int:
        """Fewest samples that give a frame."""
        if not self.has_convolutions:
            return MEL_WINDOW + MEL_HOP * (self.mel_stride - 1)
        samples = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples
