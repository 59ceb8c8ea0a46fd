"""Distillation of a language model's next-token distributions, from text to speech."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TopTokens:
    """A distribution by its most probable tokens, and what is left.

    Args:
        log_probs: (K, k) of the tokens.
        tokens: (K, k) their ids.
        rest: (K,) log of the probability of all others.
    """

    log_probs: Tensor
    tokens: Tensor
    rest: Tensor


def keep_top(logits: Tensor, k: int) -> TopTokens:
    """Keep the k most probable tokens of each position.

    Args:
        logits: (K, V).
        k: tokens to keep; all where it is V or more.

    Examples:
        >>> top = keep_top(torch.tensor([[2.0, 0.0, 0.0]]), 1)
        >>> round(float(top.log_probs.exp() + top.rest.exp()), 6)
        1.0
    """
    log_probs = logits.float().log_softmax(-1)
    values, tokens = log_probs.topk(min(k, log_probs.shape[-1]), dim=-1)
    return TopTokens(values, tokens, _log_rest(values))


def _log_rest(log_probs: Tensor) -> Tensor:
    # Rounding may take the sum past 1.
    return torch.log1p(-log_probs.exp().sum(-1).clamp(max=1 - 1e-7))


def token_logit_distillation(student: Tensor, teacher: Tensor | TopTokens) -> Tensor:
    """Kullback-Leibler divergence from the language model that reads a transcript to the one that gets the speech.

    Both give the logits of the same output's tokens (Kang & Roux, 2024, equation 2). Of a teacher's ``TopTokens`` all
    other tokens count as one.

    Args:
        student: (K, V) logits given speech.
        teacher: (K, V) logits given the transcript, or their top tokens.

    Returns:
        (K,) nats, at least 0.

    Examples:
        >>> token_logit_distillation(torch.zeros(1, 3), torch.zeros(1, 3)).tolist()
        [0.0]
    """
    mine = student.float().log_softmax(-1)
    if isinstance(teacher, Tensor):
        theirs = teacher.float().log_softmax(-1)
        return (theirs.exp() * (theirs - mine)).sum(-1)
    kept = mine.gather(-1, teacher.tokens)
    shared = (teacher.log_probs.exp() * (teacher.log_probs - kept)).sum(-1)
    return shared + teacher.rest.exp() * (teacher.rest - _log_rest(kept))
