"""A supernet: one set of weights whose slices are models of many shapes (Cai et al., 2020; Wang et al., 2022)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.func import functional_call

from bigfoot.compress.depth import shrink_shape, take_layers
from bigfoot.compress.importance import Audio, compute_importance, named_weights
from bigfoot.compress.subnet import PRECISION_OF_BITS, Subnet
from bigfoot.compress.surgery import pruned_shape, take_units
from bigfoot.compress.units import Place, find_units
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.reshape import (
    load_plain_state,
    name_in_model,
    plain_state,
    reshape_config,
    with_small_weights,
)
from bigfoot.models.small_state import round_state
from bigfoot.models.small_weights import SmallWeights

_SKELETONS = 32
_KERNEL = "encoder.encoder.pos_conv_embed.conv."
_LENGTH, _DIRECTION = (f"{_KERNEL}parametrizations.weight.original{index}" for index in (0, 1))


@torch.no_grad()
def order_units(
    model: BigfootForCTC, places: Sequence[Place], importance: str, batches: Sequence[Audio] = ()
) -> BigfootForCTC:
    """Build the same model with its units sorted by importance, so that the first units of a place are the best.

    Args:
        model: left as it is.
        places: whose units are sorted; within each group of a grouped kernel.
        importance: see ``compute_importance``.
        batches: audio for it, where it needs some.

    Returns:
        A model in eval mode that gives the same outputs.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> teacher, audio = load_model("tiny_teacher").model, torch.randn(1, 8000)
        >>> sorted_one = order_units(teacher, [Place("heads", 0), Place("width")], "l2")
        >>> torch.allclose(sorted_one(audio).logits, teacher.eval()(audio).logits, atol=1e-3)
        True
    """
    with torch.enable_grad():
        scores, units = compute_importance(model, importance, batches), find_units(model.config)
    orders = {}
    for place in places:
        rows = scores[place].view(units[place].blocks, -1)
        best = rows.argsort(dim=1, descending=True, stable=True).cpu()
        orders[place] = (best + torch.arange(len(best))[:, None] * best.shape[1]).flatten().tolist()
    config = model.config
    if config.has_position_bias:
        heads = [
            [chosen[head] for head in orders.get(Place("heads", layer), range(len(chosen)))]
            for layer, chosen in enumerate(config.position_heads_of_layers)
        ]
        config = reshape_config(config, layer_position_heads=heads)
    ordered = BigfootForCTC(config)
    load_plain_state(ordered, take_units(plain_state(model), model.config, orders))
    return ordered.eval()


def _first_units(config: BigfootConfig, counts: Mapping[Place, int]) -> dict[Place, list[int]]:
    """Return the first units of each place, equally many of each group."""
    units, keep = find_units(config), {}
    for place, count in counts.items():
        blocks = units[place].blocks
        run = units[place].count // blocks
        keep[place] = [block * run + index for block in range(blocks) for index in range(count // blocks)]
    return keep


def _places(config: BigfootConfig, subnet: Subnet) -> tuple[BigfootConfig, dict[Place, list[int]]]:
    """Return the shape with the subnet's layers alone, and the units that stay in it."""
    shallow = shrink_shape(config, subnet.layers)
    moved = {
        place if place.kind in ("conv", "width") else Place(place.kind, subnet.layers.index(place.layer)): count
        for place, count in subnet.counts
    }
    return shallow, _first_units(shallow, moved)


def subnet_shape(config: BigfootConfig, subnet: Subnet) -> BigfootConfig:
    """Return the shape of a subnet, in fp32.

    Args:
        config: of the supernet.
        subnet: of its space.

    Examples:
        >>> subnet_shape(BigfootConfig(), Subnet((0, 11), ((Place("width"), 384),))).num_hidden_layers
        2
    """
    return pruned_shape(*_places(config, subnet))


def subnet_state(state: dict[str, Tensor], config: BigfootConfig, subnet: Subnet) -> dict[str, Tensor]:
    """Slice the tensors of a supernet; gradients flow back to them.

    Args:
        state: as ``plain_state`` names it.
        config: of the supernet.
        subnet: of its space.

    Returns:
        The tensors of the subnet in fp32, rounded to its bits with gradients that pass straight through.
    """
    shallow, keep = _places(config, subnet)
    taken = take_units(take_layers(state, subnet.layers, shallow), shallow, keep)
    precision = PRECISION_OF_BITS[subnet.bits]
    return taken if precision is None else round_straight_through(taken, pruned_shape(shallow, keep), precision)


def round_straight_through(state: dict[str, Tensor], shape: BigfootConfig, precision: str) -> dict[str, Tensor]:
    """Round weights as a folder of that precision has them; the gradient is that of the weights themselves.

    Straight-through estimation (Bengio et al., 2013).

    Args:
        state: as ``plain_state`` names it, in fp32.
        shape: of that model, in fp32.
        precision: of ``SmallWeights``, weights alone.
    """
    small = SmallWeights(precision)
    rounded_shape = reshape_config(shape, small_weights=small.to_dict())
    kernels = dict(state)
    if _DIRECTION in kernels:
        kernels[f"{_KERNEL}weight"] = torch._weight_norm(kernels.pop(_DIRECTION), kernels.pop(_LENGTH), 2)
    with torch.device("meta"):
        layers = int8_layers(BigfootForCTC(rounded_shape).speech_encoder)
    own = {name_in_model(plain, rounded_shape): tensor.detach() for plain, tensor in kernels.items()}
    found = round_state(own, small, layers, rounded_shape.weight_prefix)
    through = {}
    for plain, tensor in kernels.items():
        through[plain] = tensor + (found[name_in_model(plain, rounded_shape)].to(tensor) - tensor).detach()
    if _DIRECTION in state:
        kernel = through.pop(f"{_KERNEL}weight")
        through |= {_LENGTH: kernel.norm(dim=(0, 1), keepdim=True), _DIRECTION: kernel}
    return through


