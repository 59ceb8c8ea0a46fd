"""Prompts, speech and outputs of several examples as one batch of embeddings, with padding on one side alone.

Each example is laid out by itself, left to right; only then are examples padded. Hence nothing inside an example
depends on its batch: no padding between text and audio, positions that count real tokens, labels that stand at
their own tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigfoot.errors import DataError


@dataclass(frozen=True)
class Layout:
    """One example.

    Args:
        pieces: token ids (U,), or the number of a recording, in order.
        output: (U,) token ids to learn or to score, with the end token; empty to generate.
    """

    pieces: tuple[Tensor | int, ...]
    output: Tensor


def name_recordings(layouts: Sequence[Layout]) -> bool:
    """Return whether any layout has a recording in it."""
    return any(isinstance(piece, int) for layout in layouts for piece in layout.pieces)


@dataclass(frozen=True)
class PackedBatch:
    """What a language model takes.

    Args:
        inputs_embeds: (B, S, M), zeros in padding.
        attention_mask: (B, S), True = real.
        position_ids: (B, S), 0 at an example's first token, wherever that stands.
        labels: (B, S), the output's tokens at their own places; -100 elsewhere.
    """

    inputs_embeds: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor


def pack(
    layouts: Sequence[Layout], recordings: Sequence[Tensor], embed: torch.nn.Module, *,
    padding_side: str = "right", most_tokens: int | None = None,
) -> PackedBatch:  # fmt: skip
    """Lay examples out and pad them.

    Args:
        layouts: examples.
        recordings: (T', M) embeddings each, which the layouts name by number.
        embed: the language model's embedding of tokens.
        padding_side: ``right`` or ``left``.
        most_tokens: positions that the language model has; None where it has no limit.

    Raises:
        DataError: an example is longer than that: cutting it would cut its output. Or it has no prompt at all.
    """
    rows, labels = [], []
    for example in layouts:
        pieces = (*example.pieces, example.output)
        parts = [recordings[piece] if isinstance(piece, int) else embed(piece) for piece in pieces]
        if not any(map(len, parts[:-1])):
            raise DataError(
                "a prompt without a token: it has no text, and its recording is shorter than a frame or left out; put "
                "text around {audio} in the template"
            )
        row = torch.cat([part for part in parts if len(part)])
        rows.append(row)
        label = torch.full((len(row),), -100, dtype=torch.long, device=row.device)
        label[len(row) - len(example.output) :] = example.output
        labels.append(label)
    longest = max(map(len, rows))
    if most_tokens is not None and longest > most_tokens:
        raise DataError(
            f"a prompt with its output has {longest} tokens, and the language model takes {most_tokens}: shorten the "
            "history or the audio, or raise the adapter's stride"
        )
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    places = torch.arange(longest, device=lengths.device).expand(len(rows), -1)
    if padding_side == "left":
        places = places - (longest - lengths)[:, None]
    mask = (places >= 0) & (places < lengths[:, None])
    size = (len(rows), longest)
    # By index and not by padding each row: one copy, and its gradient is exact.
    packed = rows[0].new_zeros(*size, rows[0].shape[-1]).masked_scatter(mask[..., None], torch.cat(rows))
    flat = torch.full(size, -100, dtype=torch.long, device=mask.device).masked_scatter(mask, torch.cat(labels))
    return PackedBatch(packed, mask, places.clamp(min=0).where(mask, 0), flat)
