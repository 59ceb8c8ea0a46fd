"""Text one token at a time: greedy and beam search, alone or together with CTC, with an end that is sure to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bigfoot.decoding.ctc_prefix import CTCPrefixScorer, PrefixState
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.errors import ModelError
from bigfoot.models.decoders.text_model import TextCache, TextModel

END, LENGTH, REPETITION = "end", "length", "repetition"
"""How a text ended: by the decoder's end token, at the longest allowed, or cut at a repetition loop."""
_LONGEST_CYCLE = 32
"""Tokens of the longest repetition loop that is detected."""


@dataclass(frozen=True)
class Hypothesis:
    """One text.

    Args:
        tokens: without begin and end.
        score: what it was ranked by: log probabilities by weight, and the length bonus.
        attention_score: log probability by the decoder, in nats.
        ctc_score: log probability by CTC; None where it had no weight.
        ended: ``END``, ``LENGTH`` or ``REPETITION``.
    """

    tokens: list[int]
    score: float
    attention_score: float
    ctc_score: float | None
    ended: str


@dataclass(frozen=True)
class Decoded:
    """Result for one utterance.

    Args:
        hypotheses: best first, as many as beams at most.
        margin: smallest difference of scores by which something was kept or left out. Two batches may only disagree
            on an utterance whose margin is within rounding.
    """

    hypotheses: list[Hypothesis]
    margin: float

    @property
    def best(self) -> Hypothesis:
        """The best hypothesis."""
        return self.hypotheses[0]


@torch.inference_mode()
def decode_autoregressive(
    model: TextModel,
    memory: Tensor,
    memory_mask: Tensor | None,
    config: DecodingConfig,
    *,
    ctc: CTCPrefixScorer | None = None,
    limits: Tensor | None = None,
    prompts: Sequence[Sequence[int]] | None = None,
    min_tokens: int = 0,
    use_cache: bool = True,
) -> list[Decoded]:
    """Search for the best texts of a batch, each utterance as if it were alone.

    The beam holds ended and growing texts together; ``beam_size`` 1 is greedy search. An utterance is done when no
    growing text can overtake the best ended one.

    Args:
        model: in eval mode.
        memory: (B, T, M) encoder states.
        memory_mask: (B, T), True = real, wherever the padding stands; None where all are.
        config: beams, weights and limits.
        ctc: of the same audio and vocabulary, with the blank as ``model.end_id``; needed where ``config.ctc_weight``
            is above 0 (Hori et al., 2017, section 2.3).
        limits: (B,) most tokens of each text, beside ``config.max_tokens``.
        prompts: first tokens of each text, B lists; not among the tokens that are found. Not with ``ctc``.
        min_tokens: fewest tokens of each text, to time a search of a given length.
        use_cache: off, every step computes all tokens anew, to compare.

    Returns:
        One result an utterance.

    Raises:
        ModelError: ``config.ctc_weight`` without ``ctc``, or with prompts.

    Examples:
        >>> from bigfoot.models.decoders import MiniGPT
        >>> model = MiniGPT(vocab_size=8, end_id=0, hidden_size=16, num_layers=1, num_heads=2).eval()
        >>> (found,) = decode_autoregressive(model, torch.zeros(1, 5, 16), None, DecodingConfig(max_tokens=3))
        >>> len(found.best.tokens) <= 3
        True
    """
    if config.ctc_weight and (ctc is None or prompts is not None):
        raise ModelError(
            "decoding with ctc_weight needs a CTC head over the decoder's own tokens, and no prompt; set it to 0"
        )
    ctc = ctc if config.ctc_weight else None
    search = _Search(model, memory, memory_mask, config, ctc, limits, prompts, min_tokens, use_cache)
    while not search.done:
        search.step()
    return search.results()


