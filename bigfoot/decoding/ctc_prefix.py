"""What CTC thinks of the beginning of a text: the probability of all alignments of all texts that begin with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NEVER = -1e30
"""Log probability of what cannot be; finite, so that differences of two are numbers."""


@dataclass(frozen=True)
class PrefixState:
    """Forward log probabilities of K prefixes an utterance.

    Args:
        nonblank: (B, K, T + 1), of having written the prefix by frame t and ended in its last token; 0 = no frame yet.
        blank: (B, K, T + 1), the same, ended in a blank.
        last: (B, K), the last token; -1 for the empty prefix.
    """

    nonblank: Tensor
    blank: Tensor
    last: Tensor


class CTCPrefixScorer:
    """Prefix probabilities under CTC (Hori et al., 2017, section 2.3), for all next tokens at once.

    In double precision, and without a loop over frames: with Y the running sum of a token's log probability, the
    recursion r[t] = log(exp r[t-1] + exp phi[t-1]) + y[t] is a running log-sum of phi - Y, plus Y.

    Args:
        logits: (B, T, V) of the CTC head.
        frame_mask: (B, T), True = real, wherever the padding stands; None where all are.
        blank_id: token of the blank.

    Examples:
        >>> scorer = CTCPrefixScorer(torch.zeros(1, 1, 2), None, blank_id=0)
        >>> scorer.score(scorer.start(1)).exp()[0, 0].tolist()  # the blank's column: the prefix, and no more
        [0.5, 0.5]
    """

    def __init__(self, logits: Tensor, frame_mask: Tensor | None, blank_id: int) -> None:
        if frame_mask is None:
            frame_mask = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        # Real frames to the front, in their order.
        order = (~frame_mask).to(torch.int8).argsort(dim=1, stable=True)
        self.lengths = frame_mask.sum(-1)  # (B,)
        real = torch.arange(logits.shape[1], device=logits.device) < self.lengths[:, None]
        packed = logits.gather(1, order[..., None].expand_as(logits)).double()
        # Garbage in padding is read nowhere, but would be in the running sums.
        self.log_probs = packed.where(real[..., None], 0.0).log_softmax(-1)  # (B, T, V)
        self.blank_id, self._real = blank_id, real

    def _running_sum(self, log_probs: Tensor) -> Tensor:
        """(B, K, T) to (B, K, T + 1): over no frame, one, two, ..."""
        return torch.nn.functional.pad(log_probs.cumsum(-1), (1, 0))

    def start(self, beams: int) -> PrefixState:
        """The empty prefix, K times for each utterance."""
        blank = self._running_sum(self.log_probs[:, None, :, self.blank_id]).expand(-1, beams, -1)
        last = torch.full(blank.shape[:2], -1, device=blank.device)
        return PrefixState(torch.full_like(blank, _NEVER), blank, last)

    def score(self, state: PrefixState) -> Tensor:
        """Log probability of every prefix with one token more.

        Args:
            state: of the prefixes.

        Returns:
            (B, K, V); in the blank's column that of the prefix as the whole text.
        """
        both = torch.logaddexp(state.nonblank, state.blank)
        # A token twice in a row needs a blank between: that column is computed apart.
        scores = self._sum_over_frames(both[..., :-1], self.log_probs)
        last = state.last.clamp(min=0)
        again = self.log_probs.transpose(1, 2).gather(1, last[..., None].expand(-1, -1, self.log_probs.shape[1]))
        after_blank = (state.blank[..., :-1] + again).where(self._real[:, None], _NEVER).logsumexp(-1).clamp(min=_NEVER)
        scores = scores.scatter(2, last[..., None], after_blank[..., None]) if self._any_last(state) else scores
        ends = self.lengths[:, None, None].expand(-1, both.shape[1], 1)
        scores[..., self.blank_id] = both.gather(2, ends)[..., 0]
        return scores

    @staticmethod
    def _any_last(state: PrefixState) -> bool:
        # All prefixes grow together: either all are empty or none is.
        return bool((state.last >= 0).any())

    def _sum_over_frames(self, before: Tensor, log_probs: Tensor) -> Tensor:
        """(B, K, T) and (B, T, V) to (B, K, V): a product of matrices, scaled by the largest entry."""
        before = before.where(self._real[:, None], _NEVER)
        top = before.amax(-1, keepdim=True) if before.shape[-1] else before.new_full((*before.shape[:2], 1), _NEVER)
        sums = (before - top).exp() @ log_probs.exp()
        return sums.clamp(min=torch.finfo(sums.dtype).tiny).log() + top

    def extend(self, state: PrefixState, parents: Tensor, tokens: Tensor, grows: Tensor) -> PrefixState:
        """The state of new prefixes.

        Args:
            state: of the old ones.
            parents: (B, K), which old prefix each comes from.
            tokens: (B, K), what is added to it.
            grows: (B, K), False where nothing is added.

        Returns:
            Its state.
        """
        rows = parents[..., None].expand_as(state.nonblank)
        nonblank, blank = state.nonblank.gather(1, rows), state.blank.gather(1, rows)
        last = state.last.gather(1, parents)
        both = torch.logaddexp(nonblank, blank)
        before = torch.where((last == tokens)[..., None], blank, both)[..., :-1]
        index = tokens[..., None].expand(-1, -1, self.log_probs.shape[1])
        new_nonblank = self._recur(before, self.log_probs.transpose(1, 2).gather(1, index))
        new_blank = self._recur(new_nonblank[..., :-1], self.log_probs[:, None, :, self.blank_id])
        keep = ~grows[..., None]
        return PrefixState(
            torch.where(keep, nonblank, new_nonblank), torch.where(keep, blank, new_blank),
            torch.where(grows, tokens, last),
        )  # fmt: skip

    def _recur(self, before: Tensor, log_probs: Tensor) -> Tensor:
        """r[0] never; r[t] = log(exp r[t-1] + exp before[t-1]) + log_probs[t], for (B, K, T)."""
        sums = self._running_sum(log_probs)
        reached = (before - sums[..., :-1]).logcumsumexp(-1) + sums[..., 1:]
        return torch.nn.functional.pad(reached, (1, 0), value=_NEVER)
