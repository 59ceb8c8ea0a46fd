"""The task head: layer sum, pooling, hidden layers, output."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.models.tasks.energies import PooledEnergies
from bigfoot.models.tasks.kinds.base import TaskKind
from bigfoot.models.tasks.kinds.registry import find_kind
from bigfoot.models.tasks.periodicity import PooledPeriodicity
from bigfoot.models.tasks.pooling.registry import POOLINGS
from bigfoot.models.tasks.shape import TaskShape


class Audio(NamedTuple):
    """Waveforms of a batch.

    Args:
        input_values: (B, N).
        attention_mask: (B, N), True or 1 = real, from the front of each row on; None where all are.
        pooled: what the head's parts beside the frames take of them, (B, P) each, where that is known already.
    """

    input_values: Tensor
    attention_mask: Tensor | None
    pooled: Sequence[Tensor] | None = None


class TaskAnswers(NamedTuple):
    """Output of a task head.

    Args:
        logits: (B, K), see the kind.
        pooled: (B, P), the pooled frames, and behind them what is pooled of the waveform (``beside``).
        weights: (B, H, T) shares of the frames, of ``attention``; None of the others.
        mix: where utterances were mixed (``mixup``): for each the other one, (B,), and its own share, (1,).
    """

    logits: Tensor
    pooled: Tensor
    weights: Tensor | None
    mix: tuple[Tensor, Tensor] | None = None


class TaskHead(nn.Module):
    """One answer for each utterance, from the frames of the encoder; padding changes nothing.

    Args:
        shape: kind, labels, pooling, layers.
        hidden_size: D, width of a frame.
        num_states: hidden states of the encoder, its input among them.

    Attributes:
        mixup: alpha of the Beta distribution that shares are drawn from; 0 mixes nothing. In training alone.

    Examples:
        >>> head = TaskHead(TaskShape(labels=["no", "yes"]), hidden_size=8, num_states=3)
        >>> head(torch.zeros(2, 5, 8), None, None).logits.shape
        torch.Size([2, 2])
    """

    def __init__(self, shape: TaskShape, hidden_size: int, num_states: int) -> None:
        super().__init__()
        self.shape = shape
        self.kind: TaskKind = find_kind(shape)
        self.mixup = 0.0
        self.layer_weights = nn.Parameter(torch.zeros(num_states)) if self.needs_layers else None
        self.pooling = POOLINGS[shape.pooling](hidden_size, shape.pooling_heads)
        beside: list[PooledEnergies | PooledPeriodicity] = []
        if shape.fbank:
            beside.append(PooledEnergies(shape.fbank, shape.fbank_window))
        if shape.pitch:
            beside.append(PooledPeriodicity(shape.pitch))
        self.beside = nn.ModuleList(beside)
        sizes = [self.pooling.output_size + sum(each.output_size for each in beside), *shape.hidden_sizes]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Dropout(shape.dropout), nn.Linear(before, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Dropout(shape.dropout))
        self.output = self.kind.build_output(sizes[-1])

    @property
    def needs_layers(self) -> bool:
        """Whether it reads all hidden states."""
        return self.shape.layers == "weighted"

    @property
    def name(self) -> str:
        """Kind and pooling, for messages and reports."""
        beside = ", log-mel energies" * bool(self.shape.fbank) + ", pitch" * bool(self.shape.pitch)
        return f"{self.shape.kind.replace('_', '-')} head, {self.shape.pooling} pooling{beside}"

    @property
    def reads_audio(self) -> bool:
        """Whether it takes the waveform too."""
        return len(self.beside) > 0

    def forward(
        self, last: Tensor, states: Sequence[Tensor] | None, frame_mask: Tensor | None, audio: Audio | None = None
    ) -> TaskAnswers:
        """Answer.

        Args:
            last: (B, T, D), the encoder's last state.
            states: all of its hidden states, where ``needs_layers``.
            frame_mask: (B, T), True = real; None where all are.
            audio: what the encoder took, real samples at the front of each row, where it ``reads_audio``.

        Returns:
            See ``TaskAnswers``.
        """
        if self.layer_weights is not None:
            assert states is not None
            shares = self.layer_weights.softmax(0)
            last = torch.stack([share * state for share, state in zip(shares, states, strict=True)]).sum(0)
        if frame_mask is None:
            frame_mask = torch.ones(last.shape[:2], dtype=torch.bool, device=last.device)
        vectors, weights = self.pooling(last, frame_mask)
        if self.reads_audio:
            assert audio is not None
            known = audio.pooled or [part(audio.input_values, audio.attention_mask) for part in self.beside]
            vectors = torch.cat([vectors, *(each.to(vectors) for each in known)], -1)
        mix = self._draw_mix(vectors) if self.training and self.mixup else None
        mixed = vectors if mix is None else mix[1] * vectors + (1 - mix[1]) * vectors[mix[0]]
        return TaskAnswers(self.output(self.layers(mixed)), vectors, weights, mix)

    def _draw_mix(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Draw partners and a share (Zhang et al., 2018; of hidden states: Verma et al., 2019).

        Pooled vectors are mixed, not waveforms: those are of different lengths.
        """
        alpha = torch.full((1,), self.mixup)
        share = torch.distributions.Beta(alpha, alpha).sample().to(vectors)
        return torch.randperm(len(vectors), device=vectors.device), share
