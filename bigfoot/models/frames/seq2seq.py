"""A sequence-to-sequence speech model of transformers as a teacher of transcripts: its encoder, and its decoder beside.

What learns from it learns from its texts; frames are computed for measurements alone. Every utterance runs by itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSpeechSeq2Seq

from bigfoot.models.frames.base import AudioBatch, FrameEncoder, Frames, run_one_by_one
from bigfoot.models.frames.transformers_ctc import SHORTEST, build_extractor, build_model
from bigfoot.types import SAMPLE_RATE

SEQ2SEQ_KINDS = ("moonshine", "speech_to_text", "speecht5")
"""Kinds in transformers' words, besides Whisper, whose encoder is read as one of ours."""
_FIELDS = {"config", "extractor"}


class Seq2SeqFrames(FrameEncoder):
    """See the module.

    Args:
        settings: ``config`` and ``extractor``, the contents of ``config.json`` and ``preprocessor_config.json``.

    Raises:
        ValueError: they cannot be built.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        if settings.keys() != _FIELDS:
            raise ValueError(f"expected {', '.join(sorted(_FIELDS))}, got {', '.join(sorted(settings))}")
        self.model = build_model(settings["config"], AutoModelForSpeechSeq2Seq)
        self._extractor = build_extractor(settings["extractor"])
        shape = self.model.config
        # Of its layers, whose number has a name of its own in every class, none is read.
        self.hidden_size, self.num_layers = int(shape.hidden_size), 1

    def extract(self, samples: Tensor) -> dict[str, Tensor]:
        """Turn an utterance into the input of the model.

        Args:
            samples: (N,) at 16 kHz, as the processor of its folder has them.
        """
        # Digital silence has no variance, which some extractors divide by.
        with np.errstate(divide="ignore", invalid="ignore"):
            given = self._extractor(
                [samples.detach().float().cpu().numpy()], sampling_rate=SAMPLE_RATE, return_tensors="pt",
                return_attention_mask=True,
            )  # fmt: skip
        return {name: tensor.to(self.model.device) for name, tensor in given.items() if isinstance(tensor, Tensor)}

    def frame_lengths(self, samples: Tensor) -> Tensor:
        """See ``FrameEncoder``; 20 ms each, as nobody compares them."""
        return torch.div(samples, 320, rounding_mode="floor").long().where(samples >= SHORTEST, 0)

    def frames(self, audio: AudioBatch) -> Frames:
        """See ``FrameEncoder``; the last states of the encoder alone."""
        return run_one_by_one(audio, lambda samples: [self._encode(samples)] * 2)

    def _encode(self, samples: Tensor) -> Tensor:
        """(T, D) of one utterance."""
        if len(samples) < SHORTEST:
            return samples.new_zeros(0, self.hidden_size)
        state: Tensor = self.model.get_encoder()(**self.extract(samples)).last_hidden_state
        return state[0]
