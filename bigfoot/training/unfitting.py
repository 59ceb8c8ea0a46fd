"""Find and count transcripts that are too long for CTC in the frames of their audio, before training."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from bigfoot.data.batches import read_lengths
from bigfoot.decoding.alignment import count_needed_frames
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.tokenizers import Processor

log = logging.getLogger("bigfoot")

_SHOWN = 5


def describe_unfitting(manifest: Path, processor: Processor, model: BigfootForCTC) -> list[str]:
    """Report the utterances with more labels than frames; they contribute nothing to the loss.

    Lengths are those of the stored audio, before speed perturbation.

    Args:
        manifest: of train.
        processor: with a tokenizer.
        model: determines the number of frames.

    Returns:
        A sentence, or nothing if all fit.
    """
    tokenizer = processor.tokenizer
    assert tokenizer is not None
    listed = [item for item in read_lengths(manifest) if item[1]]
    samples = torch.tensor([round(seconds * processor.sample_rate) for _, _, seconds in listed])
    frames = model.speech_encoder.feature_encoder.frame_lengths(samples).tolist()
    unfitting = []
    for (name, text, _), room in zip(listed, frames, strict=True):
        try:
            needed = count_needed_frames(tokenizer.encode(text))
        except ValueError:
            continue  # out-of-vocabulary characters are reported where the transcript is read
        if needed > room:
            unfitting.append(f"{name} ({needed} for {room})")
    if not unfitting:
        return []
    shown = ", ".join(unfitting[:_SHOWN]) + (", ..." if len(unfitting) > _SHOWN else "")
    sentence = (
        f"{len(unfitting)} of {len(listed)} training transcripts need more frames than their audio has, and "
        f"contribute nothing: {shown}"
    )
    log.warning("%s", sentence)
    return [sentence]
