"""Two neighbouring layers become one: either of them, or their mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from bigfoot.compress.depth import Depth, apply, shrink_shape
from bigfoot.compress.shrink.cut import Cut
from bigfoot.compress.shrink.cut_kind import CutKind
from bigfoot.compress.shrink.survey import Survey
from bigfoot.compress.units import Place
from bigfoot.errors import UnfitError
from bigfoot.models.ctc import BigfootForCTC


def merge_layers(state: dict[str, Tensor], layer: int) -> dict[str, Tensor] | None:
    """Return the mean of a layer's tensors and the next one's, under the first one's names.

    Averages of neighbours, after Yang et al. (2024, LaCo, arXiv 2402.11187, section 3.2), who add differences; with two
    layers that would be the second alone, which is tried besides.

    Args:
        state: by plain names.
        layer: the first of the two.

    Returns:
        None where the two are not of one shape.
    """
    prefixes = [f"encoder.encoder.layers.{at}." for at in (layer, layer + 1)]
    first, second = (
        {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}
        for prefix in prefixes
    )
    if first.keys() != second.keys() or any(first[name].shape != second[name].shape for name in first):
        return None
    return {f"{prefixes[0]}{name}": (tensor + second[name]) / 2 for name, tensor in first.items()}


def _propose(survey: Survey) -> Iterator[Cut]:
    config = survey.config
    for layer in range(config.num_hidden_layers - 1):
        kept = [at for at in range(config.num_hidden_layers) if at != layer + 1]
        merged = merge_layers(survey.state, layer)
        if merged is not None:
            yield from _cuts(survey, layer, kept, merged, f"mean of {layer} and {layer + 1}")
        yield from _cuts(survey, layer, kept, {}, f"{layer} without {layer + 1}")


def _cuts(survey: Survey, layer: int, kept: list[int], tensors: dict[str, Tensor], amount: str) -> Iterator[Cut]:
    try:
        shape = shrink_shape(survey.config, kept)
    except UnfitError:  # a layer that lends its maps to another
        return
    touched = {str(Place(kind, at)) for kind in ("heads", "feed_forward") for at in (layer, layer + 1)}
    yield Cut(
        "layers", f"layers {layer} and {layer + 1}", amount, shape, tensors, layer, frozenset({layer + 1}),
        frozenset(touched), kept,
    )  # fmt: skip


def _carry_out(model: BigfootForCTC, cuts: Sequence[Cut]) -> BigfootForCTC:
    for cut in cuts:
        model = apply(model, Depth(len(cut.details), cut.details))[0]
    return model


LAYERS = CutKind("layers", "neighbouring layers", _propose, _carry_out)
