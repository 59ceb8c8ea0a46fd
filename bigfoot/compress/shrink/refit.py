"""What the blocks of a cut model add to the frames, fitted in closed form to the frames of the whole model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from bigfoot.compress.least_squares import NormalEquations
from bigfoot.models.attention_adapter import ADAPTER
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio

RIDGES = (1e-5, 1e-3, 1e-2, 1e-1, 1.0)
"""Pulls towards the map there is, of which the one that does best on frames left out is taken."""
_LEFT_OUT = 5
"""Every so manieth run of frames is left out where the pull is chosen."""
_RUN = 50


@dataclass
class _Call:
    """One call of a layer: its frames, which are real, and what else it is given."""

    x: Tensor
    mask: Tensor
    rest: tuple[Any, ...]


class Streams:
    """The frames of the whole model after each block, at real frames of all audio.

    Args:
        model: the whole one, left as it is.
        batches: audio.
    """

    def __init__(self, model: BigfootForCTC, batches: Sequence[PaddedAudio]) -> None:
        self.batches = batches
        count = model.config.num_hidden_layers
        taps = [tap for layer in range(count) for tap in _taps(model, layer)]
        found: list[list[Tensor]] = [[] for _ in taps]
        mask: list[Tensor] = []

        def keep(at: int, given: Tensor) -> None:
            found[at].append(given[mask[0]])

        hooks = [tap.watch(lambda given, at=at: keep(at, given)) for at, tap in enumerate(taps)]  # type: ignore[misc]
        logits = []
        try:
            with torch.no_grad():
                for batch in batches:
                    mask[:] = [_frame_mask(model, batch)]
                    output = model(batch.input_values, batch.attention_mask)
                    logits += [] if output.logits is None else [output.logits[mask[0]]]
        finally:
            for hook in hooks:
                hook.remove()
        joined = [torch.cat(each) for each in found]
        self.attention, self.layers = joined[::2], joined[1::2]
        self.logits = torch.cat(logits) if logits else None


@dataclass(frozen=True)
class _Tap:
    """Where the frames after a block can be seen: at the input of a module, or its output."""

    module: nn.Module
    is_input: bool

    def watch(self, see: Any) -> Any:  # noqa: ANN401 - a function of a tensor, a handle of PyTorch's
        if self.is_input:
            return self.module.register_forward_pre_hook(lambda _, given: see(given[0]))
        return self.module.register_forward_hook(
            lambda _, __, output: see(output[0] if isinstance(output, tuple) else output)
        )


def _taps(model: BigfootForCTC, index: int) -> tuple[_Tap, _Tap]:
    """After attention and after the feed-forward block: before the norms there (base), or the frames themselves."""
    layer = cast("Any", model.speech_encoder.encoder.layers[index])
    if not layer.norm_first:
        return _Tap(layer.layer_norm, True), _Tap(layer.final_layer_norm, True)
    middle = _Tap(layer.final_layer_norm, True) if layer.final_layer_norm is not None else _Tap(layer, False)
    adapter = getattr(layer, ADAPTER, None)
    return middle, _Tap(layer if adapter is None else adapter, adapter is not None)


def _frame_mask(model: BigfootForCTC, batch: PaddedAudio) -> Tensor:
    encoder = model.speech_encoder.feature_encoder
    lengths = encoder.layer_lengths(batch.attention_mask.sum(-1))
    return torch.arange(int(encoder.layer_lengths(torch.tensor(batch.input_values.shape[1])))) < lengths[:, None]


@torch.no_grad()
def refit_(model: BigfootForCTC, streams: Streams, origins: Sequence[int]) -> None:
    """Fit, first to last, the output map of each block, on inputs of the model's own.

    Least squares with a pull towards the map there is: min over W of |X W - (Y + T - S)|^2 + r |W - W_0|^2, with X the
    map's inputs, Y what it gives, S the frames after the block and T those of the whole model. So each block also makes
    up for what those before it lost (He et al., 2017, section 3.2).

    Args:
        model: changed in place.
        streams: of the whole model, on the audio of the fit.
        origins: for each layer, the layer of the whole model after which its frames are to be the same.
    """
    calls = list(_first_calls(model, streams.batches))
    for index, origin in enumerate(origins):
        layer = cast("Any", model.speech_encoder.encoder.layers[index])
        taps = _taps(model, index)
        targets = streams.attention[origin], streams.layers[origin]
        if layer.attention is not None:
            _fit_block_(layer, layer.attention.out_proj, taps[0], targets[0], calls)
        if layer.feed_forward is not None:
            _fit_block_(layer, layer.feed_forward.output_dense, taps[1], targets[1], calls)
        for call in calls:
            call.x = layer(call.x, *call.rest)[0]
    _fit_head_(model, streams, calls)


def _first_calls(model: BigfootForCTC, batches: Sequence[PaddedAudio]) -> Iterator[_Call]:
    """What the first layer is called with; all layers are given the same but for the frames."""
    given: list[tuple[Any, ...]] = []
    first = model.speech_encoder.encoder.layers[0]
    for batch in batches:
        hook = first.register_forward_pre_hook(lambda _, arguments: given.append(arguments))
        try:
            model.speech_encoder(batch.input_values, batch.attention_mask)
        finally:
            hook.remove()
        x, *rest = given.pop()
        yield _Call(x, _frame_mask(model, batch), tuple(rest))


def _fit_block_(layer: nn.Module, linear: nn.Module, tap: _Tap, target: Tensor, calls: Sequence[_Call]) -> None:
    if not isinstance(linear, nn.Linear):
        linear = cast("nn.Linear", cast("Any", linear).up)  # of low rank: what is behind its few channels
    found: dict[str, list[Tensor]] = {"x": [], "y": [], "s": []}
    mask: list[Tensor] = []

    def keep(_: object, given: tuple[Tensor, ...], output: Tensor) -> None:
        found["x"].append(given[0][mask[0]])
        found["y"].append(output[mask[0]])

    hooks = [linear.register_forward_hook(keep), tap.watch(lambda given: found["s"].append(given[mask[0]]))]
    try:
        for call in calls:
            mask[:] = [call.mask]
            layer(call.x, *call.rest)
    finally:
        for hook in hooks:
            hook.remove()
    x, y, s = (torch.cat(found[name]) for name in "xys")
    fit_pulled_(linear, x, y + target - s)


def fit_pulled_(linear: nn.Linear, x: Tensor, y: Tensor) -> None:
    """Fit a linear map with the pull towards what it is that does best on frames left out.

    Args:
        linear: changed in place.
        x: (F, in).
        y: (F, out), wanted.
    """
    padded = nn.functional.pad(x, (0, 1), value=1.0)
    start = torch.cat([linear.weight.T, linear.bias[None]])
    out = (torch.arange(len(x)) // _RUN) % _LEFT_OUT == _LEFT_OUT - 1
    ridges = RIDGES[:1]
    equations = [_equations(padded[rows], y[rows]) for rows in (~out, out)]
    if bool(out.any()) and not bool(out.all()):
        tried = {}
        for ridge in RIDGES:
            solved = equations[0].solve(start[None], ridge)[0]
            tried[ridge] = float((padded[out] @ solved - y[out]).square().sum())
        ridges = (min(tried, key=lambda ridge: tried[ridge]),)
        if tried[ridges[0]] >= float((padded[out] @ start - y[out]).square().sum()):
            return  # No pull helps beyond the frames that are fitted.
    whole = equations[0]
    whole.gram += equations[1].gram
    whole.cross += equations[1].cross
    solved = whole.solve(start[None], ridges[0])[0]
    linear.weight.copy_(solved[:-1].T)
    linear.bias.copy_(solved[-1])


def _equations(x: Tensor, y: Tensor) -> NormalEquations:
    found = NormalEquations(1, x.shape[1], y.shape[1])
    if len(x):
        found.add(x[:, None], y[None])
    return found


def _fit_head_(model: BigfootForCTC, streams: Streams, calls: Sequence[_Call]) -> None:
    if model.head is None or streams.logits is None:
        return
    norm = model.speech_encoder.encoder.layer_norm
    after = norm if model.config.do_stable_layer_norm and norm is not None else nn.Identity()
    x = torch.cat([after(call.x)[call.mask] for call in calls])
    fit_pulled_(model.head, x, streams.logits)
