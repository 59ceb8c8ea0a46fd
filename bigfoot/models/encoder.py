"""``SpeechEncoder``: one PyTorch module for every shape that a compression step can make."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrize
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.utils import ModelOutput, cached_file

from bigfoot.errors import ModelError
from bigfoot.models.attention import ReusedAttention, SelfAttention, attention_key_mask, keep_values
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.fake_int8 import install_fake_int8_, int8_layers
from bigfoot.models.feature_encoder import FeatureEncoder, FeatureProjection
from bigfoot.models.low_rank import factor_linears_
from bigfoot.models.positional import build_positional_conv
from bigfoot.models.relative_bias import GatedRelativeAttention, RelativePositionAttention
from bigfoot.models.small_weights import pack_state, unpack_state
from bigfoot.models.time_reduction import TimeReduction


@dataclass
class SpeechEncoderOutput(ModelOutput):
    """What the encoder gives.

    Args:
        last_hidden_state: (B, T, D); after the final norm where norms come first (``do_stable_layer_norm``).
        hidden_states: L+1 of (B, T, D) where asked for; 0 is the input of the first layer, i the output of layer i-1.
        attentions: L of (B, H, T, T) where asked for; None for a layer without attention, and where time is reduced
            of so many frames fewer.
        conv_features: (B, T, C), what the feature encoder gave.
        frame_mask: (B, T), True = real frame; None where no ``attention_mask`` was given.
        attention_values: L of (B, T, H * head_dim) where asked for, what attention mixes; None where there is none.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor | None, ...] | None = None
    conv_features: Tensor | None = None
    frame_mask: Tensor | None = None
    attention_values: tuple[Tensor | None, ...] | None = None


