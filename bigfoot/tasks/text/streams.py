"""Streams of speech features for a text task, each at its own rate."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError, MissingExtraError
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.decoders.fbank import Fbank
from bigfoot.models.fusion.streams import Frames, StreamShape
from bigfoot.tasks.text.settings import SpeechConfig
from bigfoot.types import SAMPLE_RATE

_WINDOW, _HOP = 400, 160
"""Samples of frames that no encoder makes, 25 and 10 ms."""
_PROSODY = 4
"""Pitch in octaves above 100 Hz, whether voiced, intensity and harmonicity in tens of decibels."""


class SpeechStreams(nn.Module):
    """Computes the streams of a batch of waveforms; padding changes none of them.

    Args:
        config: which streams.
        encoder: whose hidden states are streams; None for none.
        phonemes: whose posteriors are; None for none.

    Raises:
        ConfigError: a layer that the encoder has not, or a model without CTC head.
        MissingExtraError: prosody without its library.
    """

    def __init__(self, config: SpeechConfig, encoder: LoadedModel | None, phonemes: LoadedModel | None) -> None:
        super().__init__()
        self.config = config
        self.encoder = None if encoder is None else encoder.model
        self.layers = [] if self.encoder is None else _find_layers(self.encoder, config.layers)
        # In a list: it never learns, and is no part of what is saved here.
        self._phonemes = [] if phonemes is None else [_check_phonemes(phonemes).requires_grad_(False).eval()]
        self.fbank = Fbank(config.fbank, _WINDOW, _HOP) if config.fbank else None
        if config.prosody:
            _import_parselmouth()
        if self.encoder is not None and not config.train_encoder:
            self.encoder.requires_grad_(False)

    @property
    def shapes(self) -> dict[str, StreamShape]:
        """Shapes of the streams, by name."""
        sizes: dict[str, int] = {}
        if self.encoder is not None:
            sizes |= {f"layer_{layer}": self.encoder.config.hidden_size for layer in self.layers}
        if self.fbank is not None:
            sizes["fbank"] = self.config.fbank
        for model in self._phonemes:
            assert model.head is not None
            sizes["phonemes"] = model.head.out_features
        if self.config.prosody:
            sizes["prosody"] = _PROSODY
        way = self.config.projection, self.config.kernel, self.config.stride
        return {name: StreamShape(size, *way) for name, size in sizes.items()}

    def train(self, mode: bool = True) -> SpeechStreams:
        """Set the mode; what does not learn stays in that of inference."""
        super().train(mode)
        if self.encoder is not None and not self.config.train_encoder:
            self.encoder.eval()
        return self

    def forward(self, input_values: Tensor, attention_mask: Tensor) -> dict[str, Frames]:
        """Compute the streams.

        Args:
            input_values: (B, N), normalized by the processor.
            attention_mask: (B, N), True = real.

        Returns:
            Frames by name.
        """
        found: dict[str, Frames] = {}
        if self.encoder is not None:
            with nullcontext() if self.config.train_encoder else torch.no_grad():
                output = self.encoder(input_values, attention_mask, output_hidden_states=True)
            states, mask = output.hidden_states, output.frame_mask
            assert states is not None and mask is not None
            found |= {f"layer_{layer}": Frames(states[layer], mask) for layer in self.layers}
        lengths = attention_mask.sum(1)
        if self.fbank is not None:
            found["fbank"] = _mask(self.fbank(input_values), (lengths - _WINDOW) // _HOP + 1)
        for model in self._phonemes:
            with torch.no_grad():
                output = model.to(input_values.device)(input_values, attention_mask)
            assert output.logits is not None and output.frame_mask is not None
            found["phonemes"] = Frames(output.logits.softmax(-1), output.frame_mask)
        if self.config.prosody:
            rows = [_measure_prosody(row[: int(size)]) for row, size in zip(input_values, lengths, strict=True)]
            padded = nn.utils.rnn.pad_sequence(rows, batch_first=True).to(input_values.device)
            found["prosody"] = _mask(padded, torch.tensor([len(row) for row in rows], device=padded.device))
        return found


def _mask(features: Tensor, lengths: Tensor) -> Frames:
    places = torch.arange(features.shape[1], device=features.device)
    return Frames(features, places < lengths[:, None])


def _find_layers(encoder: BigfootForCTC, layers: list[int]) -> list[int]:
    states = encoder.config.num_hidden_layers + 1
    if wrong := [layer for layer in layers if not -states <= layer < states]:
        message = f"{wrong[0]} is none of the {states} hidden states, 0 to {states - 1}"
        raise ConfigError([Problem("speech.layers", "out_of_range", message)])
    return sorted({layer % states for layer in layers})


def _check_phonemes(loaded: LoadedModel) -> BigfootForCTC:
    if reason := loaded.missing_text_reason:
        message = f"{loaded.folder} has no phonemes: {reason}; name a model with a phoneme CTC head"
        raise ConfigError([Problem("speech.phonemes", "no_head", message)])
    return loaded.model


def _import_parselmouth() -> Any:  # noqa: ANN401 - a module without types
    try:
        import parselmouth
    except ImportError as error:
        raise MissingExtraError("prosody", "praat-parselmouth") from error
    return parselmouth


def _measure_prosody(samples: Tensor) -> Tensor:
    """Measure (T, 4) of one waveform by Praat, 100 frames a second."""
    step, rate = _HOP / SAMPLE_RATE, float(SAMPLE_RATE)
    count = max(1, (len(samples) - _WINDOW) // _HOP + 1)
    sound = _import_parselmouth().Sound(samples.double().cpu().numpy(), rate)
    times = (np.arange(count) * _HOP + _WINDOW / 2) / rate
    found = np.zeros((count, _PROSODY), np.float32)
    if sound.duration > 0.1:  # Praat's windows are as long as three periods of its lowest pitch.
        pitch, loud, harmonic = sound.to_pitch(step), sound.to_intensity(60.0, step), sound.to_harmonicity_cc(step)
        hertz = np.nan_to_num([pitch.get_value_at_time(time) for time in times])
        found[:, 0] = np.log2(hertz, where=hertz > 0, out=np.full(count, np.log2(100.0))) - np.log2(100.0)
        found[:, 1] = hertz > 0
        found[:, 2] = np.nan_to_num([loud.get_value(time) for time in times]) / 10
        found[:, 3] = np.clip(np.nan_to_num([harmonic.get_value(time) for time in times]), -20, 40) / 10
    return torch.from_numpy(found)
