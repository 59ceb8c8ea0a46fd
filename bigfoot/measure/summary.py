"""Every layer of a model with its shapes, parameters and multiply-accumulates, to build a mental model from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from torch import nn

from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.size import count_macs, count_params, measure_size
from bigfoot.models.configuration import BigfootConfig

_SECONDS = 10.0


@dataclass(frozen=True)
class LayerFacts:
    """One line of a summary.

    Args:
        name: as in the code, such as ``encoder.layers.3``.
        what: the shape in words.
        output: (T, channels) of one utterance, T in frames per second of audio.
        num_params: of the layer.
        macs_per_second: multiply-accumulates per second of audio.
    """

    name: str
    what: str
    output: str
    num_params: int
    macs_per_second: int


@dataclass(frozen=True)
class ModelSummary:
    """A model, layer by layer.

    Args:
        title: one line about the whole.
        layers: in the order in which audio passes them.
        num_params: unique parameters.
        size_bytes: of the weight files.
        macs_by_part: multiply-accumulates per second of audio.
        precision: of the weights on disk.
    """

    title: str
    layers: list[LayerFacts]
    num_params: int
    size_bytes: int | None
    macs_by_part: dict[str, int]
    precision: str = "float32"

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON."""
        return asdict(self)


def _describe_layers(config: BigfootConfig, loaded: LoadedModel) -> Iterator[tuple[str, str, str, nn.Module]]:
    """(name, what, output, module) of every layer."""
    encoder = loaded.model.speech_encoder
    rate, channels_in = 16_000.0, 1
    for index, layer in enumerate(encoder.feature_encoder.conv_layers):
        channels, kernel, stride = config.conv_dim[index], config.conv_kernel[index], config.conv_stride[index]
        rate /= stride
        norm = type(layer.layer_norm).__name__ if layer.layer_norm is not None else "no norm"
        groups = config.groups_of_convs[index]
        owner = config.kernel_owners[index]
        shared = "" if owner == index else f", kernel of {owner}"
        what = f"conv {channels_in} -> {channels}, kernel {kernel}, stride {stride}, groups {groups}, {norm}{shared}"
        yield f"feature_encoder.conv_layers.{index}", what, f"{rate:g}/s x {channels}", layer
        channels_in = channels
    if not config.has_convolutions:
        rate, channels_in = 16_000 / config.inputs_to_logits_ratio, config.feature_size
        what = f"{config.num_mel_bins} log-mel bands, {config.mel_stride} windows to a frame, normalized"
        yield "feature_encoder", what, f"{rate:g}/s x {channels_in}", encoder.feature_encoder
    frames = f"{rate:g}/s x {config.hidden_size}"
    normed = ["norm"] if config.feat_proj_layer_norm else []
    linear = [f"linear {channels_in} -> {config.hidden_size}"] if config.feature_projection == "linear" else []
    what = ", ".join(normed + linear) or "nothing"
    yield "feature_projection", what, frames, encoder.feature_projection
    if config.positional_conv != "none":
        yield "encoder.pos_conv_embed", _describe_positions(config), frames, encoder.encoder.pos_conv_embed
    inside = f"{rate / config.time_reduction:g}/s x {config.hidden_size}"
    if encoder.encoder.time_reduction is not None:
        what = f"{config.time_reduction} frames to one before the layers, and spread again after them"
        yield "encoder.time_reduction", what, inside, encoder.encoder.time_reduction
    for index, layer in enumerate(encoder.encoder.layers):
        yield f"encoder.layers.{index}", _describe_layer(config, index), inside, layer
    if encoder.encoder.layer_norm is not None:
        yield "encoder.layer_norm", "norm", frames, encoder.encoder.layer_norm
    if loaded.model.head is not None:
        what = f"linear {config.hidden_size} -> {config.vocab_size}"
        yield "lm_head", what, f"{rate:g}/s x {config.vocab_size}", loaded.model.head


def _describe_layer(config: BigfootConfig, index: int) -> str:
    heads, wide, source = config.heads_of_layers[index], config.widths_of_layers[index], config.reused_maps[index]
    biased = " with bias" if config.has_position_bias and source is None else ""
    reused = "" if source is None else f" on the maps of {source}"
    attention = f"{heads} heads of {config.head_dim}{biased}{reused}" if heads else "no attention"
    ranks = ", ".join(f"{name} {rank}" for name, rank in config.ranks_of_layers[index].items())
    parts = [attention, f"feed-forward {wide}" if wide else "no feed-forward", f"ranks {ranks}" if ranks else ""]
    if config.is_conformer:
        parts = [f"conformer, feed-forward {config.first_widths_of_layers[index]}", *parts]
        parts.append(f"convolution {config.conv_channels_of_layers[index]}")
    return ", ".join([*filter(None, parts), "norm first" if config.do_stable_layer_norm else "norm last"])


def _describe_positions(config: BigfootConfig) -> str:
    number, groups = config.num_conv_pos_embeddings, f"groups {config.num_conv_pos_embedding_groups}"
    if config.conv_pos_kernel_size is not None:
        return f"{number} positional convs, kernel {config.conv_pos_kernel_size}, {groups}"
    batch_norm = ", batch norm" if config.conv_pos_batch_norm else ""
    unused = ", unused" if config.positional_conv == "unused" else ""
    return f"positional conv, kernel {number}, {groups}{batch_norm}{unused}"


def summarize_model(loaded: LoadedModel) -> ModelSummary:
    """Measure a model layer by layer.

    Args:
        loaded: any shape.

    Returns:
        See ``ModelSummary``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> summarize_model(load_model("tiny_teacher")).layers[-1].name
        'lm_head'
    """
    model, config = loaded.model, loaded.model.config
    macs, size = count_macs(model, _SECONDS), measure_size(model, loaded.folder, _SECONDS)
    layers = [
        LayerFacts(name, what, output, count_params(module), round(macs.get(module, 0) / _SECONDS))
        for name, what, output, module in _describe_layers(config, loaded)
    ]
    opens = "opens in plain transformers" if config.is_huggingface_shape else "a shape of bigfoot's own"
    front = f"{config.feat_extract_norm} norm" if config.has_convolutions else config.front_end
    shape = f"{config.num_hidden_layers} layers, {config.hidden_size} wide, {front}"
    title = f"{config.family}, {shape}; {opens}"
    return ModelSummary(title, layers, size.num_unique_params, size.size_bytes, size.macs_by_part, size.precision)


def render_summary(summary: ModelSummary) -> list[str | Table]:
    """Lay a summary out for a terminal.

    Args:
        summary: of ``summarize_model``.

    Returns:
        A title, a table and a line of totals, to be printed one after the other.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "what", "output"):
        table.add_column(heading)
    for heading in ("parameters", "M MACs/s"):
        table.add_column(heading, justify="right")
    for layer in summary.layers:
        macs = f"{layer.macs_per_second / 1e6:.2f}"
        table.add_row(layer.name, layer.what, layer.output, f"{layer.num_params:,}", macs)
    parts = ", ".join(f"{part} {macs / 1e6:.1f}" for part, macs in summary.macs_by_part.items())
    small = "" if summary.precision == "float32" else f" ({summary.precision})"
    size = "" if summary.size_bytes is None else f"{summary.size_bytes / 1e6:.1f} MB on disk{small}, "
    total = sum(summary.macs_by_part.values()) / 1e6
    totals = f"{summary.num_params:,} parameters, {size}{total:.1f} M MACs per second of audio ({parts})"
    return [summary.title, table, totals]
