"""Adapters: from encoder states to embeddings of a language model, at a lower rate. Padding changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bigfoot.errors import ModelError


@dataclass
class AdapterShape:
    """Shape of an adapter."""

    kind: str = "stack"
    """``stack`` joins frames and projects them; ``conv`` is a strided convolution; ``queries`` is a few transformer
    layers in which learned queries attend to the frames, whatever their number."""
    stride: int = 4
    """Frames that become one, of ``stack`` and ``conv``."""
    hidden_size: int = 512
    """Width inside."""
    num_queries: int = 32
    """Embeddings a recording, of ``queries``."""
    num_layers: int = 2
    """Transformer layers of ``queries``."""
    num_heads: int = 4
    """Attention heads of ``queries``."""

    def __post_init__(self) -> None:
        for name in ("stride", "hidden_size", "num_queries", "num_layers", "num_heads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**14:
                raise ModelError(f"adapter.{name} should be a whole number from 1 to {2**14}, not {value!r}")
        if self.kind not in ADAPTERS:
            raise ModelError(f"adapter.kind {self.kind!r} is none of {', '.join(ADAPTERS)}")
        if self.kind == "queries" and self.hidden_size % self.num_heads:
            raise ModelError(f"adapter.hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")


class _Strided(nn.Module):
    """An adapter of one embedding for every ``stride`` frames, the last of fewer."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def count(self, lengths: Tensor) -> Tensor:
        """Return the embeddings of recordings of so many frames."""
        return -(-lengths // self.stride)


class StackAdapter(_Strided):
    """Joins ``stride`` frames to one and projects it through a hidden layer.

    Args:
        shape: see ``AdapterShape``.
        input_size: width of the encoder.
        output_size: width of the language model.
    """

    def __init__(self, shape: AdapterShape, input_size: int, output_size: int) -> None:
        super().__init__(shape.stride)
        self.project = nn.Sequential(
            nn.Linear(input_size * shape.stride, shape.hidden_size), nn.GELU(),
            nn.Linear(shape.hidden_size, output_size),
        )  # fmt: skip

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) states, zero in padding, and their (B, T) mask to (B, T', M) embeddings."""
        missing = -states.shape[1] % self.stride
        padded = nn.functional.pad(states, (0, 0, 0, missing))
        return self.project(padded.reshape(len(padded), -1, self.stride * states.shape[2]))


class ConvAdapter(_Strided):
    """A convolution with a stride over twice as many frames, then a projection.

    Args:
        shape: see ``AdapterShape``.
        input_size: width of the encoder.
        output_size: width of the language model.
    """

    def __init__(self, shape: AdapterShape, input_size: int, output_size: int) -> None:
        super().__init__(shape.stride)
        self.conv = nn.Conv1d(input_size, shape.hidden_size, 2 * shape.stride, stride=shape.stride)
        self.project = nn.Sequential(nn.GELU(), nn.Linear(shape.hidden_size, output_size))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) states, zero in padding, and their (B, T) mask to (B, T', M) embeddings."""
        # Zeros before and after, as padding has them: the last frames see the same alone and in a batch.
        before = self.stride // 2
        missing = -states.shape[1] % self.stride + self.stride - before
        padded = nn.functional.pad(states, (0, 0, before, missing))
        return self.project(self.conv(padded.transpose(1, 2)).transpose(1, 2))


class QueryAdapter(nn.Module):
    """Learned queries that attend to the frames: as many embeddings for any recording (Li et al., 2023, section 3.1).

    Args:
        shape: see ``AdapterShape``.
        input_size: width of the encoder.
        output_size: width of the language model.
    """

    def __init__(self, shape: AdapterShape, input_size: int, output_size: int) -> None:
        super().__init__()
        width = shape.hidden_size
        self.queries = nn.Parameter(torch.randn(shape.num_queries, width) * width**-0.5)
        self.expand = nn.Linear(input_size, width)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, shape.num_heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(shape.num_layers)
        )
        self.project = nn.Linear(width, output_size)

    def count(self, lengths: Tensor) -> Tensor:
        """Return the embeddings of recordings of so many frames."""
        return torch.full_like(lengths, len(self.queries)).where(lengths > 0, 0)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Map (B, T, D) states, zero in padding, and their (B, T) mask to (B, T', M) embeddings."""
        memory, found = self.expand(states), self.queries.expand(len(states), -1, -1)
        # Softmax over nothing is NaN: a recording without frames attends to all, and none of it is used.
        hidden = ~(mask | ~mask.any(-1, keepdim=True))
        for layer in self.layers:
            found = layer(found, memory, memory_key_padding_mask=hidden)
        return self.project(found)


ADAPTERS: dict[str, Callable[[AdapterShape, int, int], StackAdapter | ConvAdapter | QueryAdapter]] = {
    "stack": StackAdapter, "conv": ConvAdapter, "queries": QueryAdapter,
}  # fmt: skip


class Adapter(nn.Module):
    """An adapter whose output starts as large as the language model's own embeddings.

    Args:
        shape: its kind and sizes.
        input_size: width of the encoder.
        output_size: width of the language model.

    Examples:
        >>> adapter = Adapter(AdapterShape("stack", stride=2, hidden_size=8), 4, 6)
        >>> embeddings, mask = adapter(torch.ones(1, 5, 4), torch.tensor([[True, True, True, False, False]]))
        >>> embeddings.shape, mask.tolist()
        (torch.Size([1, 3, 6]), [[True, True, False]])
    """

    def __init__(self, shape: AdapterShape, input_size: int, output_size: int) -> None:
        super().__init__()
        self.shape = shape
        self.norm_in = nn.LayerNorm(input_size)
        self.inner: StackAdapter | ConvAdapter | QueryAdapter = ADAPTERS[shape.kind](shape, input_size, output_size)
        self.norm_out = nn.LayerNorm(output_size)

    @torch.no_grad()
    def match_(self, embeddings: Tensor) -> None:
        """Scale the output to the root mean square of a language model's (V, M) embeddings."""
        self.norm_out.weight.fill_(float(embeddings.float().square().mean().sqrt()))
        self.norm_out.bias.zero_()

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the embeddings.

        Args:
            states: (B, T, D) of the encoder.
            mask: (B, T), True = real, at the front of each row.

        Returns:
            (B, T', M) embeddings and their (B, T') mask, True = real.
        """
        states = self.norm_in(states).masked_fill(~mask[..., None], 0.0)
        embeddings = self.norm_out(self.inner(states, mask))
        places = torch.arange(embeddings.shape[1], device=mask.device)
        return embeddings, places < self.inner.count(mask.sum(-1))[:, None]


@torch.no_grad()
def divide_rate(adapter: Adapter, divisor: int) -> Adapter:
    """Build an adapter that gives fewer embeddings.

    A strided one reads as many times more frames and starts as the mean of what it gave of each part; of learned
    queries every so-manieth stays.

    Args:
        adapter: left as it is.
        divisor: of its rate.

    Returns:
        The new adapter, of the same mode and device.

    Raises:
        ModelError: there are fewer queries than that.

    Examples:
        >>> divide_rate(Adapter(AdapterShape("stack", stride=2, hidden_size=8), 4, 6), 3).shape.stride
        6
    """
    shape, state = adapter.shape, dict(adapter.state_dict())
    if shape.kind == "queries":
        if shape.num_queries < divisor:
            raise ModelError(f"shrink.rate_divisor {divisor}: the adapter has {shape.num_queries} queries")
        kept = state["inner.queries"][::divisor].clone()
        state["inner.queries"] = kept
        shape = replace(shape, num_queries=len(kept))
    else:
        shape = replace(shape, stride=shape.stride * divisor)
    if shape.kind == "stack":
        state["inner.project.0.weight"] = state["inner.project.0.weight"].repeat(1, divisor) / divisor
    if shape.kind == "conv":
        state["inner.conv.weight"] = state["inner.conv.weight"].repeat_interleave(divisor, dim=2) / divisor
    sizes = (adapter.norm_in.normalized_shape[0], adapter.norm_out.normalized_shape[0])
    with torch.random.fork_rng([]):
        divided = Adapter(shape, *sizes)
    divided.load_state_dict(state)
    return divided.to(adapter.norm_in.weight.device).train(adapter.training)
