"""Fields of a shape that state which front end and which block it has, and what is the conformer's own."""

from __future__ import annotations

from transformers import PreTrainedConfig

FRONT_ENDS = ("convolutions", "log-mel")
"""Convolutions over the waveform, or filter banks without weights."""
LAYER_BLOCKS = ("transformer", "conformer")
POSITIONS = ("relative", "relative_key", "rotary", "disentangled")
"""Positions of conformer layers, the last those of SEW-D's transformer layers; None knows none."""


PRODUCTS = ("c2p", "p2c")
"""In the scores of ``disentangled`` positions: of queries with positions, and of positions with keys."""


class BlockShape(PreTrainedConfig):
    """Fields of ``Shape``; those of conformers keep the names of ``Wav2Vec2BertConfig``.

    Args:
        front_end: of ``FRONT_ENDS``. ``log-mel`` has no convolutions: ``conv_dim``, ``conv_kernel`` and
            ``conv_stride`` are empty.
        num_mel_bins: filters of ``log-mel``.
        mel_stride: of its frames, 10 ms each, so many beside each other are one frame of the encoder.
        squeeze_factor: frames that a mean before the first layer makes one of, 1 for none; a linear map behind the last
            makes as many again (SEW, Wu et al., 2021). ``time_reduction`` is the same with convolutions.
        block: of ``LAYER_BLOCKS``.
        position_embeddings_type: of ``POSITIONS``; None where layers know no positions. ``disentangled`` is read of a
            table that all layers share (``bigfoot.models.disentangled``).
        rotary_embedding_base: of the wave lengths of ``rotary``.
        max_source_positions: written for transformers, which reserves memory by it; no limit of length.
        left_max_position_embeddings: frames behind which ``relative_key`` tells no distances apart, of earlier ones.
        right_max_position_embeddings: the same of later ones.
        position_buckets: of distances in each direction, of ``disentangled``; less than 1 where each distance up to
            ``max_position_embeddings`` has a vector of its own.
        max_position_embeddings: frames behind which ``disentangled`` tells no distances apart.
        pos_att_type: products with positions in its scores, of ``PRODUCTS``.
        share_att_key: whether positions are mapped as frames are, or by weights of their own.
        relative_attention: whether there is a table at all.
        norm_rel_ebd: ``layer_norm`` where the table is normed, or ``none``.
        feature_layer_norm_eps: of the norm of features; None means ``layer_norm_eps``.
        relative_size: width of the sinusoids of ``relative``; None means ``hidden_size``.
        positional_conv: ``added`` to the layers' input; ``unused``, with weights that transformers writes and nothing
            reads (its conformers); or ``none``.
        final_norm: whether a norm stands behind the last layer, or, where norms come last, before the first.
        conv_depthwise_kernel_size: frames of the convolution in conformer layers.
        conv_module_norm: ``batch`` or ``layer``, behind that convolution.
        conv_module_causal: whether it reads earlier frames alone, or as many on both sides.
        conformer_conv_dropout: behind it.
        add_adapter: whether layers behind the encoder shorten time: convolutions alone, or behind ``log-mel``
            convolutions, attention and a feed-forward block (w2v-BERT 2.0). Hidden states then come at the frames
            that are left.
        adapter_kernel_size: of their convolutions.
        adapter_stride: frames that each makes one of.
        num_adapter_layers: how many.
        adapter_act: activation of their feed-forward blocks.
        use_intermediate_ffn_before_adapter: whether half a feed-forward block stands before them.
        layer_first_intermediate_sizes: feed-forward width of each conformer layer's first block; None means
            ``intermediate_size`` everywhere. 0 where there is none.
        layer_conv_channels: channels of each conformer layer's convolution; None means ``hidden_size``. 0 where there
            is none.
    """

    front_end: str = "convolutions"
    num_mel_bins: int = 80
    mel_stride: int = 2
    squeeze_factor: int = 1
    block: str = "transformer"
    position_embeddings_type: str | None = None
    rotary_embedding_base: int = 10000
    max_source_positions: int = 5000
    left_max_position_embeddings: int = 64
    right_max_position_embeddings: int = 8
    position_buckets: int = 256
    max_position_embeddings: int = 512
    pos_att_type: list[str] | tuple[str, ...] = ("p2c", "c2p")
    share_att_key: bool = True
    relative_attention: bool = True
    norm_rel_ebd: str = "layer_norm"
    feature_layer_norm_eps: float | None = None
    relative_size: int | None = None
    positional_conv: str = "added"
    final_norm: bool = True
    conv_depthwise_kernel_size: int = 31
    conv_module_norm: str = "batch"
    conv_module_causal: bool = False
    conformer_conv_dropout: float | int = 0.1
    add_adapter: bool = False
    adapter_kernel_size: int = 3
    adapter_stride: int = 2
    num_adapter_layers: int = 1
    adapter_act: str = "relu"
    use_intermediate_ffn_before_adapter: bool = False
    layer_first_intermediate_sizes: list[int] | None = None
    layer_conv_channels: list[int] | None = None
