"""Linear maps as products of two thin ones, by singular values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from bigfoot.compress.audio import require_audio
from bigfoot.compress.change import Change
from bigfoot.compress.registry import LaterError, technique
from bigfoot.compress.settings import WEIGHTINGS, LowRank
from bigfoot.config import Problem
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.low_rank import LowRankLinear
from bigfoot.models.plain_names import own_path, plain_linear
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config
from bigfoot.models.shape import LINEARS

_RIDGE = 1e-5  # Of the inputs' mean energy: directions that audio never takes still have an inverse.


@dataclass(frozen=True)
class Factors:
    """A matrix as a product.

    Args:
        up: (out, rank).
        down: (rank, in).
    """

    up: Tensor
    down: Tensor


def factorize(weight: Tensor, rank: int | None, energy: float, gram: Tensor | None = None) -> Factors:
    """Cut a matrix to its largest singular values, by Eckart and Young the nearest of its rank.

    With ``gram`` = X^T X = L L^T, |(W - W') X^T| = |(W - W') L|, so that the singular values of W L decide, and the
    factors are those of W L with L taken out again.

    Args:
        weight: (out, in).
        rank: singular values that stay; None leaves it to ``energy``.
        energy: share of the squared singular values that stays at least.
        gram: (in, in) sum over frames of the inputs' outer products; None for the matrix alone.

    Returns:
        The factors, in the type of the weight.

    Examples:
        >>> whole = torch.diag(torch.tensor([3.0, 4.0]))
        >>> factors = factorize(whole, 1, 0.0)
        >>> (factors.up @ factors.down).round().tolist()
        [[0.0, 0.0], [0.0, 4.0]]
    """
    matrix, root = weight.double(), None
    if gram is not None:
        ridge = (_RIDGE * gram.diagonal().mean()).clamp(min=1e-12)
        root = torch.linalg.cholesky(gram.double() + ridge * torch.eye(len(gram), dtype=torch.float64))
        matrix = matrix @ root
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = rank if rank is not None else rank_for_energy(values, energy)
    balance = values[:kept].sqrt()
    down = balance[:, None] * v[:kept]
    if root is not None:
        down = torch.linalg.solve_triangular(root, down, upper=False, left=False)
    return Factors((u[:, :kept] * balance).to(weight), down.to(weight))


def rank_for_energy(values: Tensor, energy: float) -> int:
    """Return the fewest singular values whose squares hold a share of all.

    Args:
        values: in falling order, (n,).
        energy: 0 to 1.

    Returns:
        1 to n.

    Examples:
        >>> rank_for_energy(torch.tensor([2.0, 1.0, 1.0]), 0.8)
        2
    """
    shares = values.square().cumsum(0) / values.square().sum().clamp(min=1e-30)
    return min(len(values), 1 + int((shares < energy - 1e-9).sum()))


@torch.no_grad()
def gather_grams(
    model: BigfootForCTC, linears: Sequence[str], batches: Sequence[PaddedAudio], *, constant: bool = False
) -> dict[tuple[int, str], Tensor]:
    """Sum the outer products of the inputs of the linear maps over real frames.

    Args:
        model: left as it is.
        linears: by ``LINEARS``.
        batches: audio.
        constant: add the number 1 as a last input, so that biases can be fitted too.

    Returns:
        (in, in), or (in + 1, in + 1), by layer and name.
    """
    grams: dict[tuple[int, str], Tensor] = {}
    mask: list[Tensor] = []

    def add_gram(key: tuple[int, str], module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # A reduced layer has frames of its own: those with any real one in them count.
        given = inputs[0]
        seen = model.config.frames_in_layers(mask[0].sum(-1))
        frames = torch.arange(given.shape[1], device=seen.device) < seen[:, None]
        real = given[frames].double()
        real = nn.functional.pad(real, (0, 1), value=1.0) if constant else real
        grams[key] = grams.get(key, 0) + real.T @ real

    hooks = [
        module.register_forward_pre_hook(partial(add_gram, (layer, last)))
        for layer, last, module in _find_linears(model, linears)
    ]
    encoder = model.speech_encoder.feature_encoder
    try:
        for batch in batches:
            lengths = encoder.layer_lengths(batch.attention_mask.sum(1))
            frames = int(encoder.layer_lengths(torch.tensor(batch.input_values.shape[1])).clamp(min=1))
            mask[:] = [torch.arange(frames) < lengths[:, None]]
            model(batch.input_values, batch.attention_mask)
    finally:
        for hook in hooks:
            hook.remove()
    return grams


def _find_linears(model: BigfootForCTC, linears: Sequence[str]) -> Iterator[tuple[int, str, nn.Module]]:
    """(layer, key in ``Shape.linear_shapes``, module) of the linear maps of these names."""
    config = model.config
    for layer, block in enumerate(model.speech_encoder.encoder.layers):
        for key in config.linear_shapes(layer):
            if _word(key) in linears:
                yield layer, key, block.get_submodule(own_path(plain_linear(key), config))


def _word(key: str) -> str:
    """What settings call a linear map: those of both feed-forward blocks of a conformer have one name."""
    return key.removeprefix("first_")


def _reshape(shape: BigfootConfig, config: LowRank) -> BigfootConfig:
    if not config.rank:
        message = "ranks by energy depend on the model's weights; give a rank to know the shape"
        raise LaterError(Problem("rank", "by_weights", message))
    return reshape_config(shape, layer_ranks=ranks_per_layer(shape, config.linears, config.rank))


def low_rank_problems(shape: BigfootConfig, config: LowRank) -> Iterator[Problem]:
    """Explain why linear maps of a shape cannot be cut.

    Args:
        shape: of the model.
        config: which, and what stays.

    Yields:
        Problem by problem.
    """
    if unknown := [name for name in config.linears if name not in LINEARS]:
        yield Problem("linears", "unknown_word", f"{unknown} are none of {', '.join(LINEARS)}")
    if config.weighting not in WEIGHTINGS:
        yield Problem("weighting", "unknown_word", f"{config.weighting!r} is none of {', '.join(WEIGHTINGS)}")
    if not config.rank and not 0 < config.energy <= 1:
        yield Problem("energy", "out_of_range", f"must be above 0, up to 1, got {config.energy}")
    shapes = [shape.linear_shapes(layer) for layer in range(shape.num_hidden_layers)]
    for name in config.linears if config.rank else ():
        smallest = min((min(each[key]) for each in shapes for key in each if _word(key) == name), default=1)
        if name in LINEARS and not 0 < config.rank <= smallest:
            yield Problem("rank", "bad_rank", f"{config.rank} should be 1 to {smallest}, the width of {name}")


@technique("low_rank", LowRank, _reshape, low_rank_problems)
def apply(
    model: BigfootForCTC, config: LowRank, batches: Sequence[PaddedAudio] = ()
) -> tuple[BigfootForCTC, Change]:
    """Build a model whose linear maps are products of two; biases and all else come along.

    A map that its factors would not make smaller stays whole.

    Args:
        model: left as it is.
        config: which, and what stays.
        batches: audio, for ``activations`` alone.

    Returns:
        The new model in eval mode, and what was kept and dropped.

    Raises:
        UnfitError: see ``low_rank_problems``; no audio where it is needed.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> student, _ = apply(load_model("tiny_teacher").model, LowRank(["intermediate_dense"], 8, weighting="none"))
        >>> student.config.layer_ranks[0]
        {'intermediate_dense': 8}
    """
    if config.weighting == "activations":
        require_audio(batches, "weighting", "activations")
    state, ranks = plain_state(model), [dict(each) for each in model.config.ranks_of_layers]
    grams = gather_grams(model, config.linears, batches) if config.weighting == "activations" else {}
    before = after = 0
    for layer, last, module in _find_linears(model, config.linears):
        if isinstance(module, LowRankLinear):
            continue
        name = f"encoder.encoder.layers.{layer}.{plain_linear(last)}."
        weight = state[f"{name}weight"]
        factors = factorize(weight, config.rank or None, config.energy, grams.get((layer, last)))
        size = factors.up.numel() + factors.down.numel()
        before, after = before + weight.numel(), after + min(size, weight.numel())
        if size >= weight.numel():
            continue
        ranks[layer][last] = factors.up.shape[1]
        del state[f"{name}weight"]
        state |= {f"{name}up.weight": factors.up, f"{name}down.weight": factors.down}
        state[f"{name}up.bias"] = state.pop(f"{name}bias")
    student = BigfootForCTC(reshape_config(model.config, layer_ranks=ranks if any(ranks) else None))
    load_plain_state(student, state)
    return student.eval(), Change("low_rank", _describe(ranks, config), [f"{before - after:,} of {before:,} weights"])


def ranks_per_layer(shape: BigfootConfig, linears: Sequence[str], rank: int) -> list[dict[str, int]]:
    """Return the ranks of each layer for one rank, without those that would make a map no smaller.

    Args:
        shape: of the model.
        linears: by ``LINEARS``.
        rank: 1 or more.

    Examples:
        >>> ranks_per_layer(BigfootConfig(num_hidden_layers=1), ["q_proj", "output_dense"], 400)
        [{'output_dense': 400}]
    """
    layers = (shape.linear_shapes(layer) for layer in range(shape.num_hidden_layers))
    return [
        {
            key: rank
            for key, (here, there) in each.items()
            if _word(key) in linears and rank * (here + there) < here * there
        }
        for each in layers
    ]


def _describe(ranks: Sequence[dict[str, int]], config: LowRank) -> list[str]:
    how = "fitted on audio" if config.weighting == "activations" else "by singular values"
    found = []
    for name in config.linears:
        chosen = [rank for each in ranks for key, rank in each.items() if _word(key) == name]
        spread = f"{min(chosen)} to {max(chosen)}" if chosen else "full everywhere"
        layers = sum(any(_word(key) == name for key in each) for each in ranks)
        found.append(f"rank {spread} of {name} in {layers} layers")
    return [f"{', '.join(found)}, {how}", "biases and everything else"]
