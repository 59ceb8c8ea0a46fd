"""What was cut where, out of two shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bigfoot.models.configuration import BigfootConfig


@dataclass(frozen=True)
class Row:
    """One part of a model, before and after.

    Args:
        words: of what is counted.
        before: how many there were.
        after: how many there are.
        by_layer: the same of each layer or convolution that is left.
    """

    words: str
    before: int
    after: int
    by_layer: Sequence[int] = ()


def describe_shape(before: BigfootConfig, after: BigfootConfig) -> list[Row]:
    """Return what is left of each part that was cut.

    Args:
        before: the whole shape.
        after: the smaller one.

    Examples:
        >>> from bigfoot.models.reshape import reshape_config
        >>> whole = BigfootConfig(num_hidden_layers=2)
        >>> rows = describe_shape(whole, reshape_config(whole, conv_dim=[256] * 7))
        >>> [(row.words, row.before, row.after) for row in rows]
        [('convolution channels', 3584, 1792)]
    """
    return [row for row in _rows(before, after) if row.before != row.after]


def _rows(before: BigfootConfig, after: BigfootConfig) -> Iterator[Row]:
    yield Row("layers", before.num_hidden_layers, after.num_hidden_layers)
    for words, field in (
        ("attention heads", "heads_of_layers"), ("feed-forward units", "widths_of_layers"),
        ("convolution channels", "conv_dim"),
    ):  # fmt: skip
        there, here = list(getattr(before, field)), list(getattr(after, field))
        yield Row(words, sum(there), sum(here), here)
    yield Row("channels of the width", before.hidden_size, after.hidden_size)
    if any(after.ranks_of_layers):
        full = [_full_rank(shape) for shape in (before, after)]
        yield Row("linear maps of full rank", sum(full[0]), sum(full[1]), full[1])


def _full_rank(shape: BigfootConfig) -> list[int]:
    ranks = enumerate(shape.ranks_of_layers)
    return [len(shape.linear_shapes(layer)) - len(cut) for layer, cut in ranks]
