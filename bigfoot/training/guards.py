"""What goes wrong in training, noticed and said with what to try."""

from __future__ import annotations

import math

from bigfoot.errors import TrainingError

ALL_BLANK = 0.995
"""Blank rate beyond which CTC has collapsed: speech leaves at least a frame in a hundred to characters."""


def check_loss(terms: dict[str, float], step: int, precision: str) -> None:
    """Stop at a loss that is no number, before it reaches the weights.

    Args:
        terms: value of every loss term.
        step: 1-based.
        precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        TrainingError: names the term and what to try.
    """
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    if broken:
        cure = "precision=bf16 or precision=no" if precision == "fp16" else "a lower learning_rate or more warmup_steps"
        raise TrainingError(
            f"step {step}: the loss term {' and '.join(broken)} is not a finite number; the last checkpoint is still "
            f"good. Try {cure}"
        )


def describe_dev(step: int, max_steps: int, blank_rate: float, wer: float | None) -> str | None:
    """Say what a look at dev reveals.

    Args:
        step: 1-based.
        max_steps: of the run.
        blank_rate: share of frames that are blank, 0 to 1.
        wer: on dev, a fraction; None where there are no words.

    Returns:
        A warning, or None where all is well. Early in training blanks everywhere are normal.

    Example:
        >>> describe_dev(900, 1000, 1.0, 1.0) is None
        False
    """
    if step * 2 >= max_steps and blank_rate >= ALL_BLANK:
        return (
            f"step {step}: CTC has collapsed to blanks ({blank_rate:.1%} of the frames, WER {wer or 0:.0%}). Try more "
            "steps, a lower learning_rate, fewer or shorter masks (spec_augment), or distill.losses.hidden first"
        )
    return None
