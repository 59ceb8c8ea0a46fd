"""Cached distributions of teachers: over the tokens of every answer, the most probable ones and the rest's mass."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bigfoot.distill.token_logits import TopTokens, keep_top
from bigfoot.storage.replace import swapped_in

log = logging.getLogger("bigfoot")


@dataclass(frozen=True)
class TeacherLogits:
    """Distributions by example.

    Args:
        top: of all examples' answers, one token after the other.
        counts: tokens of each answer.
        ids: of the examples.
    """

    top: TopTokens
    counts: Sequence[int]
    ids: Sequence[str]

    def __post_init__(self) -> None:
        ends = torch.tensor(self.counts).cumsum(0).tolist()
        places = {name: (end - count, end) for name, end, count in zip(self.ids, ends, self.counts, strict=True)}
        object.__setattr__(self, "_places", places)

    def find(self, ids: Sequence[str]) -> TopTokens:
        """Return the distributions of some examples, one after the other.

        Args:
            ids: of the examples.
        """
        places: dict[str, tuple[int, int]] = self._places  # type: ignore[attr-defined]
        rows = torch.cat([torch.arange(*places[name]) for name in ids])
        return TopTokens(self.top.log_probs[rows], self.top.tokens[rows], self.top.rest[rows])

    def save(self, path: Path, fingerprint: str) -> None:
        """Write them.

        Args:
            path: of the file.
            fingerprint: of all that they follow from.
        """
        tensors = {
            "log_probs": self.top.log_probs, "tokens": self.top.tokens.int(), "rest": self.top.rest,
            "counts": torch.tensor(self.counts),
        }  # fmt: skip
        with swapped_in(path) as beside:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, beside,
                      metadata={"fingerprint": fingerprint})  # fmt: skip

    @classmethod
    def load(cls, path: Path, ids: Sequence[str], fingerprint: str) -> TeacherLogits | None:
        """Read them; None where there are none, or others.

        Args:
            path: of the file.
            ids: of the examples, in the order in which they were cached.
            fingerprint: as it was saved.
        """
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("fingerprint") != fingerprint:
                    return None
                found: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            log.warning("%s cannot be read (%s); the teacher is run again", path, error)
            return None
        top = TopTokens(found["log_probs"], found["tokens"].long(), found["rest"])
        return cls(top, found["counts"].tolist(), ids)


class TeacherBuilder:
    """Collects the distributions of a teacher, batch by batch.

    Args:
        top_k: tokens that are kept; 0 for all.
    """

    def __init__(self, top_k: int) -> None:
        self._top_k = top_k
        self._parts: list[TopTokens] = []
        self._counts: list[int] = []
        self._ids: list[str] = []

    def add(self, logits: Tensor, counts: Sequence[int], ids: Sequence[str]) -> None:
        """Add a batch.

        Args:
            logits: (K, V) of its answers' tokens.
            counts: tokens of each answer.
            ids: of the examples.
        """
        top = keep_top(logits, self._top_k or logits.shape[-1])
        self._parts.append(TopTokens(top.log_probs.cpu(), top.tokens.cpu(), top.rest.cpu()))
        self._counts += counts
        self._ids += ids

    def finish(self) -> TeacherLogits:
        """Return all of them."""
        parts = self._parts
        joined = TopTokens(
            torch.cat([part.log_probs for part in parts]), torch.cat([part.tokens for part in parts]),
            torch.cat([part.rest for part in parts]),
        )  # fmt: skip
        return TeacherLogits(joined, self._counts, self._ids)
