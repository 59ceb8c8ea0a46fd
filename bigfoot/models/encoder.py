"""``SpeechEncoder``: one PyTorch module for every shape that a compression step can make."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import parametrize

from bigfoot.models.attention import keep_values
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.conformer import PointwiseConv
from bigfoot.models.conformer_attention import ConformerAttention
from bigfoot.models.conformer_positions import RotaryPositions
from bigfoot.models.conv_adapter import ConvAdapter
from bigfoot.models.fake_int8 import install_fake_int8_, int8_layers
from bigfoot.models.feature_encoder import FeatureEncoder, FeatureProjection
from bigfoot.models.feed_forward import FeedForward
from bigfoot.models.frames.base import prepend_prompts
from bigfoot.models.log_mel import LogMel
from bigfoot.models.lora import inject_configured_
from bigfoot.models.outputs import SpeechEncoderOutput
from bigfoot.models.packed import install_steps_, packable_layers
from bigfoot.models.padding import Audio, bring_to_front, join_rows
from bigfoot.models.pretrained import BigfootPreTrainedModel, refuse_small
from bigfoot.models.relative_bias import GatedRelativeAttention
from bigfoot.models.squeezed import build_encoder
from bigfoot.models.streaming import Chunks
from bigfoot.models.transformer import EncoderLayer


def build_prompts(config: BigfootConfig) -> nn.Parameter | None:
    """Build the learned frames in front of the layers' input; None where there are none."""
    if not config.num_prompts:
        return None
    return nn.Parameter(config.initializer_range * torch.randn(config.num_prompts, config.hidden_size))