class FeedForward(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        config: the shape.
        width: features between the two.
    """

    def __init__(self, config: BigfootConfig, width: int) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, width)
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.activation = ACT2FN[config.hidden_act]
        self.output_dense = nn.Linear(width, config.hidden_size)
        self.output_dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = self.intermediate_dropout(self.activation(self.intermediate_dense(x)))
        return self.output_dropout(self.output_dense(x))


def build_attention(config: BigfootConfig, index: int) -> SelfAttention | ReusedAttention | None:
    """Build a layer's attention; where there is a position bias, the first layer with one holds its table.

    Args:
        config: the shape.
        index: which layer, 0-based.

    Returns:
        None where the layer has no heads.
    """
    heads = config.heads_of_layers[index]
    shape = (config.hidden_size, heads, config.head_dim, config.attention_dropout)
    if not heads:
        return None
    if config.reused_maps[index] is not None:
        return ReusedAttention(*shape)
    if config.num_buckets is None:
        return SelfAttention(*shape)
    position_heads = config.position_heads_of_layers[index]
    if index == config.position_table_layer:
        return RelativePositionAttention(*shape, position_heads, config.num_buckets, config.max_bucket_distance)
    return GatedRelativeAttention(*shape, position_heads)


class EncoderLayer(nn.Module):
    """Attention and feed-forward, the norms after them (base) or before them (``do_stable_layer_norm``).

    Where a block is missing, nothing is added. The norm before it is missing too; the norm after it stays, for what
    follows is used to normalized frames.

    Args:
        config: the shape.
        index: which layer, 0-based.
    """

    def __init__(self, config: BigfootConfig, index: int) -> None:
        super().__init__()
        self.norm_first = config.do_stable_layer_norm
        width = config.widths_of_layers[index]
        self.attention = build_attention(config, index)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = self._build_norm(config, self.attention is not None)
        self.feed_forward = FeedForward(config, width) if width else None
        self.final_layer_norm = self._build_norm(config, self.feed_forward is not None)
        factor_linears_(self, config.ranks_of_layers[index])

    def _build_norm(self, config: BigfootConfig, has_block: bool) -> nn.LayerNorm | None:
        needed = has_block or not self.norm_first
        return nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if needed else None

    def _attend(
        self, x: Tensor, key_mask: Tensor | None, wants_maps: bool, position_bias: Tensor | None, maps: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.attention, ReusedAttention):
            assert maps is not None, "the encoder keeps the maps of the layers that lend theirs"
            return self.attention(x, maps), maps
        assert self.attention is not None
        attended, maps = self.attention(x, key_mask, wants_maps, position_bias)
        return attended, maps

    def forward(
        self,
        x: Tensor,
        key_mask: Tensor | None,
        output_attentions: bool,
        position_bias: Tensor | None = None,
        maps: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Map (B, T, D) to (B, T, D), with the attention weights where asked for.

        Args:
            x: (B, T, D).
            key_mask: see ``SelfAttention``.
            output_attentions: see there.
            position_bias: see there.
            maps: (B, H, T, T), another layer's, for a layer that has none of its own.
        """
        weights = None
        norms = self.layer_norm, self.final_layer_norm
        before, after = (norms, (None, None)) if self.norm_first else ((None, None), norms)
        if self.attention is not None:
            heard = x if before[0] is None else before[0](x)
            attended, weights = self._attend(heard, key_mask, output_attentions, position_bias, maps)
            x = x + self.dropout(attended)
        x = x if after[0] is None else after[0](x)
        if self.feed_forward is not None:
            x = x + self.feed_forward(x if before[1] is None else before[1](x))
        return x if after[1] is None else after[1](x), weights


class TransformerEncoder(nn.Module):
    """Positional convolution and transformer layers.

    Args:
        config: the shape.
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__()
        self.norm_first = config.do_stable_layer_norm
        self.pos_conv_embed = build_positional_conv(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.time_reduction: TimeReduction | None = None
        if config.time_reduction > 1:
            self.time_reduction = TimeReduction(config.hidden_size, config.time_reduction)
        self.layers = nn.ModuleList([EncoderLayer(config, index) for index in range(config.num_hidden_layers)])
        self.reused_maps, self.table_layer = config.reused_maps, config.position_table_layer

    def _position_bias(self, frames: int) -> Tensor | None:
        """What the attention of all layers shares; None where it knows no positions."""
        if self.table_layer is None:
            return None
        holder = cast("EncoderLayer", self.layers[self.table_layer]).attention
        return holder.compute_position_bias(frames) if isinstance(holder, RelativePositionAttention) else None

    def _run_layers(
        self, x: Tensor, frame_mask: Tensor | None, output_attentions: bool
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """What each layer gives, the input first, and the attention weights as far as they were asked for."""
        key_mask, position_bias = attention_key_mask(frame_mask), self._position_bias(x.shape[1])
        hidden_states, attentions = [x], []
        lent: dict[int, Tensor | None] = {}
        for index, (layer, source) in enumerate(zip(self.layers, self.reused_maps, strict=True)):
            lends = index in self.reused_maps
            maps = None if source is None else lent[source]
            x, weights = layer(x, key_mask, output_attentions or lends, position_bias, maps)
            if lends:
                lent[index] = weights
            hidden_states.append(x)
            attentions.append(weights)
        return hidden_states, attentions

    def forward(
        self, x: Tensor, frame_mask: Tensor | None, output_hidden_states: bool, output_attentions: bool
    ) -> SpeechEncoderOutput:
        """Encode (B, T, D) frames; see ``SpeechEncoderOutput`` for what comes back."""
        if frame_mask is not None:
            # The positional convolution is wide: it must find zeros where the utterance alone would have its border.
            x = x * frame_mask.unsqueeze(-1)
        x = x + self.pos_conv_embed(x, frame_mask)
        if not self.norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        if self.time_reduction is None:
            hidden_states, attentions = self._run_layers(x, frame_mask, output_attentions)
        else:
            reduced, reduced_mask = self.time_reduction.reduce(x, frame_mask)
            hidden_states, attentions = self._run_layers(reduced, reduced_mask, output_attentions)
            # Losses compare frame by frame, so that every state asked for comes at the rate of the audio's frames.
            wanted = range(1, len(hidden_states)) if output_hidden_states else [len(hidden_states) - 1]
            hidden_states = [x, *(self.time_reduction.restore(hidden_states[i], x.shape[1]) for i in wanted)]
        last = hidden_states[-1]
        return SpeechEncoderOutput(
            last_hidden_state=self.layer_norm(last) if self.norm_first else last,
            hidden_states=tuple(hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )


_PLACE = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder", "proxies")
"""What ``from_pretrained`` is told of where a model lies."""


class BigfootPreTrainedModel(PreTrainedModel):
    """What all models share: the configuration's class and the names of weights."""

    config_class = BigfootConfig
    base_model_prefix = "wav2vec2"
    main_input_name = "input_values"
    _supports_sdpa = True

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__(config)
        # The prefix belongs to the shape, not to the class: see BigfootConfig.weight_prefix.
        self.base_model_prefix = config.weight_prefix

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: object,
        config: BigfootConfig | str | os.PathLike[str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - whatever transformers takes
    ) -> Any:  # noqa: ANN401 - with output_loading_info it is a pair
        """Open a folder or id as transformers does; weights that are small on disk come back in fp32."""
        name, source = pretrained_model_name_or_path, config or pretrained_model_name_or_path
        place = {key: kwargs[key] for key in _PLACE if key in kwargs}
        # Not of our class: where a folder brings its code, transformers may have loaded that class twice.
        shape = cast("BigfootConfig", source) if isinstance(source, PreTrainedConfig) else None
        if name is not None and shape is None:
            fields = {item.name for item in dataclasses.fields(BigfootConfig)}  # type: ignore[arg-type]
            shape = BigfootConfig.from_pretrained(source, **place, **{k: v for k, v in kwargs.items() if k in fields})
        if name is None or shape is None or shape.small_weights is None:
            return super().from_pretrained(name, *model_args, config=config, **kwargs)
        file = cached_file(name, "model.safetensors", **place)
        state = restore_weights(shape, load_file(str(file)), str(name))
        others = {key: value for key, value in kwargs.items() if key not in place and not hasattr(shape, key)}
        wanted = {"dtype": kwargs.get("dtype", kwargs.get("torch_dtype", torch.float32))}
        others.pop("torch_dtype", None)
        return super().from_pretrained(None, *model_args, config=shape, state_dict=state, **(others | wanted))

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *, state_dict: dict[str, Tensor] | None = None, **kwargs: object
    ) -> None:
        """Write a folder as transformers does, with weights as small as ``config.small_weights`` says.

        Raises:
            ModelError: weights hold other numbers than fit there.
        """
        if (small := self.config.small) is not None:
            state = self.state_dict() if state_dict is None else state_dict
            tied = self.get_expanded_tied_weights_keys(all_submodels=True)
            state = {name: tensor for name, tensor in state.items() if tied.get(name) not in state}
            state_dict = pack_state(state, small, int8_layers(self.base_model), self.config.weight_prefix)
        super().save_pretrained(save_directory, state_dict=state_dict, **kwargs)


