"""The encoder of any CTC model of transformers that is none of our families, with its own feature extractor.

Every utterance runs by itself: what padding does inside a foreign class is not ours to promise, and a target must not
depend on the batch that it was computed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from bigfoot.models.frames.base import AudioBatch, FrameEncoder, Frames, run_one_by_one
from bigfoot.models.frames.timing import FrameTiming
from bigfoot.muting import without_bars

SHORTEST = 1600
"""Samples below which an utterance has no frame: normalization over two or three spectra is none."""
_FIELDS = {"config", "extractor", "timing"}
_NO_SHAPE = ("auto_map", "attn_implementation", "quantization_config", "dtype", "torch_dtype", "transformers_version")


class TransformersFrames(FrameEncoder):
    """A CTC model of transformers without its head, behind the waveform.

    Args:
        settings: ``config`` and ``extractor``, the contents of ``config.json`` and ``preprocessor_config.json``; and
            ``timing``, see ``FrameTiming``.

    Raises:
        ValueError: they cannot be built.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        if settings.keys() != _FIELDS:
            raise ValueError(f"expected {', '.join(sorted(_FIELDS))}, got {', '.join(sorted(settings))}")
        self.timing = FrameTiming(*map(float, settings["timing"]))
        self.model, _ = split_head(build_model(settings["config"]))
        self._extractor = build_extractor(settings["extractor"])
        shape = encoder_config(self.model)
        self.hidden_size, self.num_layers = int(shape.hidden_size), int(shape.num_hidden_layers)

    @property
    def layers(self) -> nn.ModuleList:
        """See ``FrameEncoder``."""
        found = getattr(find_encoder(self.model), "layers", None)
        return found if isinstance(found, nn.ModuleList) else nn.ModuleList()

    def frame_lengths(self, samples: Tensor) -> Tensor:
        """See ``FrameEncoder``; to within a frame, as the class itself decides at the end of the audio."""
        lengths = torch.div(samples, self.timing.period, rounding_mode="floor").long()
        return lengths.where(samples >= SHORTEST, 0)

    def frames(self, audio: AudioBatch) -> Frames:
        """See ``FrameEncoder``; nothing is masked here."""
        return run_one_by_one(audio, self._run)

    def _run(self, samples: Tensor) -> Sequence[Tensor]:
        """L+1 of (T, D) of one utterance."""
        if len(samples) < SHORTEST:
            return [samples.new_zeros(0, self.hidden_size)] * (self.num_layers + 1)
        given = self._extractor(
            [samples.detach().cpu().numpy()], sampling_rate=16_000, return_tensors="pt", return_attention_mask=True
        )
        encoder = find_encoder(self.model)
        kinds = {name: x.to(samples.device) for name, x in given.items() if isinstance(x, Tensor)}
        kinds = {name: x.to(samples.dtype) if x.is_floating_point() else x for name, x in kinds.items()}
        output = encoder(**kinds, output_hidden_states=True)
        mask = getattr(output, "attention_mask", None)
        length = output.last_hidden_state.shape[1] if mask is None else int(mask.sum())
        states = list(output.hidden_states)
        # The last is the head's input, whatever the class does behind its last layer.
        states = [*states[: self.num_layers], output.last_hidden_state]
        return [state[0, :length] for state in states]


def build_model(config: dict[str, Any], auto: Any = AutoModelForCTC) -> PreTrainedModel:  # noqa: ANN401 - a class
    """Build a model of transformers with random weights; no code of a folder is run.

    Args:
        config: content of its ``config.json``.
        auto: transformers' class that finds its own.

    Raises:
        ValueError: transformers has no such model.
    """
    kind, fields = str(config.get("model_type")), _plain_fields(config)
    fields.pop("model_type", None)
    with without_bars():
        model = auto.from_config(
            AutoConfig.for_model(kind, **fields), trust_remote_code=False, attn_implementation="eager"
        )
    assert isinstance(model, PreTrainedModel)
    return model


def _plain_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Drop what does not describe a shape: names of code, of kernels on the hub and of quantizers."""
    return {
        name: _plain_fields(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _NO_SHAPE and not name.startswith("_")
    }


def build_extractor(fields: dict[str, Any]) -> SequenceFeatureExtractor:
    """Build a feature extractor of transformers' own.

    Args:
        fields: content of ``preprocessor_config.json``.

    Raises:
        ValueError: transformers has none of that name, or it needs what is not there.
    """
    name = str(fields.get("feature_extractor_type"))
    kind = getattr(transformers, name, None) if name.endswith("FeatureExtractor") else None
    if not isinstance(kind, type) or not issubclass(kind, SequenceFeatureExtractor):
        raise ValueError(f"transformers has no feature extractor {name!r} for audio")
    given = {key: value for key, value in fields.items() if key not in ("feature_extractor_type", "processor_class")}
    found: SequenceFeatureExtractor = kind(**given)
    return found


def encoder_config(model: PreTrainedModel) -> Any:  # noqa: ANN401 - of any class
    """Return the part of its configuration that is its encoder's."""
    return getattr(model.config, "encoder_config", model.config)


def find_encoder(model: PreTrainedModel) -> nn.Module:
    """Return the part of a CTC model that its head reads."""
    found = getattr(model, "encoder", None) or getattr(model, model.base_model_prefix)
    assert isinstance(found, nn.Module)
    return found


def split_head(model: PreTrainedModel) -> tuple[PreTrainedModel, tuple[str, nn.Module]]:
    """Take the head off a CTC model.

    Args:
        model: changed in place.

    Returns:
        The model, and the name of its head with the head.

    Raises:
        ValueError: there is no linear head over the vocabulary.
    """
    size = int(model.config.vocab_size)
    for name, part in model.named_children():
        linear = isinstance(part, nn.Linear) and part.out_features == size
        pointwise = isinstance(part, nn.Conv1d) and part.kernel_size == (1,) and part.out_channels == size
        if linear or pointwise:
            setattr(model, name, nn.Identity())
            return model, (name, part)
    raise ValueError(f"{type(model).__name__} has no linear head over its {size} tokens")
