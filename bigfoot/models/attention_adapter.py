"""Adapters behind a layer's blocks, as MMS has one for every layer and language (Pratap et al., 2023, section 5.1)."""

from __future__ import annotations

from torch import Tensor, nn

ADAPTER = "adapter_layer"
"""Name of the adapter within a layer, transformers' own."""


class AttentionAdapter(nn.Module):
    """A norm, a linear map to a narrow space, ReLU, and a linear map back (Houlsby et al., 2019); added to its input.

    Args:
        hidden_size: width D of the frames.
        width: of the narrow space.

    Examples:
        >>> import torch
        >>> AttentionAdapter(8, 2)(torch.zeros(1, 3, 8)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        # The norm has PyTorch's own epsilon in transformers too, whatever the configuration's is.
        self.norm = nn.LayerNorm(hidden_size)
        self.linear_1 = nn.Linear(hidden_size, width)
        self.linear_2 = nn.Linear(width, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.linear_2(self.linear_1(self.norm(x)).relu())
