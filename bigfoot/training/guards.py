"""What goes wrong in training, noticed and said with what to try."""

from __future__ import annotations

import math

import torch

from bigfoot.errors import TrainingError
from bigfoot.models.ctc import BigfootForCTC

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


@torch.no_grad()
def check_half_precision(model: BigfootForCTC, precision: str) -> None:
    """Refuse a half precision in which this machine computes the positional convolution wrongly.

    torch 2.13 does so in bf16 on CPUs with AMX, for 8 channels a group and an even kernel: the answer is unrelated to
    the right one, training looks alive, and the model is worthless in fp32.

    Args:
        model: on the device it trains on.
        precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        TrainingError: the two answers have little in common.
    """
    if precision == "no":
        return
    conv, size = model.speech_encoder.encoder.pos_conv_embed, model.config.hidden_size
    # A generator of its own: a check must not move the numbers of the run.
    x = torch.randn(2, 100, size, generator=torch.Generator().manual_seed(0)).to(model.device)
    right = conv(x)
    with torch.autocast(model.device.type, torch.bfloat16 if precision == "bf16" else torch.float16):
        half = conv(x).float()
    error = float((half - right).norm() / right.norm())
    if not error < 0.1:
        raise TrainingError(
            f"precision={precision}: this machine computes the positional convolution wrongly in it (relative error "
            f"{error:.2f}, a fault of torch {torch.__version__} on {model.device.type}); use precision=no"
        )
