"""What goes wrong in training, noticed and said with what to try."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bigfoot.errors import TrainingError
from bigfoot.measure.error_rate import measure_error_rate
from bigfoot.measure.half_precision import WRONG, measure_half_precision_error
from bigfoot.models.ctc import BigfootForCTC

ALL_BLANK = 0.995
"""Blank rate beyond which CTC has collapsed: speech leaves at least a frame in a hundred to characters."""


RECENT_LOSSES = 50
"""Steps by which a loss is judged."""
_FEWEST_LOSSES = 20
_EXPLODED = 20.0
# In nats a frame or label: below it nothing is lost yet, and a student that equals its teacher may well jump about.
_HARMLESS = 0.1


def find_broken(terms: Mapping[str, float]) -> str | None:
    """Name the loss terms that are no number.

    Args:
        terms: value of every loss term, over all processes.

    Returns:
        Such as ``loss term ctc``; None where all are finite.

    Examples:
        >>> find_broken({"hidden": float("inf"), "ctc": float("nan"), "logit_kl": 1.0})
        'loss term hidden and ctc'
    """
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    return f"loss term {' and '.join(broken)}" if broken else None


def usual_loss(recent: Sequence[float]) -> float | None:
    """The loss above which a step is out of all proportion: 20 times the median of the last ones.

    Batches of a corpus differ by a factor of a few; a median does not follow the outlier it is there to find.

    Args:
        recent: losses of the last steps.

    Returns:
        The bound, 0.1 or more; None before there are 20 losses to judge by.

    Examples:
        >>> usual_loss([2.0] * 19) is None, usual_loss([2.0] * 20)
        (True, 40.0)
    """
    if len(recent) < _FEWEST_LOSSES:
        return None
    return max(_EXPLODED * statistics.median(recent), _HARMLESS)


def describe_rates(groups: Sequence[Mapping[str, Any]]) -> str | None:
    """Say that no part of the student can learn, because of learning rates of 0.

    Args:
        groups: the optimizer's, with ``name``, ``lr`` and ``params``. Where there are gradients already, it also counts
            which parts the loss reaches.

    Returns:
        A warning, or None where something learns.

    Examples:
        >>> describe_rates([{"name": "encoder", "lr": 0.1, "params": []}]) is None
        True
    """
    # Projections are thrown away afterwards, and the rest is the embedding of masks, which no decoding uses.
    groups = [group for group in groups if group["name"] not in ("projections", "rest")]
    moving = {group["name"] for group in groups if group["lr"] > 0}
    if not moving:
        return (
            "every learning rate is 0 while steps remain: nothing is learned. Try learning_rate_factors above 0, or "
            "another schedule"
        )
    reached = {
        group["name"] for group in groups
        if any(parameter.grad is not None and parameter.grad.any() for parameter in group["params"])
    }  # fmt: skip
    if reached and not reached & moving:
        parts = " and ".join(sorted(reached))
        return (
            f"the loss reaches {parts} alone, where the learning rate is 0: nothing is learned. Try "
            "learning_rate_factors above 0 for it, or another term of the loss"
        )
    return None


def describe_teacher(references: Sequence[str], hypotheses: Sequence[str]) -> str | None:
    """Say that a teacher hears no better than one who does not listen.

    There are two answers that anyone can give. Nothing at all has a WER and a CER of 100 %: a teacher that reaches
    either is warned of. The most frequent word, every time, may have less where utterances are short: a teacher that
    beats it neither in words nor in characters is warned of, too.

    Args:
        references: what was said, an utterance each.
        hypotheses: what the teacher heard, greedily.

    Returns:
        A warning, or None where it hears more, or where nothing was said.

    Examples:
        >>> describe_teacher(["ONE TWO", "ONE"], ["ONE TWO", "NINE"]) is None
        True
    """
    words = Counter(word for text in references for word in text.split())
    if not words:
        return None
    speakers, constant = [""] * len(references), [words.most_common(1)[0][0]] * len(references)
    heard = measure_error_rate(references, hypotheses, speakers, samples=1)
    chance = measure_error_rate(references, constant, speakers, samples=1)
    assert heard.wer is not None and heard.cer is not None and chance.wer is not None and chance.cer is not None
    nothing = heard.wer >= 1.0 or heard.cer >= 1.0
    if not nothing and (heard.wer < chance.wer or heard.cer < chance.cer):
        return None
    return (
        f"the teacher hears no better than chance (dev WER {heard.wer:.0%}, CER {heard.cer:.0%}; the same word every "
        f"time gives {chance.wer:.0%} and {chance.cer:.0%}): a student can learn nothing from it. Look at some of "
        "its transcripts (bigfoot transcribe), then at its vocabulary (another order or letter case), do_normalize in "
        "its preprocessor_config.json, the sample rate it was trained at, and its language"
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

    Examples:
        >>> describe_dev(900, 1000, 1.0, 1.0) is None
        False
    """
    if step * 2 >= max_steps and blank_rate >= ALL_BLANK:
        score = "" if wer is None else f", WER {wer:.0%}"
        return (
            f"step {step}: CTC has collapsed to blanks ({blank_rate:.1%} of the frames{score}). Try more "
            "steps, a lower learning_rate, fewer or shorter masks (spec_augment), or distill.losses.hidden first"
        )
    return None


def describe_loops(step: int, num_cut: int, num_utterances: int, joint: bool) -> str | None:
    """Say how many of a decoder's texts on dev were repetition loops and were cut.

    Args:
        step: 1-based.
        num_cut: texts that were cut.
        num_utterances: of dev.
        joint: whether CTC is trained beside the decoder already.

    Returns:
        A warning; None where there was none.

    Examples:
        >>> describe_loops(10, 0, 60, joint=False) is None
        True
    """
    if not num_cut:
        return None
    cures = "Try more steps" if joint else "Try more steps, or finetune.objective=joint"
    return (
        f"step {step}: the decoder repeated itself without end in {num_cut} of {num_utterances} utterances of dev, "
        f"whose texts were cut. {cures}; dev is decoded without CTC, the report with evaluate.autoregressive.ctc_weight"
    )


def check_half_precision(model: BigfootForCTC, precision: str) -> None:
    """Refuse a half precision in which this machine computes the positional convolution wrongly.

    Training would look alive, and the model be worthless in fp32. See ``bigfoot.measure.half_precision``.

    Args:
        model: on the device it trains on.
        precision: ``no``, ``bf16`` or ``fp16``.

    Raises:
        TrainingError: the two answers have little in common.
    """
    if precision == "no":
        return
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    error = measure_half_precision_error(model.speech_encoder.encoder.pos_conv_embed, model.config.hidden_size, dtype)
    if not error < WRONG:
        raise TrainingError(
            f"precision={precision}: this machine computes the positional convolution wrongly in it (relative error "
            f"{error:.2f}, a fault of torch {torch.__version__} on {model.device.type}); use precision=no"
        )
