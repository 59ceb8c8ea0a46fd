"""Which layers of the whole model those of the smaller one stand for."""

from __future__ import annotations

from collections.abc import Sequence

from bigfoot.compress.shrink.cut import Cut
from bigfoot.models.configuration import BigfootConfig


class Origins:
    """Follows cuts, one round after the other.

    Args:
        config: of the whole model.

    Attributes:
        layers: for each layer of the model, that of the whole one after which its frames should be the same.

    Examples:
        >>> origins = Origins(BigfootConfig(num_hidden_layers=3))
        >>> origins.follow([Cut("layers", "layer 1", "gone", BigfootConfig(), skipped=frozenset({1}))])
        >>> origins.layers
        [1, 2]
    """

    def __init__(self, config: BigfootConfig) -> None:
        self.layers = list(range(config.num_hidden_layers))

    def follow(self, cuts: Sequence[Cut]) -> None:
        """Take note of cuts that were made.

        Args:
            cuts: of one round.
        """
        gone = {layer for cut in cuts for layer in cut.skipped}
        # A layer also stands for those behind it that are gone.
        ends = [next((at for at in range(layer + 1, len(self.layers)) if at not in gone), len(self.layers)) - 1
                for layer in range(len(self.layers))]  # fmt: skip
        self.layers = [self.layers[ends[layer]] for layer in range(len(self.layers)) if layer not in gone]
