"""Gates that a model learns to close while it is trained, until as much of it is shut as is to go."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from bigfoot.compress.prune import prunable_units
from bigfoot.compress.surgery import prune_units, remove_blocks
from bigfoot.compress.units import Place, Units, find_blocks, find_units
from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import load_plain_state, name_in_model, plain_state

_BETA, _LOW, _HIGH = 2 / 3, -0.1, 1.1
_BEGIN = math.log(0.99 / 0.01)
"""Of the logarithm of alpha: nearly all gates are open at first, as DPHuBERT has it."""


def gated_units(config: BigfootConfig, parts: Sequence[str]) -> dict[Place, Units]:
    """Find units for gates: those that can be removed alone, and whose scale the next layer can absorb.

    Not the last convolution, whose reader is a norm, nor channels of grouped or shared kernels, nor the width.

    Args:
        config: the shape.
        parts: ``heads``, ``feed_forward``, ``conv``, and ``blocks``, which are no units (see ``gated_blocks``).

    Returns:
        Units by place.

    Raises:
        UnfitError: there are none, nor blocks.
    """
    last = Place("conv", config.num_conv_layers - 1)
    units = prunable_units(config, [part for part in parts if part not in ("width", "blocks")])
    found = {place: each for place, each in units.items() if each.blocks == 1 and place != last}
    if not found and not gated_blocks(config, parts):
        message = f"no gate can stand on {', '.join(parts)} here; take heads or feed_forward"
        raise UnfitError(Problem("parts", "not_gateable", message))
    return found


def gated_blocks(config: BigfootConfig, parts: Sequence[str]) -> dict[Place, tuple[str, ...]]:
    """Find the whole blocks on which gates can stand; see ``find_blocks``.

    Args:
        config: the shape.
        parts: ``blocks`` among them, or there are none.

    Returns:
        Prefixes of tensors' names by place.
    """
    return find_blocks(config) if "blocks" in parts else {}


@dataclass(frozen=True)
class GatedSize:
    """How large a model is by its gates.

    Args:
        before: parameters with all gates open.
        expected: parameters to be expected of random gates.
        after: parameters when what is closed is cut.
    """

    before: int
    expected: float
    after: int


class Gates(nn.Module):
    """Hard-concrete gates on the units and blocks of a model (Louizos et al., 2018, equations 10 to 12).

    They multiply the output of a unit or a block, through hooks: drawn at random in a training pass after ``draw``, by
    their mean elsewhere. The multipliers hold the expected sparsity to a target, as DPHuBERT does (Peng et al., 2023).

    Args:
        model: whose units and blocks get gates; it keeps the hooks.
        parts: see ``gated_units``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> gates = Gates(load_model("tiny_teacher").model, ["heads"])
        >>> size = gates.measure_size()
        >>> size.after == size.before, 0.99 < size.expected / size.before < 1
        (True, True)
    """

    def __init__(self, model: BigfootForCTC, parts: Sequence[str]) -> None:
        super().__init__()
        self.units, self.blocks = gated_units(model.config, parts), gated_blocks(model.config, parts)
        self._counts = {place: units.count for place, units in self.units.items()} | dict.fromkeys(self.blocks, 1)
        self.log_alphas = nn.ParameterList([nn.Parameter(torch.full((n,), _BEGIN)) for n in self._counts.values()])
        self.multipliers = nn.Parameter(torch.zeros(2))
        self.steps_done: Tensor
        self.register_buffer("steps_done", torch.tensor(0))
        self._order = {place: index for index, place in enumerate(self._counts)}
        self._drawn: dict[Place, Tensor] = {}
        self._sizes = _find_sizes(model, self.units, self.blocks)
        own = sum(place.kind == "attention_block" for place in self.blocks)
        self._has_other_attention = own < sum(heads > 0 for heads in model.config.heads_of_layers)
        self._before = sum(parameter.numel() for parameter in model.parameters())
        for place, module in _gated_modules(model, self._counts):
            if place in self.units and place.kind != "conv":
                module.register_forward_pre_hook(cast("Callable[..., Any]", partial(self._gate_input, place)))
            else:
                module.register_forward_hook(cast("Callable[..., Any]", partial(self._gate_output, place)))

    def _by_place(self) -> Iterator[tuple[Place, Tensor]]:
        yield from zip(self._counts, self.log_alphas, strict=True)

    def means(self) -> dict[Place, Tensor]:
        """Return the value of each gate where nothing is random, 0 to 1, by place."""
        return {place: _mean(alpha) for place, alpha in self._by_place()}

    def draw(self, seed: int) -> None:
        """Start a training pass with random gates; they follow from the seed and the weights alone.

        Args:
            seed: of this pass.
        """
        generator = torch.Generator().manual_seed(seed)
        for place, alpha in self._by_place():
            # Away from the ends, where the logarithm is not finite.
            noise = torch.rand(alpha.shape, generator=generator).clamp(1e-6, 1 - 1e-6).to(alpha.device)
            opened = ((noise.logit() + alpha) / _BETA).sigmoid() * (_HIGH - _LOW) + _LOW
            self._drawn[place] = opened.clamp(0, 1)

    def forget(self) -> None:
        """End the training pass."""
        self._drawn.clear()

    def _value(self, place: Place, x: Tensor) -> Tensor:
        value = self._drawn[place] if self._drawn else _mean(self.log_alphas[self._order[place]])
        return value.to(x.dtype)

    def _gate_input(self, place: Place, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (x,) = inputs
        return (x * self._value(place, x).repeat_interleave(x.shape[-1] // self.units[place].count),)

    def _gate_output(self, place: Place, _module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        value = self._value(place, output)
        return output * (value if place in self.blocks else value[:, None])

    def _count(self, shares: dict[Place, Tensor]) -> Tensor:
        """Parameters where such shares of units and blocks are there; a tensor that two places hold shrinks by both.

        So a unit counts only as far as its block is there, and a kernel as far as both of its sides are.
        """
        total = torch.tensor(float(self._before), device=self.multipliers.device)
        for size, places in self._sizes:
            total = total - size * (1 - torch.stack([shares[place] for place in places]).prod())
        return total

    def expected_sparsity(self) -> Tensor:
        """Return the share of the model's parameters that random gates leave out, in the mean; it has a gradient."""
        shift = _BETA * math.log(-_LOW / _HIGH)
        shares = {place: (alpha - shift).sigmoid().mean() for place, alpha in self._by_place()}
        return 1 - self._count(shares) / self._before

    def penalty(self, target: float, warmup_steps: int) -> Tensor:
        """Compute the penalty between the expected sparsity and a target that rises from 0 (Wang et al., 2020).

        Args:
            target: sparsity, 0 to 1.
            warmup_steps: optimizer steps until the target is reached.

        Returns:
            A scalar that gates make small while the multipliers make it large, by the same descent.
        """
        # On the device: the count is not waited for.
        risen = (self.steps_done / warmup_steps).clamp(max=1.0) if warmup_steps else 1.0
        excess = self.expected_sparsity() - target * risen
        # The same value with the opposite gradient: multipliers climb where all else descends.
        first, second = 2 * self.multipliers.detach() - self.multipliers
        return first * excess + second * excess.square()

    @torch.no_grad()
    def keep_indices(self) -> dict[Place, list[int]]:
        """Return the units whose gate is on, ascending; of a place where none is, the one nearest to it."""
        found = {}
        alphas, means = dict(self._by_place()), self.means()
        for place in self.units:
            found[place] = means[place].nonzero().flatten().tolist() or [int(alphas[place].argmax())]
        return found

    @torch.no_grad()
    def removed_blocks(self) -> list[Place]:
        """Return the blocks whose gate is shut; where those are all that attend, the nearest to open stays."""
        alphas, means = dict(self._by_place()), self.means()
        shut = [place for place in self.blocks if not float(means[place])]
        attend = [place for place in self.blocks if place.kind == "attention_block"]
        if attend and set(attend) <= set(shut) and not self._has_other_attention:
            shut.remove(max(attend, key=lambda place: float(alphas[place])))
        return shut

    @torch.no_grad()
    def measure_size(self) -> GatedSize:
        """Count parameters before, expected, and after."""
        kept = {place: len(keep) for place, keep in self.keep_indices().items()} | dict.fromkeys(self.blocks, 1)
        kept |= dict.fromkeys(self.removed_blocks(), 0)
        # In integers: a float has no room for the last of a hundred million.
        after = self._before
        for size, places in self._sizes:
            everything = math.prod(self._counts[place] for place in places)
            after -= size - size * math.prod(kept[place] for place in places) // everything
        return GatedSize(self._before, self._before * (1 - float(self.expected_sparsity())), after)

    @torch.no_grad()
    def cut(self, model: BigfootForCTC) -> BigfootForCTC:
        """Build the pruned model of the gates, their values absorbed by the weights behind them.

        Args:
            model: the one that has the gates; left as it is.

        Returns:
            A smaller model without gates, in eval mode, whose outputs are those of the gated one in eval mode; where
            channels stand under a layer norm, that norm is over those that stay.
        """
        state = {name: tensor.clone() for name, tensor in plain_state(model).items()}
        for place, value in self.means().items():
            if place in self.blocks:
                for name in {f"{place.output}.weight", f"{place.output}.bias"} & state.keys():
                    state[name] = state[name] * value.to(state[name])
                continue
            reader = self.units[place].pieces[_reader(self.units[place])]
            tensor = state[reader.tensor]
            shape = [1] * tensor.ndim
            shape[reader.dim] = -1
            state[reader.tensor] = tensor * value.repeat_interleave(reader.size).view(shape).to(tensor)
        folded, gone = BigfootForCTC(model.config), self.removed_blocks()
        load_plain_state(folded, state)
        smaller = remove_blocks(folded, gone)
        there = find_units(smaller.config)
        return prune_units(smaller, {place: keep for place, keep in self.keep_indices().items() if place in there})