@torch.no_grad()
def extract(model: BigfootForCTC, subnet: Subnet) -> BigfootForCTC:
    """Build a subnet as a model of its own.

    Args:
        model: the supernet; left as it is.
        subnet: of its space.

    Returns:
        A model in eval mode, its weights quantized where the subnet's bits say so. Its outputs are those of
        ``SubnetRunner`` to 1e-5.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> extract(load_model("tiny_teacher").model, Subnet((0, 11), ((Place("heads", 0), 2),))).config.heads_of_layers
        [2, 4]
    """
    whole = replace(subnet, bits=32)
    cut = BigfootForCTC(subnet_shape(model.config, whole))
    state = subnet_state(plain_state(model), model.config, whole)
    load_plain_state(cut, {name: tensor.detach().clone().contiguous() for name, tensor in state.items()})
    precision = PRECISION_OF_BITS[subnet.bits]
    return cut.eval() if precision is None else with_small_weights(cut, SmallWeights(precision))


class SubnetRunner:
    """Runs subnets on slices of a supernet's own weights, so that they are trained with it.

    A slice costs what the subnet itself costs: nothing is computed that is masked afterwards.

    Args:
        model: the supernet.
    """

    def __init__(self, model: BigfootForCTC) -> None:
        self.model = model
        self._skeletons: OrderedDict[str, BigfootForCTC] = OrderedDict()

    def _skeleton(self, subnet: Subnet) -> BigfootForCTC:
        key = replace(subnet, bits=32).key
        if key not in self._skeletons:
            with torch.device("meta"):
                self._skeletons[key] = BigfootForCTC(subnet_shape(self.model.config, subnet))
            if len(self._skeletons) > _SKELETONS:
                self._skeletons.popitem(last=False)
        self._skeletons.move_to_end(key)
        return self._skeletons[key].train(self.model.training)

    def run(self, subnet: Subnet, input_values: Tensor, attention_mask: Tensor | None, **given: object) -> CTCOutput:
        """Run one subnet.

        Args:
            subnet: of the supernet's space.
            input_values: (B, N).
            attention_mask: (B, N), True = real.
            given: other arguments of ``BigfootForCTC.forward``; masks of features are the supernet's.

        Returns:
            Its output, in its own width and depth.
        """
        config, skeleton = self.model.config, self._skeleton(subnet)
        whole = plain_state(self.model) | named_weights(self.model)
        state = subnet_state(whole, config, subnet)
        named = {name_in_model(plain, skeleton.config): tensor for plain, tensor in state.items()}
        wanted = [name for name, _ in (*skeleton.named_parameters(), *skeleton.named_buffers())]
        # What no checkpoint holds, such as rotary frequencies, is the same in any width.
        others = dict(self.model.named_buffers())
        tensors = {name: named[name] if name in named else others[name] for name in wanted}
        mask = given.get("mask_feature_indices")
        if isinstance(mask, Tensor):
            given["mask_feature_indices"] = mask[:, self.width_indices(subnet, mask.device)]
        return cast(CTCOutput, functional_call(skeleton, tensors, (input_values, attention_mask), given))

    def width_indices(self, subnet: Subnet, device: torch.device) -> Tensor:
        """Return the channels of the supernet's width that a subnet has.

        Args:
            subnet: of the supernet's space.
            device: of the result.
        """
        place, size = Place("width"), self.model.config.hidden_size
        if place not in subnet.units:
            return torch.arange(size, device=device)
        return torch.tensor(_first_units(self.model.config, {place: subnet.units[place]})[place], device=device)

    def as_supernet(self, output: CTCOutput, subnet: Subnet) -> CTCOutput:
        """Bring the hidden states of a subnet to the depth and width of the supernet, for losses that compare them.

        Channels that it does not have are 0; a layer that it does not have gives what is before it, without a
        gradient, so that what a loss finds there teaches nothing.

        Args:
            output: of ``run``.
            subnet: that ran.
        """
        if output.hidden_states is None:
            return output
        size, first = self.model.config.hidden_size, output.hidden_states[0]
        if first.shape[-1] != size:
            indices = self.width_indices(subnet, first.device)
            widened = tuple(
                state.new_zeros(*state.shape[:-1], size).index_copy(-1, indices, state)
                for state in output.hidden_states
            )
        else:
            widened = output.hidden_states
        states, own = [widened[0]], 0
        for layer in range(self.model.config.num_hidden_layers):
            there = layer in subnet.layers
            own += there
            states.append(widened[own] if there else widened[own].detach())
        spread = CTCOutput(**output)
        spread["hidden_states"] = tuple(states)
        return spread
