"""What a shape costs, by a formula for each part: the search asks for hundreds of shapes that are never built.

Only differences are used: what a model costs is counted (``bigfoot.measure.size``), and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator

from bigfoot.models.configuration import BigfootConfig
from bigfoot.types import SAMPLE_RATE, Seconds

BYTES = 4
"""Of a parameter on disk."""


def estimate_cost(shape: BigfootConfig, measure: str) -> int:
    """Return what a shape costs, but for parts that no cut changes.

    Args:
        shape: with convolutions and layers of transformers.
        measure: of ``Shrink.measure``; speed goes by multiply-accumulates.

    Examples:
        >>> from bigfoot.models.reshape import reshape_config
        >>> whole = BigfootConfig()
        >>> narrow = reshape_config(whole, intermediate_size=2048)
        >>> estimate_cost(whole, "params") - estimate_cost(narrow, "params") == 12 * 1024 * (2 * 768 + 1)
        True
    """
    return estimate_macs(shape) if measure in ("macs", "rtf") else estimate_params(shape)


def estimate_macs(shape: BigfootConfig, seconds: Seconds = 10.0) -> int:
    """Return the multiply-accumulates of one pass, those of padding in the positional convolution left out.

    Args:
        shape: see ``estimate_cost``.
        seconds: of audio.
    """
    frames, total = round(seconds * SAMPLE_RATE), 0
    for weights, width, stride in _convolutions(shape):
        frames = (frames - width) // stride + 1
        total += frames * weights
    projection, positional = _entrance(shape)
    total += frames * (projection + positional)
    inside = shape.frames_in_layers(frames)
    for layer in range(shape.num_hidden_layers):
        total += inside * sum(weights for weights, _ in _linears(shape, layer))
        inner, owned = shape.heads_of_layers[layer] * shape.head_dim, shape.reused_maps[layer] is None
        gates = 8 * inner if shape.has_position_bias else 0  # one map for all heads
        total += (1 + owned) * inside * inside * inner + inside * gates
    return total + (frames * shape.hidden_size * shape.vocab_size if shape.ctc_head else 0)


def estimate_params(shape: BigfootConfig) -> int:
    """Return the parameters of all linear maps, convolutions and norms of layers.

    Args:
        shape: see ``estimate_cost``.
    """
    per_channel = 2 if shape.feat_extract_norm == "layer" else 0
    total = sum(weights for weights, _, _ in _convolutions(shape)) + sum(_entrance(shape))
    total += sum((per_channel + shape.conv_bias) * channels for channels in shape.conv_dim)
    total += 2 * shape.conv_dim[0] * (shape.feat_extract_norm == "group")
    total += 2 * shape.feature_size + 6 * shape.hidden_size
    for layer in range(shape.num_hidden_layers):
        blocks = bool(shape.heads_of_layers[layer]) + bool(shape.widths_of_layers[layer])
        norms = blocks if shape.do_stable_layer_norm else 2
        total += 2 * norms * shape.hidden_size + sum(map(sum, _linears(shape, layer)))
        heads = shape.heads_of_layers[layer]
        total += heads + 8 * (shape.head_dim + 1) if shape.has_position_bias and heads else 0
    return total + (shape.hidden_size + 1) * shape.vocab_size * shape.ctc_head


def _convolutions(shape: BigfootConfig) -> Iterator[tuple[int, int, int]]:
    """Weights, width and stride of each."""
    inputs = 1
    groups = shape.groups_of_convs
    for channels, width, stride, count in zip(
        shape.conv_dim, shape.conv_kernel, shape.conv_stride, groups, strict=True
    ):
        yield channels * inputs // count * width, width, stride
        inputs = channels


def _entrance(shape: BigfootConfig) -> tuple[int, int]:
    """Weights of projection and positional convolution."""
    width, projected = shape.hidden_size, shape.feature_projection == "linear"
    kernel = width * width // shape.num_conv_pos_embedding_groups
    taps = shape.num_conv_pos_embeddings * (shape.conv_pos_kernel_size or 1)
    return projected * shape.feature_size * width, kernel * taps * (shape.positional_conv != "none")


def _linears(shape: BigfootConfig, layer: int) -> Iterator[tuple[int, int]]:
    """Weights and biases of each linear map of a layer."""
    ranks = shape.ranks_of_layers[layer]
    for name, (here, there) in shape.linear_shapes(layer).items():
        yield (ranks[name] * (here + there) if name in ranks else here * there), there
    if size := shape.adapter_attn_dim:
        yield 2 * size * shape.hidden_size, size + 3 * shape.hidden_size