def _mean(log_alpha: Tensor) -> Tensor:
    """Louizos et al., equation 13."""
    return (log_alpha.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def _reader(units: Units) -> int:
    """Return the piece that reads the outputs of units: the only weight whose second dimension they are."""
    return next(i for i, piece in enumerate(units.pieces) if piece.dim == 1 and piece.tensor.endswith(".weight"))


def _find_sizes(
    model: BigfootForCTC, units: Mapping[Place, Units], blocks: Mapping[Place, tuple[str, ...]]
) -> list[tuple[int, list[Place]]]:
    """Parameters that shrink with gates: how many, and by which places."""
    named = dict(model.named_parameters(remove_duplicate=False))
    touched: dict[str, list[Place]] = {}
    for place, found in units.items():
        for piece in found.pieces:
            touched.setdefault(piece.tensor, []).append(place)
    for name in plain_state(model):
        for place, prefixes in blocks.items():
            if name.startswith(prefixes):
                touched.setdefault(name, []).append(place)
    # Stored statistics of a norm are no parameters.
    sizes = ((named.get(name_in_model(name, model.config)), places) for name, places in touched.items())
    return [(parameter.numel(), places) for parameter, places in sizes if parameter is not None]


def _gated_modules(model: BigfootForCTC, places: Iterable[Place]) -> Iterator[tuple[Place, nn.Module]]:
    """For each place the module before which its units, or behind which its channels or its block, are distinct."""
    convs, layers = list(model.speech_encoder.feature_encoder), cast("Any", model.speech_encoder.encoder.layers)
    for place in places:
        if place.kind == "conv":
            yield place, convs[place.layer]
        else:
            yield place, place.find_output(layers[place.layer], model.config)
