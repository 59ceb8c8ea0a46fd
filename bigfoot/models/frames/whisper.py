"""The encoder of Whisper (Radford et al., 2022), from the waveform on; padding is masked everywhere.

Whisper itself sees 30 s whatever the length of the audio, and attends to the silence behind it. Here padding is in no
frame: log-mel frames, convolutions and attention see zeros or nothing behind the end, so that the answer is the same
whether a batch is padded to its longest utterance or to 30 s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from bigfoot.models.frames.base import AudioBatch, FrameEncoder, Frames, prepend_prompts
from bigfoot.text.json_fields import OneOf, Rule, Share, Whole, find_problems

PADDINGS = ("trim", "pad_to_30s")


@dataclass(frozen=True)
class WhisperShape:
    """Shape of the encoder and of its front end; names are those of ``WhisperConfig`` and its feature extractor.

    Args:
        padding: ``trim`` computes a batch up to its longest utterance, ``pad_to_30s`` all 30 s as Whisper does.
    """

    d_model: int = 384
    encoder_layers: int = 4
    encoder_attention_heads: int = 6
    encoder_ffn_dim: int = 1536
    num_mel_bins: int = 80
    max_source_positions: int = 1500
    activation_function: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    hop_length: int = 160
    n_fft: int = 400
    padding: str = "trim"


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("d_model", "encoder_ffn_dim", "num_mel_bins", "max_source_positions", "n_fft", "hop_length"),
                    Whole(1, 2**14)),
    **dict.fromkeys(("encoder_layers", "encoder_attention_heads"), Whole(1, 2**8)),
    **dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), Share()),
    "activation_function": OneOf(("gelu", "relu", "silu")), "padding": OneOf(PADDINGS),
}  # fmt: skip


class WhisperFrames(FrameEncoder):
    """Whisper's encoder; audio longer than 30 s is encoded in windows of 30 s, whose frames follow each other.

    Args:
        settings: fields of ``WhisperShape``.

    Raises:
        ValueError: the settings cannot be built.

    Examples:
        >>> encoder = WhisperFrames({"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
        ...                          "encoder_ffn_dim": 32})
        >>> encoder.frame_lengths(torch.tensor([16_000, 480_000, 480_001])).tolist()
        [50, 1500, 1501]
    """

    takes_prompts = True

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        if problems := list(find_problems(settings, _RULES)):
            raise ValueError("; ".join(problems))
        self.shape = shape = WhisperShape(**settings)
        if shape.d_model % shape.encoder_attention_heads:
            raise ValueError(f"{shape.encoder_attention_heads} heads do not divide d_model {shape.d_model}")
        named = {item.name for item in dataclasses.fields(shape)} & set(WhisperConfig().to_dict())
        fields = {name: value for name, value in dataclasses.asdict(shape).items() if name in named}
        self.encoder = WhisperEncoder(WhisperConfig(**fields, attn_implementation="sdpa"))
        self.hidden_size, self.num_layers = shape.d_model, shape.encoder_layers
        self._extractor = WhisperFeatureExtractor(
            feature_size=shape.num_mel_bins, hop_length=shape.hop_length, n_fft=shape.n_fft
        )

    @property
    def layers(self) -> nn.ModuleList:
        """See ``FrameEncoder``."""
        return self.encoder.layers

    @property
    def front(self) -> Sequence[nn.Module]:
        """See ``FrameEncoder``."""
        return self.encoder.conv1, self.encoder.conv2

    @property
    def window(self) -> int:
        """Samples of a window, 30 s."""
        return 2 * self.shape.max_source_positions * self.shape.hop_length

    def frame_lengths(self, samples: Tensor) -> Tensor:
        """See ``FrameEncoder``; 20 ms each."""
        whole, rest = samples // self.window, samples % self.window
        return whole * self.shape.max_source_positions + (self._mel_lengths(rest) + 1) // 2

    def _mel_lengths(self, samples: Tensor) -> Tensor:
        return -(-samples // self.shape.hop_length)

    def frames(self, audio: AudioBatch) -> Frames:
        """See ``FrameEncoder``."""
        lengths = audio.attention_mask.sum(-1)
        rows, windows = len(lengths), max(1, -(-int(lengths.max()) // self.window))
        values = nn.functional.pad(audio.input_values, (0, max(0, windows * self.window - audio.input_values.shape[1])))
        values = values[:, : windows * self.window].reshape(rows * windows, self.window)
        starts = self.window * torch.arange(windows, device=lengths.device)
        pieces = (lengths[:, None] - starts).clamp(0, self.window).flatten()
        x, mask = self._embed(values, pieces)
        x = self._hide(x, audio.masked_frames, rows, windows)
        x = x + self.encoder.embed_positions.weight[: x.shape[1]]
        if audio.prompts is not None:
            x, mask = self._prompt(x, mask, audio.prompts, windows)
        states = self._run_layers(x, mask)
        return _join_windows(states, mask, rows)

    def _prompt(self, x: Tensor, mask: Tensor, prompts: Tensor, windows: int) -> tuple[Tensor, Tensor]:
        x, found = prepend_prompts(x, mask, prompts)
        assert found is not None
        if windows > 1:
            # Of an utterance that ends in an earlier window, no prompt is left alone in a later one.
            found = found & mask.any(-1, keepdim=True)
        return x, found

    def _embed(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """From samples to the frames that the layers see, (B, T, D), and their mask."""
        longest = int(lengths.max()) if self.shape.padding == "trim" else self.window
        mels = max(2, int(self._mel_lengths(torch.tensor(longest))))
        # What the last frames see behind the end is always zeros, never a reflection of the end itself.
        padded = nn.functional.pad(values[:, :longest], (0, mels * self.shape.hop_length + self.shape.n_fft - longest))
        given = list(padded.detach().cpu().numpy())
        found = self._extractor(given, sampling_rate=16_000, padding="longest", truncation=False, return_tensors="pt")
        mel = found["input_features"][..., :mels].to(values)  # (B, M, T')
        mel_mask = torch.arange(mels, device=lengths.device) < self._mel_lengths(lengths)[:, None]
        x = nn.functional.gelu(self.encoder.conv1(mel.where(mel_mask[:, None], 0.0)))
        x = nn.functional.gelu(self.encoder.conv2(x.where(mel_mask[:, None], 0.0))).transpose(1, 2)
        frame_mask = torch.arange(x.shape[1], device=lengths.device) < ((self._mel_lengths(lengths) + 1) // 2)[:, None]
        return x, frame_mask

    @staticmethod
    def _hide(x: Tensor, masked: Tensor | None, rows: int, windows: int) -> Tensor:
        """Set frames that SpecAugment hides to zero."""
        if masked is None:
            return x
        size = x.shape[1]
        masked = nn.functional.pad(masked, (0, max(0, windows * size - masked.shape[1])))[:, : windows * size]
        return x.masked_fill(masked.reshape(rows * windows, size)[..., None], 0.0)

    def _run_layers(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        encoder, training = self.encoder, self.training
        x = nn.functional.dropout(x, p=encoder.dropout, training=training)
        states = [x]
        # A row without a frame attends to all of its padding: no softmax of nothing, and nobody reads it.
        keys = (mask | ~mask.any(-1, keepdim=True))[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        for layer in encoder.layers:
            x = layer(x, keys)
            states.append(x)
        states[-1] = encoder.layer_norm(x)
        return states


def _join_windows(states: Sequence[Tensor], mask: Tensor, rows: int) -> Frames:
    """Put the windows of each utterance behind each other, real frames at the front."""
    if len(mask) == rows:
        return Frames(states, mask)
    flat = mask.reshape(rows, -1)
    order = torch.argsort((~flat).int(), dim=1, stable=True)
    index = order[..., None].expand(-1, -1, states[0].shape[-1])
    joined = [state.reshape(rows, flat.shape[1], -1).gather(1, index) for state in states]
    return Frames(joined, flat.gather(1, order))
