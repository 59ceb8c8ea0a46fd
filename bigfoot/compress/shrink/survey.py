"""A model under inspection: what its linear maps read on audio, and what a cut would do to its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from bigfoot.compress.least_squares import first_inputs, unfold_frames
from bigfoot.compress.lowrank import gather_grams
from bigfoot.compress.shrink.cut import BEFORE_LAYERS, Cut
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import name_in_model, plain_state
from bigfoot.models.shape import LINEARS

_MOST_FRAMES = 20_000
"""Of a convolution's outputs in its gram: those of a minute come a thousand times a second in the first ones."""


@dataclass(frozen=True)
class Reference:
    """What the whole model gives on held-out audio.

    Args:
        batches: the audio.
        outputs: log-probabilities of the CTC head at real frames, (F, V) a batch, or last hidden states, (F, D).
        has_head: which of the two.
    """

    batches: Sequence[PaddedAudio]
    outputs: Sequence[Tensor]
    has_head: bool

    @classmethod
    def of(cls, model: BigfootForCTC, batches: Sequence[PaddedAudio]) -> Reference:
        """Run the whole model.

        Args:
            model: in eval mode.
            batches: audio.
        """
        found = [_real_outputs(model, batch) for batch in batches]
        return cls(batches, found, model.head is not None)

    def errors(self, outputs: Sequence[Tensor]) -> list[tuple[float, float]]:
        """Compare outputs with these.

        Args:
            outputs: of the same batches.

        Returns:
            Sum and its divisor of each batch: with a head Kullback-Leibler divergences from these posteriors to
            those, in nats, and frames; else squared distances, and squares.
        """
        pairs = zip(self.outputs, outputs, strict=True)
        if self.has_head:
            return [(float((p.exp() * (p - q)).sum()), float(len(p))) for p, q in pairs]
        return [(float((p - q).square().sum()), float(p.square().sum())) for p, q in pairs]

    def error(self, outputs: Sequence[Tensor]) -> float:
        """Return nats a frame, or squared distance over squares.

        Args:
            outputs: of the same batches.
        """
        sums = self.errors(outputs)
        return sum(total for total, _ in sums) / max(1e-12, sum(count for _, count in sums))

    def measure(self, model: BigfootForCTC) -> float:
        """Return the error of a model.

        Args:
            model: in eval mode, with outputs as wide.
        """
        return self.error([_real_outputs(model, batch) for batch in self.batches])


@torch.no_grad()
def _real_outputs(model: BigfootForCTC, batch: PaddedAudio) -> Tensor:
    given = model(batch.input_values, batch.attention_mask)
    return _comparable(given.last_hidden_state if given.logits is None else given.logits.log_softmax(-1),
                       given.frame_mask)  # fmt: skip


def _comparable(outputs: Tensor, mask: Tensor) -> Tensor:
    return outputs[mask].float()