class _Given(NamedTuple):
    """What ``SpeechEncoder.forward`` is given."""

    input_values: Tensor
    attention_mask: Tensor | None
    mask_time_indices: Tensor | None
    mask_feature_indices: Tensor | None

    def rows(self) -> Iterator[_Given]:
        """One utterance after the other, without its padding."""
        samples = self.input_values.shape[1]
        lengths = [samples] * len(self.input_values) if self.attention_mask is None else self.attention_mask.sum(-1)
        for row, length in enumerate(lengths):
            masks = (None if mask is None else mask[row : row + 1] for mask in self[2:])
            yield _Given(self.input_values[row : row + 1, : int(length)], None, *masks)


def _join_rows(
    rows: Sequence[SpeechEncoderOutput], given: _Given, feature_encoder: FeatureEncoder, reduction: int
) -> SpeechEncoderOutput:
    """Put utterances that were encoded one by one beside each other, with zeros after the shorter ones."""
    samples = max(given.input_values.shape[1], feature_encoder.receptive_field)
    frames = int(feature_encoder.frame_lengths(torch.tensor([samples])))

    def join(parts: Sequence[Tensor | None], is_map: bool = False) -> Tensor | None:
        padded = []
        for part in parts:
            if part is None:
                return None
            missing = (-(-frames // reduction) if is_map else frames) - part.shape[-2]
            padded.append(nn.functional.pad(part, (0, missing if is_map else 0, 0, missing)))
        return torch.cat(padded)

    joined: dict[str, Any] = {}
    for name in ("last_hidden_state", "conv_features"):
        joined[name] = join([getattr(row, name) for row in rows])
    for name in ("hidden_states", "attentions", "attention_values"):
        # Not by key: what is None has none in transformers' outputs.
        if getattr(rows[0], name) is not None:
            layers = zip(*(getattr(row, name) for row in rows), strict=True)
            joined[name] = tuple(join(layer, name == "attentions") for layer in layers)
    if given.attention_mask is not None:
        real = feature_encoder.frame_lengths(given.attention_mask.sum(-1))
        joined["frame_mask"] = torch.arange(frames, device=real.device) < real[:, None]
    return SpeechEncoderOutput(**joined)


class SpeechEncoder(BigfootPreTrainedModel):
    """wav2vec2-like encoder of any shape: convolutions, projection, transformer (Baevski et al., 2020).

    Padding never changes an answer: an utterance gives in a batch, with its ``attention_mask``, what it gives alone.

    Args:
        config: the shape.

    Example:
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
        >>> SpeechEncoder(config).eval()(torch.zeros(1, 16000)).last_hidden_state.shape
        torch.Size([1, 49, 16])
    """

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__(config)
        self.feature_extractor = FeatureEncoder(config)
        self.feature_projection = FeatureProjection(config)
        masks = config.mask_time_prob > 0 or config.mask_feature_prob > 0
        self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size).uniform_()) if masks else None
        self.encoder = TransformerEncoder(config)
        name, owners = "feature_extractor.conv_layers.{}.conv.weight".format, enumerate(config.kernel_owners)
        self._tied_weights_keys = {name(layer): name(owner) for layer, owner in owners if layer != owner}
        # A number between two steps goes to the one or the other by its last bit, and that one a batch decides, as it
        # decides the ranges that are taken from the audio: such a model hears one utterance at a time.
        self.hears_alone = config.small is not None and config.small.computes_int8
        if config.small is not None and self.hears_alone:
            install_fake_int8_(self, config.small)
        self.post_init()

    @property
    def feature_encoder(self) -> FeatureEncoder:
        """The convolutions; ``feature_extractor`` is the name they carry in checkpoints."""
        return self.feature_extractor

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Tell transformers which kernels are one, so that it saves one and ties them again when it loads.

        Its own way asks ``config.tie_word_embeddings``, which says nothing about convolutions.
        """
        if all_submodels:
            return super().get_expanded_tied_weights_keys(all_submodels=True)
        return dict(self._tied_weights_keys)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Begin as the family does in transformers, so that a model trained from nothing trains as it would there.

        Only modules with weights of their own are asked about: transformers takes any other as done already.
        """
        super()._init_weights(module)
        if module is self and self.masked_spec_embed is not None:
            init.uniform_(self.masked_spec_embed)
        elif module is self.feature_projection.projection and self.config.family != "hubert":
            bound = math.sqrt(1 / module.in_features)
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, GatedRelativeAttention):
            init.ones_(module.gru_rel_pos_const)
        elif isinstance(module, nn.Conv1d):
            self._init_conv(module)

    def _init_conv(self, conv: nn.Conv1d) -> None:
        positional = any(conv is module for module in self.encoder.pos_conv_embed.modules())
        silent = self.config.family == "hubert" or (positional and self.config.has_positional_stack)
        if silent and conv.bias is not None:
            init.zeros_(conv.bias)
        if parametrize.is_parametrized(conv):
            return  # The weight is made of two others, which keep PyTorch's start there too.
        init.kaiming_normal_(conv.weight)
        if not silent and conv.bias is not None:
            bound = math.sqrt(conv.groups / (conv.in_channels * conv.kernel_size[0]))
            init.uniform_(conv.bias, -bound, bound)

    def _mask_features(self, x: Tensor, time: Tensor | None, feature: Tensor | None) -> Tensor:
        if time is not None:
            filler = torch.zeros((), device=x.device) if self.masked_spec_embed is None else self.masked_spec_embed
            # Masks end with the longest real utterance; the batch may be padded further.
            time = nn.functional.pad(time, (0, x.shape[1] - time.shape[1]))
            x = torch.where(time[..., None], filler.to(x.dtype), x)
        if feature is not None:
            x = x * ~feature[:, None, :]
        return x

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        mask_time_indices: Tensor | None = None,
        mask_feature_indices: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        output_attention_values: bool = False,
        **_: object,
    ) -> SpeechEncoderOutput:
        """Encode waveforms.

        Args:
            input_values: (B, N), normalized as the processor says.
            attention_mask: (B, N), true or 1 where a sample is real, padding at the end; None where all are.
            mask_time_indices: (B, T), True where SpecAugment hides a frame.
            mask_feature_indices: (B, D), True where SpecAugment hides a channel.
            output_hidden_states: return those of every layer.
            output_attentions: return the weights of every layer.
            output_attention_values: return the values of every layer's attention.

        Returns:
            See ``SpeechEncoderOutput``.

        Raises:
            ModelError: the model is in training mode, and its weights are small on disk.
        """
        if self.training:
            refuse_small(self.config, "it cannot be trained")
        given = _Given(input_values, attention_mask, mask_time_indices, mask_feature_indices)
        wanted = output_hidden_states, output_attentions, output_attention_values
        if not self.hears_alone or (attention_mask is None and len(input_values) == 1):
            return self._encode(given, *wanted)
        rows = [self._encode(row, *wanted) for row in given.rows()]
        return _join_rows(rows, given, self.feature_extractor, self.config.time_reduction)

    def _encode(
        self, given: _Given, output_hidden_states: bool, output_attentions: bool, output_attention_values: bool
    ) -> SpeechEncoderOutput:
        input_values, attention_mask, mask_time_indices, mask_feature_indices = given
        lengths = None
        if attention_mask is not None:
            lengths = attention_mask.sum(-1)
            # Nobody's answer reads the padding, but NaN times zero is NaN.
            input_values = input_values.where(attention_mask.bool(), 0.0)
        conv_features = self.feature_extractor(input_values, lengths)
        frame_mask = None
        if lengths is not None:
            frames = self.feature_extractor.frame_lengths(lengths)
            frame_mask = torch.arange(conv_features.shape[1], device=frames.device) < frames[:, None]
        x = self._mask_features(self.feature_projection(conv_features), mask_time_indices, mask_feature_indices)
        layers = cast("list[EncoderLayer]", list(self.encoder.layers)) if output_attention_values else []
        with keep_values([layer.attention for layer in layers]) as values:
            output = self.encoder(x, frame_mask, output_hidden_states, output_attentions)
        output["attention_values"] = tuple(values) if output_attention_values else None
        output["conv_features"], output["frame_mask"] = conv_features, frame_mask
        return output


def restore_weights(config: BigfootConfig, tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Bring the weights of a folder back to fp32; see ``unpack_state``.

    Args:
        config: of the folder.
        tensors: of its weight files, by name.
        source: where they come from, for messages.

    Raises:
        ModelError: they are not what the configuration says.
    """
    layers: Sequence[str] = ()
    if config.has_int8_weights:
        with torch.device("meta"):
            layers = list(int8_layers(SpeechEncoder(config)))
    return unpack_state(tensors, config.small, layers, config.weight_prefix, source)


def refuse_small(config: BigfootConfig, consequence: str) -> None:
    """Keep a model whose weights are small on disk from a change that they could not hold.

    Args:
        config: of the model.
        consequence: what is refused.

    Raises:
        ModelError: its weights are small.
    """
    if config.small_weights is not None:
        raise ModelError(
            f"this model's weights are {config.precision} on disk, and {consequence}: what changed would be lost when "
            "they are rounded again. Do it before they are made small, or bring the model back first: "
            "bigfoot quantize MODEL OUT --precision float32"
        )
