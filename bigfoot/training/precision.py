"""The precision that a training runs in."""

from __future__ import annotations

import torch


def choose_precision(wanted: str) -> str:
    """Resolve ``auto``: bf16 on a GPU that supports it, fp32 elsewhere.

    Examples:
        >>> choose_precision("fp16")
        'fp16'
    """
    if wanted != "auto":
        return wanted
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "no"
