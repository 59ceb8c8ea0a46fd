"""The feed-forward block of a layer."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.activations import ACT2FN

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.dropout import Dropout


class FeedForward(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        config: the shape.
        width: features between the two.
        activation: its name; None means ``hidden_act``.
    """

    def __init__(self, config: BigfootConfig, width: int, activation: str | None = None) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, width)
        self.intermediate_dropout = Dropout(config.activation_dropout)
        self.activation = ACT2FN[activation or config.hidden_act]
        self.output_dense = nn.Linear(width, config.hidden_size)
        self.output_dropout = Dropout(config.hidden_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        x = self.intermediate_dropout(self.activation(self.intermediate_dense(x)))
        return self.output_dropout(self.output_dense(x))
