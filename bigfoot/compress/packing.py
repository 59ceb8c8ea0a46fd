"""Which layers of a model have how many bits: what a shape allows, what each layer costs, what fits into a budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from bigfoot.compress.bit_widths import choose_bits
from bigfoot.compress.fake_quant import fit_steps
from bigfoot.compress.packed_size import count_small_bytes
from bigfoot.compress.packing_settings import GROUP_SIZES, Packing
from bigfoot.compress.quantize import choose_layers, quantizable_layers
from bigfoot.config import Problem
from bigfoot.config.sizes import parse_bytes
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.packed import as_matrix, count_columns, packable_layers, round_groups
from bigfoot.models.reshape import with_small_weights
from bigfoot.models.small_weights import PACKED, SmallWeights


@dataclass(frozen=True)
class Candidates:
    """What a shape leaves to choose.

    Args:
        bits: that each layer may have, the least first.
        sizes: bytes of each layer's weight and its steps, by bits.
        shape: of the model.
        config: how it was asked for.
    """

    bits: Mapping[str, list[int]]
    sizes: Mapping[str, Mapping[int, int]]
    shape: BigfootConfig
    config: Packing

    def smallest(self) -> dict[str, int]:
        """Return the fewest bits of each layer."""
        return {layer: found[0] for layer, found in self.bits.items()}

    def as_small(self, bits: Mapping[str, int]) -> SmallWeights:
        """Return how a choice is written.

        Args:
            bits: of each layer.
        """
        packed = {layer: count for layer, count in bits.items() if count < 8}
        kept = tuple(self.config.keep_fp32)
        if not packed:
            return SmallWeights("int8", kept)
        return SmallWeights(PACKED, kept, bits=packed, group_size=self.config.group_size)

    def count_bytes(self, bits: Mapping[str, int]) -> int:
        """Count the bytes of the folder's weights, exactly.

        Args:
            bits: of each layer.
        """
        return count_small_bytes(self.shape, self.as_small(bits))


def find_candidates(shape: BigfootConfig, config: Packing) -> Candidates:
    """Find what bits each layer of a shape may have.

    Args:
        shape: of the model.
        config: what is asked for.

    Raises:
        UnfitError: a pattern that no layer fits, a group size that does not divide a layer's width, a budget that not
            even the fewest bits keep; all are listed.

    Examples:
        >>> found = find_candidates(BigfootConfig(num_hidden_layers=1), Packing([2, 4], max_size="20MB"))
        >>> found.bits["encoder.layers.0.attention.q_proj"], found.bits["feature_extractor.conv_layers.1.conv"]
        ([2, 4], [8])
    """
    with torch.device("meta"):
        outline = BigfootForCTC(shape)
    layers = quantizable_layers(outline)
    narrow = packable_layers(layers, outline.speech_encoder.get_expanded_tied_weights_keys())
    kept = choose_layers(config.keep_fp32, layers)
    at_eight = {*choose_layers(config.keep_int8, layers, "keep_int8"), *(set(layers) - set(narrow))}
    bits: dict[str, list[int]] = {}
    for name, layer in layers.items():
        wanted = config.bits if isinstance(layer, nn.Linear) else config.conv_bits
        if name not in kept:
            bits[name] = [8] if name in at_eight else sorted(set(wanted))
    weights = {name: cast("Tensor", layers[name].weight) for name in bits}
    uneven = {n: count_columns(weights[n]) for n, found in bits.items() if found[0] < 8}
    uneven = {name: count for name, count in uneven.items() if count % config.group_size}
    if uneven:
        raise UnfitError(_indivisible(uneven, config.group_size))
    sizes = {
        name: {count: _layer_bytes(weights[name], count, config.group_size) for count in widths}
        for name, widths in bits.items()
    }
    found = Candidates(bits, sizes, shape, config)
    budget = None if config.max_size is None else parse_bytes(config.max_size)
    if budget is not None and (least := found.count_bytes(found.smallest())) > budget:
        message = f"{config.max_size} cannot be met: with {_describe_fewest(config)} the weights take {least:,} bytes"
        raise UnfitError(Problem("max_size", "too_small", f"{message}; raise it, allow fewer bits, or cut the model"))
    return found


def _indivisible(uneven: Mapping[str, int], size: int) -> Problem:
    name, count = next(iter(uneven.items()))
    fitting = [each for each in GROUP_SIZES if not any(columns % each for columns in uneven.values())]
    cure = f"no group size fits; keep it at 8 bits (keep_int8=[{name}])"
    if fitting:
        cure = f"take group_size {max(fitting)}"
    more = f" and {len(uneven) - 1} more layers" if len(uneven) > 1 else ""
    return Problem("group_size", "indivisible", f"{size} does not divide the {count} inputs of {name}{more}; {cure}")


def _describe_fewest(config: Packing) -> str:
    return f"{min(config.bits)} bits for linear maps and {min(config.conv_bits)} for convolutions"


def _layer_bytes(weight: Tensor, bits: int, group_size: int) -> int:
    if bits == 8:
        return weight.numel() + 4 * weight.shape[0]
    return weight.numel() * bits // 8 + 2 * (weight.numel() // group_size)


def allot_bits(candidates: Candidates, costs: Mapping[str, Mapping[int, float]]) -> dict[str, int]:
    """Choose the bits of each layer: the least sum of costs whose file fits the budget.

    Args:
        candidates: of ``find_candidates``.
        costs: see ``measure_sensitivity``.
    """
    config, smallest = candidates.config, candidates.smallest()
    if config.max_size is None or all(len(found) == 1 for found in candidates.bits.values()):
        return smallest
    budget = parse_bytes(config.max_size) or 0
    # The header's digits are a few bytes more or less by the choice; it is counted, not guessed.
    rest = candidates.count_bytes(smallest) - sum(candidates.sizes[layer][b] for layer, b in smallest.items())
    chosen: dict[str, int] | None = None
    over = 0
    for _ in range(8):
        chosen = choose_bits(costs, candidates.sizes, budget - rest - over)
        if chosen is None or (more := candidates.count_bytes(chosen) - budget) <= 0:
            break
        over += more
    return smallest if chosen is None or candidates.count_bytes(chosen) > budget else chosen


@torch.no_grad()
def measure_sensitivity(
    model: BigfootForCTC, candidates: Candidates, audio: Iterable[PaddedAudio]
) -> dict[str, dict[int, float]]:
    """Measure what fewer bits of one layer alone do to the outputs: a pass for each layer and width.

    Args:
        model: left as it is.
        candidates: layers and bits; where a layer has no choice, its cost is 0 and nothing runs.
        audio: one utterance each.

    Returns:
        By layer and bits, the mean over frames of the Kullback-Leibler divergence from the posteriors of the model
        with all weights at eight bits; without a head, the mean square of the last states' difference.
    """
    pieces = list(audio)
    if not pieces:
        raise UnfitError(Problem("seconds", "no_audio", "sensitivities are measured on audio, and none was given"))
    work = with_small_weights(model, SmallWeights("int8", tuple(candidates.config.keep_fp32)))
    expected = [_outputs(work, piece) for piece in pieces]
    layers = quantizable_layers(work)
    costs: dict[str, dict[int, float]] = {}
    for name, widths in candidates.bits.items():
        costs[name] = dict.fromkeys(widths, 0.0)
        weight = cast("Tensor", layers[name].weight)
        full = weight.detach().clone()
        for bits in widths if len(widths) > 1 else []:
            if bits == 8:
                continue
            steps = fit_steps(as_matrix(full), bits, candidates.config.group_size)
            weight.data.copy_(round_groups(full, steps, bits))
            both = zip(expected, (_outputs(work, piece) for piece in pieces), strict=True)
            found = [_divergence(*pair, is_posterior=work.head is not None) for pair in both]
            frames = sum(count for _, count in found)
            costs[name][bits] = sum(total for total, _ in found) / max(1, frames)
        weight.data.copy_(full)
    return costs


def _outputs(model: BigfootForCTC, piece: PaddedAudio) -> Tensor:
    output = model(piece.input_values, piece.attention_mask, output_hidden_states=model.head is None)
    if output.logits is not None:
        return cast("Tensor", output.logits.log_softmax(-1))
    return cast("Tensor", output.hidden_states[-1])


def _divergence(expected: Tensor, found: Tensor, *, is_posterior: bool) -> tuple[float, int]:
    frames = expected.shape[0] * expected.shape[1]
    if is_posterior:
        # Of equal posteriors rounding would leave it a little below 0.
        total = max(0.0, float((expected.exp() * (expected - found)).sum()))
    else:
        total = float((expected - found).square().mean(-1).sum())
    return (total if math.isfinite(total) else math.inf), frames


def describe_bits(bits: Mapping[str, int], size: int) -> str:
    """Describe a choice in a sentence.

    Args:
        bits: of each layer.
        size: bytes of the weights.

    Examples:
        >>> describe_bits({"a": 4, "b": 2, "c": 4}, 7_000_000)
        'weights of 2 layers in 4 bits, 1 in 2 bits; 7.00 MB'
    """
    first, *others = sorted(Counter(bits.values()).items(), reverse=True)
    phrases = [f"weights of {first[1]} layers in {first[0]} bits"] + [f"{n} in {b} bits" for b, n in others]
    return f"{', '.join(phrases)}; {size / 1e6:.2f} MB"

