"""Linear maps of low rank by the principal components of what they give (LiteASR)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigfoot.compress.lowrank import Factors, factorize
from bigfoot.compress.shrink.cut import Cut
from bigfoot.compress.shrink.cut_kind import CutKind
from bigfoot.compress.shrink.survey import Survey
from bigfoot.compress.units import Place
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.plain_names import plain_linear
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config

_SHARES = (0.7, 0.5, 0.35)
"""Of the rank at which two thin maps cost as much as the whole one."""


@dataclass(frozen=True)
class _Thin:
    """One map that becomes two.

    Args:
        layer: of the transformer.
        key: of ``linear_shapes``.
        factors: of its weight.
    """

    layer: int
    key: str
    factors: Factors


def factorize_outputs(weight: Tensor, bias: Tensor, gram: Tensor, rank: int) -> tuple[Factors, Tensor]:
    """Cut a map's outputs to their principal components.

    With Y = X W^T + b, m the mean of Y and V the first directions of Y - m, Y is replaced by (Y - m) V V^T + m
    (Kamahori et al., 2025, LiteASR, arXiv 2502.20583, section 3): the product W' = V V^T W, and what its inputs' mean
    loses by it in the bias.

    Args:
        weight: (out, in).
        bias: (out,).
        gram: (in + 1, in + 1), outer products of the inputs and the constant 1.
        rank: directions that stay.

    Returns:
        The factors of W', and the new bias.

    Examples:
        >>> x = torch.randn(99, 3, dtype=torch.float64) + 2
        >>> ones = torch.nn.functional.pad(x, (0, 1), value=1.0)
        >>> factors, bias = factorize_outputs(torch.eye(3).double(), torch.zeros(3).double(), ones.T @ ones, 3)
        >>> torch.allclose(x @ (factors.up @ factors.down).T + bias, x, atol=1e-2)
        True
    """
    frames = gram[-1, -1]
    mean = gram[:-1, -1] / frames
    centred = gram[:-1, :-1] - frames * torch.outer(mean, mean)
    factors = factorize(weight, rank, 0.0, centred)
    lost = (weight.double() - factors.up.double() @ factors.down.double()) @ mean
    return factors, bias + lost.to(bias)


def _propose(survey: Survey) -> Iterator[Cut]:
    config = survey.config
    for layer in range(config.num_hidden_layers):
        for key, (here, there) in config.linear_shapes(layer).items():
            if key in config.ranks_of_layers[layer]:
                continue
            most = here * there / (here + there)
            for rank in sorted({max(1, int(share * most)) for share in _SHARES}, reverse=True):
                if rank < most:
                    yield _cut(survey, layer, key, rank)


def _cut(survey: Survey, layer: int, key: str, rank: int) -> Cut:
    name = f"encoder.encoder.layers.{layer}.{plain_linear(key)}"
    weight, bias = survey.state[f"{name}.weight"], survey.state[f"{name}.bias"]
    factors, moved = factorize_outputs(weight, bias, survey.grams[(layer, key)], rank)
    tensors = {f"{name}.weight": factors.up @ factors.down, f"{name}.bias": moved}
    ranks = [dict(each) for each in survey.config.ranks_of_layers]
    ranks[layer][key] = rank
    shape = reshape_config(survey.config, layer_ranks=ranks)
    place = Place("feed_forward" if key in ("intermediate_dense", "output_dense") else "heads", layer)
    amount = f"rank {rank} of {key}"
    return Cut("low_rank", str(place), amount, shape, tensors, layer, details=_Thin(layer, key, factors))


def _carry_out(model: BigfootForCTC, cuts: Sequence[Cut]) -> BigfootForCTC:
    state, ranks = plain_state(model), [dict(each) for each in model.config.ranks_of_layers]
    for cut in cuts:
        thin: _Thin = cut.details
        name = f"encoder.encoder.layers.{thin.layer}.{plain_linear(thin.key)}."
        ranks[thin.layer][thin.key] = thin.factors.up.shape[1]
        del state[f"{name}weight"]
        state |= {f"{name}up.weight": thin.factors.up, f"{name}down.weight": thin.factors.down}
        state[f"{name}up.bias"] = state.pop(f"{name}bias")
    smaller = BigfootForCTC(reshape_config(model.config, layer_ranks=ranks))
    load_plain_state(smaller, state)
    return smaller.eval()


LOW_RANK = CutKind("low_rank", "linear maps of low rank", _propose, _carry_out)
