"""Transcripts longer than CTC can say in the frames of their audio: found and counted before training."""

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
    """Say which utterances have more labels than frames; they add nothing to the loss, as if they were not there.

    Lengths are those of the audio as it lies there, before its speed is changed.

    Args:
        manifest: of train.
        processor: with a tokenizer.
        model: whose frames count.

    Returns:
        A sentence, or nothing where all fit.
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
            continue  # what cannot be spelled is told where it is read
        if needed > room:
            unfitting.append(f"{name} ({needed} for {room})")
    if not unfitting:
        return []
    shown = ", ".join(unfitting[:_SHOWN]) + (", ..." if len(unfitting) > _SHOWN else "")
    sentence = (
        f"{len(unfitting)} of {len(listed)} training transcripts need more frames than their audio has, and teach "
        f"nothing: {shown}"
    )
    log.warning("%s", sentence)
    return [sentence]
