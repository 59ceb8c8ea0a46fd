"""An encoder of another kind in the place of ``SpeechEncoder``: heads, training and folders stay the same."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.encoder import SpeechEncoder, build_prompts
from bigfoot.models.frames.base import AudioBatch, FrameEncoder, Frames
from bigfoot.models.frames.registry import build_frame_encoder
from bigfoot.models.lora import inject_configured_
from bigfoot.models.outputs import SpeechEncoderOutput
from bigfoot.models.padding import bring_to_front
from bigfoot.models.pretrained import BigfootPreTrainedModel


class _Front(nn.Module):
    """What trains and freezes as ``feature_encoder``; the modules themselves belong to the encoder."""

    def __init__(self, inner: FrameEncoder) -> None:
        super().__init__()
        # In a list, so that they have one name in a checkpoint.
        self._inner = [inner]

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        for module in self._inner[0].front:
            yield from module.parameters(recurse)

    def frame_lengths(self, samples: Tensor) -> Tensor:
        return self._inner[0].frame_lengths(samples)


class _Stack(nn.Module):
    """The encoder under the names that ``TransformerEncoder`` has."""

    def __init__(self, inner: FrameEncoder) -> None:
        super().__init__()
        self.inner = inner
        self.pos_conv_embed = nn.Identity()

    @property
    def layers(self) -> nn.ModuleList:
        return self.inner.layers

    def forward(self, audio: AudioBatch) -> Frames:
        """Encode a batch; a call of this module, so that time and operations count as the encoder's."""
        return self.inner.frames(audio)


class OtherEncoder(SpeechEncoder):
    """A ``FrameEncoder`` with the interface of ``SpeechEncoder``.

    Args:
        config: with ``frame_encoder``.
    """

    def __init__(self, config: BigfootConfig) -> None:
        BigfootPreTrainedModel.__init__(self, config)
        assert config.frame_encoder is not None
        inner = build_frame_encoder(config.frame_encoder)
        self.feature_extractor = _Front(inner)  # type: ignore[assignment]
        self.feature_projection = nn.Identity()  # type: ignore[assignment]
        self.encoder = _Stack(inner)  # type: ignore[assignment]
        self.masked_spec_embed, self.runs_unbatched = None, False
        self.gives_logits = inner.gives_logits
        if (inner.hidden_size, inner.num_layers) != (config.hidden_size, config.num_hidden_layers):
            found = f"{inner.num_layers} layers, {inner.hidden_size} wide"
            given = f"{config.num_hidden_layers} layers, {config.hidden_size} wide"
            raise ModelError(f"frame_encoder: its settings give {found}, and the configuration has {given}")
        if config.num_prompts and not inner.takes_prompts:
            raise ModelError(f"frame_encoder: the kind {config.frame_encoder['kind']!r} takes no prompts")
        self.prompts = build_prompts(config)
        self._tied_weights_keys: dict[str, str] = {}
        inject_configured_(self.encoder.layers, config.lora)

    def _init_weights(self, module: nn.Module) -> None:
        """Leave weights as the encoder's own class initializes them."""

    @property
    def inner(self) -> FrameEncoder:
        """The encoder itself."""
        inner = self.encoder.inner
        assert isinstance(inner, FrameEncoder)
        return inner

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
        """Encode waveforms; see ``SpeechEncoder.forward``. There are no attentions, and no masked channels."""
        if attention_mask is None:
            attention_mask = torch.ones(input_values.shape, dtype=torch.bool, device=input_values.device)
        input_values, attention_mask = bring_to_front(input_values, attention_mask, self.training)
        real = attention_mask.bool()
        # No output depends on the padding, but NaN times zero is NaN.
        audio = AudioBatch(input_values.where(real, 0.0), real, mask_time_indices, self.prompts)
        states, frame_mask = self.encoder(audio)
        return SpeechEncoderOutput(
            last_hidden_state=states[-1],
            hidden_states=tuple(states) if output_hidden_states else None,
            frame_mask=frame_mask,
        )