class _Search:
    """B utterances with K texts each, all of which have as many tokens."""

    def __init__(
        self,
        model: TextModel,
        memory: Tensor,
        memory_mask: Tensor | None,
        config: DecodingConfig,
        ctc: CTCPrefixScorer | None,
        limits: Tensor | None,
        prompts: Sequence[Sequence[int]] | None,
        min_tokens: int,
        use_cache: bool,
    ) -> None:
        self.model, self.config, self.ctc, self.use_cache = model, config, ctc, use_cache
        self.min_tokens = min_tokens
        count, beams, device = memory.shape[0], config.beam_size, memory.device
        self.count, self.beams = count, beams
        if memory.shape[1] == 0:  # attention over nothing is no number
            memory, memory_mask = memory.new_zeros(count, 1, memory.shape[2]), None
        self.memory = memory.repeat_interleave(beams, 0)
        self.memory_mask = None if memory_mask is None else memory_mask.repeat_interleave(beams, 0)
        self.limits = torch.full((count,), config.max_tokens, device=device)
        if limits is not None:
            self.limits = torch.minimum(self.limits, limits.to(device))
        self.prefix, self.prefix_mask = self._pad_prompts(prompts, device)
        self.tokens = torch.zeros(count, beams, 0, dtype=torch.int64, device=device)
        # One text at first; the other places are taken by what grows out of it.
        self.scores = torch.full((count, beams), -torch.inf, device=device, dtype=torch.float64)
        self.scores[:, 0] = 0.0
        self.attention = torch.zeros_like(self.scores)
        self.ctc_scores = torch.zeros_like(self.scores)
        self.lengths = torch.zeros(count, beams, dtype=torch.int64, device=device)
        self.ended = torch.isinf(self.scores)
        self.reasons = torch.zeros_like(self.lengths)  # 0 its own end, 1 length, 2 repetition
        self.margins = torch.full((count,), torch.inf, device=device, dtype=torch.float64)
        self.state: PrefixState | None = None if ctc is None else ctc.start(beams)
        self.cache: TextCache | None = None

    def _pad_prompts(
        self, prompts: Sequence[Sequence[int]] | None, device: torch.device
    ) -> tuple[Tensor, Tensor | None]:
        """Start token and prompts of all rows, padded in front; the mask is None where they are equally long."""
        rows = [[self.model.begin_id, *prompt] for prompt in prompts or [[]] * self.count]
        longest = max(map(len, rows))
        padded = [[self.model.end_id] * (longest - len(row)) + row for row in rows]
        mask = [[False] * (longest - len(row)) + [True] * len(row) for row in rows]
        prefix = torch.tensor(padded, device=device).repeat_interleave(self.beams, 0)
        if all(map(all, mask)):
            return prefix, None
        return prefix, torch.tensor(mask, device=device).repeat_interleave(self.beams, 0)

    @property
    def done(self) -> bool:
        return bool(self.ended.all())

    def _next_log_probs(self) -> Tensor:
        """(B, K, V) of the decoder."""
        written = self.tokens.flatten(0, 1)
        known = torch.cat([self.prefix, written], dim=1)
        mask = self.prefix_mask
        if mask is not None:
            mask = torch.nn.functional.pad(mask, (0, written.shape[1]), value=True)
        if self.use_cache and self.cache is None:
            self.cache = self.model.start(self.memory, self.memory_mask)
        new = known if self.cache is None or not written.shape[1] else known[:, -1:]
        logits = self.model(new, self.memory, self.memory_mask, self.cache, mask)[:, -1]
        return logits.double().log_softmax(-1).view(self.count, self.beams, -1)

    def step(self) -> None:
        """Add a token to every growing text, and keep the best K of each utterance."""
        log_probs = self._next_log_probs()
        attention, scores, ctc = self._score(log_probs)
        vocab = log_probs.shape[-1]
        found = scores.flatten(1).topk(self.beams + 1, dim=1)
        kept = found.values[:, : self.beams]
        self._note_margins(found.values)
        parents, tokens = found.indices[:, :-1] // vocab, found.indices[:, :-1] % vocab
        was_ended = self.ended.gather(1, parents)
        grows = ~was_ended & (tokens != self.model.end_id)
        self.attention = attention.flatten(1).gather(1, found.indices[:, :-1])
        self.ctc_scores = ctc.flatten(1).gather(1, found.indices[:, :-1])
        full = self.lengths.gather(1, parents) >= self.limits[:, None]
        self.reasons = torch.where(was_ended, self.reasons.gather(1, parents), full.long())
        self.lengths = self.lengths.gather(1, parents) + grows
        self.scores, self.ended = kept, ~grows | torch.isinf(kept)
        past = self.tokens.gather(1, parents[..., None].expand_as(self.tokens))
        self.tokens = torch.cat([past, tokens[..., None]], dim=-1)
        if self.ctc is not None and self.state is not None:
            self.state = self.ctc.extend(self.state, parents, tokens, grows)
        if self.cache is not None and self.beams > 1:
            first = torch.arange(self.count, device=parents.device)[:, None] * self.beams
            self.cache.reorder_((first + parents).flatten())
        self._cut_loops()
        self._settle()

    def _score(self, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score every text with every next token: by the decoder, by all, by CTC; each (B, K, V)."""
        end, config = self.model.end_id, self.config
        is_end = torch.arange(log_probs.shape[-1], device=log_probs.device) == end
        attention = self.attention[..., None] + log_probs
        ctc = torch.zeros_like(attention)
        scores = attention
        if self.ctc is not None and self.state is not None:
            ctc = self.ctc.score(self.state)
            scores = (1 - config.ctc_weight) * attention + config.ctc_weight * ctc
        scores = scores + config.length_bonus * (self.lengths[..., None] + (~is_end).long())
        full, short = self.lengths >= self.limits[:, None], self.lengths < self.min_tokens
        scores = scores.masked_fill(full[..., None] & ~is_end, -torch.inf)
        scores = scores.masked_fill((short & ~full)[..., None] & is_end, -torch.inf)
        # A text that has ended stays as it is: its only next token is the end, at no cost.
        ended, here = self.ended[..., None], self.ended[..., None] & is_end
        scores = scores.masked_fill(ended, -torch.inf).where(~here, self.scores[..., None])
        attention = attention.where(~here, self.attention[..., None])
        return attention, scores, ctc.where(~here, self.ctc_scores[..., None])

    def _note_margins(self, values: Tensor) -> None:
        """Update the smallest margins of utterances that are not done."""
        gaps = values[:, self.beams - 1] - values[:, self.beams]
        real = ~self.ended.all(1) & torch.isfinite(gaps)
        self.margins = torch.where(real, torch.minimum(self.margins, gaps), self.margins)

    def _cut_loops(self) -> None:
        """End texts whose tail is one piece over and over, and cut them after its first time."""
        repeats, length = self.config.max_repeats + 1, self.tokens.shape[-1]
        for period in range(1, min(_LONGEST_CYCLE, length // repeats) + 1):
            tail = self.tokens[..., length - period * repeats :]
            loops = (tail[..., period:] == tail[..., :-period]).all(-1) & ~self.ended
            self.ended, self.reasons = self.ended | loops, self.reasons.masked_fill(loops, 2)
            self.lengths = torch.where(loops, length - period * (repeats - 1), self.lengths)

    def _settle(self) -> None:
        """Drop the growing texts of utterances in which none can overtake the best that has ended."""
        left = (self.limits[:, None] - self.lengths).clamp(min=0)
        bound = self.scores + max(0.0, self.config.length_bonus) * left
        best_ended = self.scores.masked_fill(~self.ended, -torch.inf).amax(1)
        best_growing = bound.masked_fill(self.ended, -torch.inf).amax(1)
        dropped = (best_ended >= best_growing)[:, None] & ~self.ended
        self.scores, self.ended = self.scores.masked_fill(dropped, -torch.inf), self.ended | dropped

    def results(self) -> list[Decoded]:
        """Return the results, best first."""
        order = self.scores.argsort(dim=1, descending=True, stable=True).tolist()
        return [self._result(row, ranks) for row, ranks in enumerate(order)]

    def _result(self, row: int, ranks: list[int]) -> Decoded:
        reasons = (END, LENGTH, REPETITION)
        hypotheses = [
            Hypothesis(
                tokens=self.tokens[row, k, : int(self.lengths[row, k])].tolist(),
                score=float(self.scores[row, k]),
                attention_score=float(self.attention[row, k]),
                ctc_score=None if self.ctc is None else float(self.ctc_scores[row, k]),
                ended=reasons[int(self.reasons[row, k])],
            )
            for k in ranks
            if self.scores[row, k].isfinite()
        ]
        margin = float(self.margins[row])
        if len(hypotheses) > 1:
            margin = min(margin, hypotheses[0].score - hypotheses[1].score)
        return Decoded(hypotheses, margin)