class SpeechEncoder(BigfootPreTrainedModel):
    """wav2vec2-like encoder of any shape: convolutions, projection, transformer (Baevski et al., 2020).

    Padding never changes an output: an utterance in a batch, with its ``attention_mask``, gives the same as alone.

    Args:
        config: the shape.

    Examples:
        >>> config = BigfootConfig(hidden_size=16, num_attention_heads=2, num_hidden_layers=2, intermediate_size=32,
        ...                        conv_dim=[8] * 7, num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2)
        >>> SpeechEncoder(config).eval()(torch.zeros(1, 16000)).last_hidden_state.shape
        torch.Size([1, 49, 16])
    """

    gives_logits = False
    """See ``FrameEncoder``."""

    def __init__(self, config: BigfootConfig) -> None:
        super().__init__(config)
        self.feature_extractor = FeatureEncoder(config) if config.has_convolutions else LogMel(config)
        self.feature_projection = FeatureProjection(config)
        masks = config.mask_time_prob > 0 or config.mask_feature_prob > 0
        self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size).uniform_()) if masks else None
        self.encoder = build_encoder(config)
        self.prompts = build_prompts(config)
        self.intermediate_ffn: FeedForward | None = None
        if config.use_intermediate_ffn_before_adapter:
            self.intermediate_ffn = FeedForward(config, config.intermediate_size, "relu")
        self.adapter = ConvAdapter(config) if config.add_adapter else None
        inject_configured_(self.encoder.layers, config.lora)
        name, owners = "feature_extractor.conv_layers.{}.conv.weight".format, enumerate(config.kernel_owners)
        self._tied_weights_keys = {name(layer): name(owner) for layer, owner in owners if layer != owner}
        # A number between two steps goes to the one or the other by its last bit, and that one a batch decides, as it
        # decides the ranges that are taken from the audio: such a model runs one utterance at a time.
        self.runs_unbatched = config.small is not None and config.small.computes_int8
        if config.small is not None and self.runs_unbatched:
            install_fake_int8_(self, config.small)
        if config.small is not None and config.small.bits:
            layers = packable_layers(int8_layers(self), self._tied_weights_keys)
            install_steps_(self, config.small.bits, config.small.group_size, layers)
        self.post_init()

    @property
    def feature_encoder(self) -> FeatureEncoder | LogMel:
        """The front end; ``feature_extractor`` is the name that its convolutions carry in checkpoints."""
        return self.feature_extractor

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Return to transformers which kernels are one, so that it saves one and ties them again when it loads.

        Its own way reads ``config.tie_word_embeddings``, which does not cover convolutions.
        """
        if all_submodels:
            return super().get_expanded_tied_weights_keys(all_submodels=True)
        return dict(self._tied_weights_keys)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialize as the family does in transformers, so that a model trained from scratch trains as it would there.

        Only modules with weights of their own are asked about: transformers takes any other as done already.
        """
        super()._init_weights(module)
        if module is self and self.masked_spec_embed is not None:
            init.uniform_(self.masked_spec_embed)
        if module is self and self.prompts is not None:
            init.normal_(self.prompts, std=self.config.initializer_range)
        if module is self.feature_projection.projection and self.config.family != "hubert":
            bound = math.sqrt(1 / module.in_features)
            init.uniform_(module.weight, -bound, bound)
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, GatedRelativeAttention):
            init.ones_(module.gru_rel_pos_const)
        elif isinstance(module, nn.Conv1d):
            self._init_conv(module)
        elif isinstance(module, PointwiseConv):
            init.kaiming_normal_(module.weight)
        elif isinstance(module, ConformerAttention) and module.positions == "relative":
            init.xavier_uniform_(module.pos_bias_u)
            init.xavier_uniform_(module.pos_bias_v)
        elif isinstance(module, RotaryPositions):
            module.inv_freq.copy_(module.compute_frequencies())

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
            time = time.repeat_interleave(self.config.frames_per_output, 1)
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
        chunk_frames: Tensor | int | None = None,
        conv_features: Tensor | None = None,
        **_: object,
    ) -> SpeechEncoderOutput:
        """Encode waveforms.

        Args:
            input_values: (B, N), normalized by the processor.
            attention_mask: (B, N), true or 1 where a sample is real; None where all are. The real samples of a row
                are one run, with padding before or after it.
            mask_time_indices: (B, T), True where SpecAugment hides a frame, counted from the row's first real sample.
            mask_feature_indices: (B, D), True where SpecAugment hides a channel.
            output_hidden_states: return those of every layer.
            output_attentions: return the weights of every layer.
            output_attention_values: return the values of every layer's attention.
            chunk_frames: of a model that streams, chunks of another size than its own.
            conv_features: of ``convolve`` for the same audio; computed here where they are None.

        Returns:
            See ``SpeechEncoderOutput``. The frames of a row are those that it gives alone, from frame 0 on, wherever
            its padding stands: ``frame_mask`` is True on the first frames of each row.

        Raises:
            ModelError: the model is in training mode, and its weights are quantized.
            DataError: the mask has another shape than the samples, or padding between real samples.
        """
        if self.training:
            refuse_small(self.config, "it cannot be trained")
        if attention_mask is not None:
            input_values, attention_mask = bring_to_front(input_values, attention_mask, self.training)
        masks = mask_time_indices, mask_feature_indices
        given = Audio(input_values, attention_mask, *masks, chunk_frames, conv_features)
        wanted = output_hidden_states, output_attentions, output_attention_values
        if not self.runs_unbatched or (attention_mask is None and len(input_values) == 1):
            return self._encode(given, *wanted)
        rows = [self._encode(row, *wanted) for row in given.rows()]
        return join_rows(rows, given, self.feature_extractor, self.config)

    def convolve(self, input_values: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute what the convolutions make of waveforms, (B, T, C); see ``forward``."""
        input_values, attention_mask = bring_to_front(input_values, attention_mask, self.training)
        return self.feature_extractor(input_values.where(attention_mask.bool(), 0.0), attention_mask.sum(-1))

    def _encode(
        self, given: Audio, output_hidden_states: bool, output_attentions: bool, output_attention_values: bool
    ) -> SpeechEncoderOutput:
        input_values, attention_mask, mask_time_indices, mask_feature_indices, chunk_frames, conv_features = given
        lengths = None
        if attention_mask is not None:
            lengths = attention_mask.sum(-1)
            # No output depends on the padding, but NaN times zero is NaN.
            input_values = input_values.where(attention_mask.bool(), 0.0)
        if conv_features is None:
            conv_features = self.feature_extractor(input_values, lengths)
        frame_mask = None
        if lengths is not None:
            frames = self.feature_extractor.layer_lengths(lengths)
            frame_mask = torch.arange(conv_features.shape[1], device=frames.device) < frames[:, None]
        x = self._mask_features(self.feature_projection(conv_features), mask_time_indices, mask_feature_indices)
        if self.prompts is not None:
            x, frame_mask = prepend_prompts(x, frame_mask, self.prompts)
        layers = cast("list[EncoderLayer]", list(self.encoder.layers)) if output_attention_values else []
        with keep_values([layer.attention for layer in layers]) as values:
            chunks = Chunks.of(self.config.stream, chunk_frames)
            output = self.encoder(x, frame_mask, output_hidden_states, output_attentions, chunks)
        output["attention_values"] = tuple(values) if output_attention_values else None
        output["conv_features"], output["frame_mask"] = conv_features, frame_mask
        return output if self.adapter is None else self._shorten(output, self.adapter)

    def _shorten(self, output: SpeechEncoderOutput, adapter: ConvAdapter) -> SpeechEncoderOutput:
        """Run the layers that shorten time; of all else stays what stands at the frames that are left."""
        states, step = output.last_hidden_state, self.config.frames_per_output
        assert states is not None and output.conv_features is not None
        if self.intermediate_ffn is not None:
            states = states + 0.5 * self.intermediate_ffn(states)
        shortened, frame_mask = adapter(states, output.frame_mask)
        output["last_hidden_state"], output["frame_mask"] = shortened, frame_mask
        output["conv_features"] = output.conv_features[:, ::step][:, : shortened.shape[1]]
        if output.hidden_states is not None:
            thinned = (state[:, ::step][:, : shortened.shape[1]] for state in output.hidden_states)
            output["hidden_states"] = tuple(thinned)
        return output
