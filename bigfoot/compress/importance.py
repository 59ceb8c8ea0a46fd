"""How much each unit of a model matters: what ``bigfoot.compress.prune`` ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from bigfoot.compress.audio import require_audio
from bigfoot.compress.settings import IMPORTANCES
from bigfoot.compress.units import Place, Units, find_units
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.ctc import BigfootForCTC, compute_ctc_losses
from bigfoot.models.reshape import name_in_model, plain_state

NEEDS_AUDIO = ("taylor", "activation")
"""Importances that need batches."""


class Audio(Protocol):
    """A batch, as ``bigfoot.data.batches.Batch`` is one."""

    @property
    def input_values(self) -> Tensor:
        """(B, N), normalized by the processor."""

    @property
    def attention_mask(self) -> Tensor:
        """(B, N), True = real."""

    @property
    def labels(self) -> Tensor | None:
        """(B, U), -100 = padding; None without a vocabulary."""


@dataclass(frozen=True)
class LabelledAudio:
    """``Audio`` made by hand.

    Args:
        input_values: (B, N), normalized by the processor.
        attention_mask: (B, N), True = real.
        labels: (B, U), -100 = padding; None where there are none.
    """

    input_values: Tensor
    attention_mask: Tensor
    labels: Tensor | None = None


Loss = Callable[[BigfootForCTC, Audio], Tensor]
"""A scalar whose rise is what pruning costs."""


def mean_ctc(model: BigfootForCTC, batch: Audio) -> Tensor:
    """Compute the CTC loss a label, as fine-tuning has it.

    Args:
        model: with a CTC head.
        batch: with labels.

    Returns:
        A scalar in nats.

    Raises:
        UnfitError: there is no head, or there are no labels.
    """
    if model.head is None or batch.labels is None or not bool((batch.labels >= 0).any()):
        message = (
            "the CTC loss of taylor needs a model with a CTC head and batches with labels; take l1, l2 or activation, "
            "which need none, or give a loss of your own"
        )
        raise UnfitError(Problem("importance", "no_labels", message))
    output = model(batch.input_values, batch.attention_mask)
    blank = model.config.pad_token_id or 0
    return compute_ctc_losses(output.logits, batch.labels, output.frame_mask, blank).sum() / (batch.labels >= 0).sum()


def compute_importance(
    model: BigfootForCTC, importance: str, batches: Sequence[Audio] = (), loss: Loss = mean_ctc
) -> dict[Place, Tensor]:
    """Score every unit of a model.

    Args:
        model: left as it is.
        importance: ``l1`` or ``l2``, the norm of a unit's weights (Li et al., 2017, section 3.1, over all tensors that
            it would take with it, as Fang et al., 2023, have it); ``taylor``, the sum of |weight times gradient| over
            the same weights (after Molchanov et al., 2019), the gradient being that of the mean loss over batches;
            ``activation``, the mean square over real frames of its output.
        batches: for ``taylor`` and ``activation``.
        loss: for ``taylor``.

    Returns:
        (units,) by place, 0 or more, in fp32 on the model's device.

    Raises:
        UnfitError: an unknown word, or no batches where they are needed.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> compute_importance(load_model("tiny_teacher").model, "l1")[Place("heads", 0)].shape
        torch.Size([4])
    """
    if importance not in IMPORTANCES:
        message = f"{importance!r} is none of {', '.join(IMPORTANCES)}"
        raise UnfitError(Problem("importance", "unknown_word", message))
    if importance in NEEDS_AUDIO:
        require_audio(batches, "importance", importance)
    training = model.training
    model.eval()
    moved = [_move(batch, model.device) for batch in batches] if importance in NEEDS_AUDIO else []
    try:
        if importance == "activation":
            return _activations(model, moved)
        weights = _weight_times_gradient(model, moved, loss) if importance == "taylor" else named_weights(model)
    finally:
        model.train(training)
    power = 2 if importance == "l2" else 1
    units = find_units(model.config)
    return {place: _add_pieces(found, weights, power) ** (1 / power) for place, found in units.items()}


def _move(batch: Audio, device: torch.device) -> LabelledAudio:
    # Audio alone (``PaddedAudio``) has none.
    labels = getattr(batch, "labels", None)
    labels = None if labels is None else labels.to(device)
    return LabelledAudio(batch.input_values.to(device), batch.attention_mask.to(device), labels)


def _add_pieces(units: Units, weights: dict[str, Tensor], power: int) -> Tensor:
    parts = [
        piece.sum(weights[piece.tensor].detach().float().abs() ** power, units.count)
        for piece in units.pieces
        if piece.tensor in weights
    ]
    return torch.stack(parts).sum(0)


def named_weights(model: BigfootForCTC) -> dict[str, Tensor]:
    """By plain name, without stored statistics; a shared kernel stands under the name of each layer that uses it."""
    named = dict(model.named_parameters(remove_duplicate=False))
    names = {plain: name_in_model(plain, model.config) for plain in plain_state(model)}
    return {plain: named[name] for plain, name in names.items() if name in named}


def _weight_times_gradient(model: BigfootForCTC, batches: Sequence[Audio], loss: Loss) -> dict[str, Tensor]:
    """By plain name."""
    parameters = named_weights(model)
    asked = [parameter.requires_grad for parameter in parameters.values()]
    gradients = [torch.zeros_like(parameter) for parameter in parameters.values()]
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        for batch in batches:
            found = torch.autograd.grad(loss(model, batch), [*parameters.values()], allow_unused=True)
            for total, gradient in zip(gradients, found, strict=True):
                if gradient is not None:
                    total += gradient / len(batches)
    finally:
        for parameter, before in zip(parameters.values(), asked, strict=True):
            parameter.requires_grad_(before)
    pairs = zip(parameters.items(), gradients, strict=True)
    return {plain: parameter.detach() * gradient for (plain, parameter), gradient in pairs}


class _MeanSquares:
    """Sums of squares by place over real frames, gathered by hooks."""

    def __init__(self, model: BigfootForCTC) -> None:
        self.model, self.units = model, find_units(model.config)
        self.totals = {place: torch.zeros(found.count, device=model.device) for place, found in self.units.items()}
        self.frames = dict.fromkeys(self.units, 0.0)
        self.lengths: list[Tensor] = []

    def start(self, batch: Audio) -> None:
        """Return the real frames after each convolution; the last are those of the transformer."""
        lengths, self.lengths = batch.attention_mask.sum(1), []
        for layer in self.model.speech_encoder.feature_encoder:
            lengths = layer.count_frames(lengths)
            self.lengths.append(lengths)
        if not self.lengths:
            self.lengths.append(self.model.speech_encoder.feature_encoder.layer_lengths(batch.attention_mask.sum(1)))

    def add(self, place: Place, x: Tensor) -> None:
        """Add the outputs of the units of a place, (B, T, units times their width)."""
        inside = self.model.config.frames_in_layers(self.lengths[-1])
        lengths = self.lengths[place.layer] if place.kind == "conv" else inside
        mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        squares = x[mask].float().square().sum(0)
        # The mean over a head's channels, so that kinds can be compared.
        self.totals[place] += squares.reshape(self.units[place].count, -1).mean(1)
        self.frames[place] += float(mask.sum())


def _activations(model: BigfootForCTC, batches: Sequence[Audio]) -> dict[Place, Tensor]:
    seen = _MeanSquares(model)
    with torch.no_grad(), _watch(model, seen):
        for batch in batches:
            seen.start(batch)
            model(batch.input_values, batch.attention_mask)
    return {place: total / max(1.0, seen.frames[place]) for place, total in seen.totals.items()}


@contextmanager
def _watch(model: BigfootForCTC, seen: _MeanSquares) -> Iterator[None]:
    """Hook heads and feed-forward units at the input of the layer behind them; the width after every layer."""

    def read(place: Place, _module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.add(place, inputs[0])

    def record(place: Place, _module: nn.Module, _inputs: object, output: Any) -> None:  # noqa: ANN401
        x = output[0] if isinstance(output, tuple) else output
        seen.add(place, x.transpose(1, 2) if place.kind == "conv" else x)

    convs, layers = list(model.speech_encoder.feature_encoder), cast("Any", model.speech_encoder.encoder.layers)
    hooks = []
    for place in seen.units:
        if place.kind == "conv":
            hooks.append(convs[place.layer].register_forward_hook(partial(record, place)))
        elif place.kind != "width":
            output = place.find_output(layers[place.layer], model.config)
            hooks.append(output.register_forward_pre_hook(partial(read, place)))
        else:
            hooks += [layer.register_forward_hook(partial(record, place)) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
