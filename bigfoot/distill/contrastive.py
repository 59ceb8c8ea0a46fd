"""Losses that draw the embeddings of an utterance's speech and text together, against the others of its batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

CONTRASTS = ("info_nce", "cosine", "cca")


def info_nce(speech: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al., 2018, equation 4; Radford et al., 2021, figure 3).

    Each utterance's speech is to find its text among those of the batch, and its text its speech.

    Args:
        speech: (B, E).
        text: (B, E).
        temperature: divides the cosine similarities, above 0.

    Returns:
        Scalar, the mean over utterances and both directions.

    Examples:
        >>> both = torch.eye(2)
        >>> bool(info_nce(both, both, 0.1) < info_nce(both, both.flip(0), 0.1))
        True
    """
    similarities = _normalize(speech) @ _normalize(text).T / temperature
    own = torch.arange(len(speech), device=speech.device)
    return (nn.functional.cross_entropy(similarities, own) + nn.functional.cross_entropy(similarities.T, own)) / 2


def cosine(speech: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Compute the cosine distance of both embeddings of an utterance, and the similarity to the others' above 0.

    Args:
        speech: (B, E).
        text: (B, E).
        temperature: not used.

    Returns:
        Scalar: the mean of 1 - cosine of the pairs, and of max(0, cosine) of all others.
    """
    similarities = _normalize(speech) @ _normalize(text).T
    pairs = similarities.diagonal()
    others = similarities.clamp(min=0).sum() - pairs.clamp(min=0).sum()
    return (1 - pairs).mean() + others / max(1, len(speech) * (len(speech) - 1))


def cca(speech: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Compute the CCA-like decorrelation of standardized embeddings (Barlow Twins; Zbontar et al., 2021, equation 1).

    Args:
        speech: (B, E).
        text: (B, E).
        temperature: weight of the pairs of different channels.

    Returns:
        Scalar: how far the correlation of both is from the identity, by channel.
    """
    correlation = _standardize(speech).T @ _standardize(text) / len(speech)
    own = (1 - correlation.diagonal()).square().sum()
    others = correlation.square().sum() - correlation.diagonal().square().sum()
    return (own + temperature * others) / speech.shape[1]


def _normalize(embeddings: Tensor) -> Tensor:
    # float32: similarities of half precision are too coarse to divide by a small temperature.
    return nn.functional.normalize(embeddings.float(), dim=-1)


def _standardize(embeddings: Tensor) -> Tensor:
    centred = embeddings.float() - embeddings.float().mean(0)
    return centred / centred.square().mean(0).add(1e-6).sqrt()


CONTRAST_LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "info_nce": info_nce, "cosine": cosine, "cca": cca
}  # fmt: skip
"""By name: from (B, E) embeddings of speech and text and a temperature to a scalar."""


def measure_retrieval(speech: Tensor, text: Tensor) -> float:
    """Return the share of utterances whose own text is the most similar of all (R@1).

    Args:
        speech: (B, E).
        text: (B, E).

    Examples:
        >>> measure_retrieval(torch.eye(3), torch.eye(3))
        1.0
    """
    nearest = (_normalize(speech) @ _normalize(text).T).argmax(1)
    return float((nearest == torch.arange(len(speech), device=speech.device)).float().mean())
