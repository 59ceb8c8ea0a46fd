"""Judges of dev: what the best model of a training is chosen by."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.data.batches import evaluation_batches
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.decoding.spoken import transcribe_by_decoder
from bigfoot.measure.error_rate import measure_error_rate
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.tokenizers import Processor
from bigfoot.training.guards import describe_dev, describe_loops

log = logging.getLogger("bigfoot")


@dataclass(frozen=True)
class DevScore:
    """How a model does on dev.

    Args:
        error: what is compared between steps, the lower the better; None where dev has nothing to compare.
        record: for curves and trackers.
        summary: a few words for the log.
        notes: problems and their remedies, by kind.
    """

    error: float | None
    record: Mapping[str, Any]
    summary: str
    notes: Mapping[str, str | None] = field(default_factory=dict)


class DevJudge(Protocol):
    """Judges a model on dev."""

    def judge(self, student: BigfootForCTC, step: int, max_steps: int) -> DevScore:
        """Judge.

        Args:
            student: in training; left in training mode.
            step: optimizer steps done, 1-based.
            max_steps: of the training.
        """


@dataclass(frozen=True)
class TranscriptJudge:
    """Greedy WER (of the decoder, if one is trained) and blank rate.

    Args:
        manifest: of dev.
        processor: of the student, with a vocabulary.
        batch_size: utterances decoded together.
        by_decoder: whether the decoder is trained, and decodes.
        joint: whether the CTC head is trained.
        pseudo_labels: whether the transcripts are the teacher's own.
        name: of the step, for the log.
    """

    manifest: Path
    processor: Processor
    batch_size: int
    by_decoder: bool
    joint: bool
    pseudo_labels: bool
    name: str

    def judge(self, student: BigfootForCTC, step: int, max_steps: int) -> DevScore:
        """See ``DevJudge``."""
        tokenizer = self.processor.tokenizer
        assert tokenizer is not None
        # Without labels: only losses need them.
        processor = replace(self.processor, tokenizer=None)
        batches = evaluation_batches(
            self.manifest, processor, self.batch_size, longest=LONGEST_PIECE, doing="evaluating dev"
        )
        if self.by_decoder:
            decoder_tokenizer = processor.decoder_tokenizer or tokenizer
            found = transcribe_by_decoder(student, batches, decoder_tokenizer, DecodingConfig())
        else:
            found = transcribe_batches(student, batches, tokenizer)
        wer = measure_error_rate(found.references, found.hypotheses, found.speakers, samples=1).wer
        against = " against the teacher's own transcripts" if self.pseudo_labels else ""
        rate = "WER" if tokenizer.unit == "word" else "PER"
        words = "n/a" if wer is None else f"{wer:.2%}"
        summary = f"{rate}{against} {words}  blanks {100 * found.blank_rate:.1f} %"
        notes = {
            "loops": describe_loops(step, found.num_cut, len(found.ids), self.joint),
            "blanks": describe_dev(step, max_steps, found.blank_rate, wer),
        }
        return DevScore(wer, {"dev_wer": wer, "blank_rate": round(found.blank_rate, 4)}, summary, notes)