class Survey:
    """The model as it is in one round of the search.

    Args:
        model: left as it is, but for the time of a trial.
        batches: audio on which linear maps are fitted.
        reference: of the whole model, on audio held out.
        whole: the model before any cut, whose places count the sizes of cuts.
        seed: of what is drawn.
    """

    def __init__(
        self, model: BigfootForCTC, batches: Sequence[PaddedAudio], reference: Reference, whole: BigfootForCTC,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.model, self.batches, self.reference, self.whole, self.seed = model, batches, reference, whole, seed
        self.config = model.config

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """Weights of the model by plain names."""
        return plain_state(self.model)

    @cached_property
    def grams(self) -> dict[tuple[int, str], Tensor]:
        """Outer products of what each linear map of a layer reads, the constant 1 behind it, by ``linear_shapes``."""
        with torch.no_grad():
            return gather_grams(self.model, LINEARS, self.batches, constant=True)

    @torch.no_grad()
    def conv_gram(self, index: int) -> Tensor:
        """Return the outer products of what a convolution reads, or the projection behind the last.

        Args:
            index: of the convolution, 1 and up; their number for the projection.
        """
        return self._conv_grams[index]

    @cached_property
    def _conv_grams(self) -> dict[int, Tensor]:
        found: dict[int, Tensor] = {}
        x, lengths = first_inputs(self.batches)
        layers = list(self.model.speech_encoder.feature_encoder)
        for index, layer in enumerate(layers):
            lengths = [layer.count_frames(length) for length in lengths]
            if index > 0:
                step = max(1, int(sum(int(length.sum()) for length in lengths)) // _MOST_FRAMES)
                seen = (unfold_frames(a, layer, b)[::step, 0] for a, b in zip(x, lengths, strict=True))
                found[index] = torch.stack([(each.T @ each).double() for each in seen]).sum(0)
            x = [layer(a, b) for a, b in zip(x, lengths, strict=True)]
        norm = self.model.speech_encoder.feature_projection.layer_norm or nn.Identity()
        features = [norm(a.transpose(1, 2))[_frames(a.shape[-1], b)] for a, b in zip(x, lengths, strict=True)]
        padded = torch.cat([nn.functional.pad(each, (0, 1), value=1.0) for each in features])
        found[len(layers)] = (padded.T @ padded).double()
        return found

    @cached_property
    def _features(self) -> list[tuple[Tensor, Tensor]]:
        encoder = self.model.speech_encoder
        found = []
        for batch in self.reference.batches:
            lengths = batch.attention_mask.sum(-1)
            features = encoder.feature_extractor(batch.input_values, lengths)
            found.append((features, _frames(features.shape[1], encoder.feature_encoder.layer_lengths(lengths))))
        return found

    @cached_property
    def _states(self) -> list[list[Tensor]]:
        """Inputs of each layer on held-out audio, a list a layer, one a batch."""
        found: list[list[Tensor]] = [[] for _ in range(self.config.num_hidden_layers)]
        layers = self.model.speech_encoder.encoder.layers
        hooks = [
            layer.register_forward_pre_hook(lambda _, given, at=at: found[at].append(given[0]))  # type: ignore[misc]
            for at, layer in enumerate(layers)
        ]
        try:
            self._run_layers()
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _run_layers(self) -> list[Tensor]:
        encoder, found = self.model.speech_encoder, []
        for features, mask in self._features:
            states = encoder.encoder(encoder.feature_projection(features), mask, False, False).last_hidden_state
            outputs = states if self.model.head is None else self.model.head(states).log_softmax(-1)
            found.append(_comparable(outputs, mask))
        return found

    @torch.no_grad()
    def measure(self, cut: Cut) -> float:
        """Return the error of the model with a cut.

        Args:
            cut: of this model.
        """
        before = cut.first_layer == BEFORE_LAYERS
        states = [] if before else self._states[cut.first_layer]
        with self._weights(cut.tensors), self._layers(cut, states):
            if before:
                return self.reference.measure(self.model)
            return self.reference.error(self._run_layers())

    @contextmanager
    def _weights(self, tensors: Mapping[str, Tensor]) -> Iterator[None]:
        held = self.model.state_dict()
        named = {name: held[name_in_model(name, self.config)] for name in tensors}
        before = {name: tensor.clone() for name, tensor in named.items()}
        try:
            for name, tensor in tensors.items():
                named[name].copy_(tensor)
            yield
        finally:
            for name, tensor in before.items():
                named[name].copy_(tensor)

    @contextmanager
    def _layers(self, cut: Cut, states: Sequence[Tensor]) -> Iterator[None]:
        """Replace layers that need not run, or that a cut passes by."""
        layers = self.model.speech_encoder.encoder.layers
        whole = list(layers)
        try:
            # Maps that a layer lends to others are only there when it runs.
            for at in range(cut.first_layer if self.config.attention_reuse is None else 0):
                layers[at] = _Passed(whole[at], states if at == cut.first_layer - 1 else ())
            for at in cut.skipped:
                layers[at] = _Passed(whole[at], ())
            yield
        finally:
            for at, layer in enumerate(whole):
                layers[at] = layer


def _frames(most: int, lengths: Tensor) -> Tensor:
    return torch.arange(most) < lengths[:, None]


class _Passed(nn.Module):
    """A layer that gives what it gave before, batch by batch, or what it is given."""

    def __init__(self, layer: nn.Module, outputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.attention = layer.attention  # of the first layer, which holds the table of positions
        self._outputs = iter(outputs)

    def forward(self, x: Tensor, *_: object) -> tuple[Tensor, None]:
        return next(self._outputs, x), None
