"""Which int8 layers of a refused file to bring back to fp32, found without another file.

Errors of layers are about independent of each other, so the squares of what each does to the logits add up. Without the
first k layers the file's logits are then about as far from the model's, in the same directions, times the root of the
share of what is left. So texts are decoded from stored logits, and nothing is run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bigfoot.export.alone import Alone
from bigfoot.export.layers import LayerError
from bigfoot.export.parity import ParityLimits
from bigfoot.measure.error_rate import count_errors
from bigfoot.measure.sequential import judge_rise


def choose_layers(
    ranked: Sequence[LayerError], alone: Alone, limits: ParityLimits, at_least: int = 1
) -> list[LayerError]:
    """Choose the fewest layers without which the texts would pass.

    Args:
        ranked: layers that compute in int8, with what each does to the logits, the worst first; one or more.
        alone: logits of the model and of the file, of the utterances that refused it.
        limits: what is too far.
        at_least: as many of the worst are chosen in any case.

    Returns:
        Some of ``ranked``, in its order, ``at_least`` of them where there are as many.
    """
    beyond = {layer.name for layer in ranked if limits.layers is not None and not layer.error <= limits.layers}
    if beyond:
        return [layer for index, layer in enumerate(ranked) if layer.name in beyond or index < at_least]
    squares = np.square([layer.noise for layer in ranked])
    if not np.isfinite(squares).all() or not all(np.isfinite(logits).all() for logits in alone.found):
        return list(ranked[: max(at_least, int((~np.isfinite(squares)).sum()))])
    left = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    shares = np.sqrt(left / (left[0] or 1.0))
    counts = range(min(at_least, len(ranked)), len(ranked))
    found = bisect_left(counts, x=True, key=lambda count: _passes(alone, float(shares[count]), limits.wer))
    return list(ranked[: counts.start + found])


def _passes(alone: Alone, share: float, margin: float) -> bool:
    """Whether the texts pass where the file's logits are that much nearer to the model's."""
    nearer = [ours + share * (theirs - ours) for ours, theirs in zip(alone.expected, alone.found, strict=True)]
    references, texts, found = replace(alone, found=nearer).texts()
    if judge_rise(references, texts, found, margin).outcome == "refused":
        return False
    before, after = (sum(counts.errors for counts in count_errors(references, each)) for each in (texts, found))
    return after - before <= margin * sum(len(text.split()) for text in references)
