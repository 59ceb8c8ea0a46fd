"""Score a student on dev while it is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.data.batches import evaluation_batches
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.decoding.spoken import transcribe_by_decoder
from bigfoot.measure.error_rate import measure_error_rate
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.training.run import TrainingRun


@dataclass(frozen=True)
class DevScore:
    """Score of a student on dev.

    Args:
        wer: greedy, a fraction; None without transcripts.
        blank_rate: share of the frames with blank as the best token.
        num_cut: hypotheses cut at a repetition loop.
        num_utterances: of dev.
    """

    wer: float | None
    blank_rate: float
    num_cut: int
    num_utterances: int

    def describe(self, unit: str, transcripts: str) -> str:
        """Return a phrase for the log.

        Args:
            unit: of the tokenizer, ``word`` or another.
            transcripts: see ``DataConfig.transcripts``.

        Examples:
            >>> DevScore(0.25, 0.9, 0, 10).describe("word", "given")
            'WER 25.00%  blanks 90.0 %'
        """
        rate = "WER" if unit == "word" else "PER"
        against = " against the teacher's own transcripts" if transcripts == "none" else ""
        wer = "n/a" if self.wer is None else f"{self.wer:.2%}"
        return f"{rate}{against} {wer}  blanks {100 * self.blank_rate:.1f} %"


def score_dev(student: BigfootForCTC, run: TrainingRun, tokenizer: Tokenizer, *, by_decoder: bool) -> DevScore:
    """Compute greedy WER and blank rate on dev.

    Args:
        student: in training.
        run: with dev's manifest.
        tokenizer: of the CTC head.
        by_decoder: transcribe by the student's decoder, which is trained too.
    """
    # Without labels: only losses need them.
    processor = replace(run.processor, tokenizer=None)
    batches = evaluation_batches(run.manifests["dev"], processor, run.eval_batch_size, longest=LONGEST_PIECE)
    if by_decoder:
        found = transcribe_by_decoder(student, batches, processor.decoder_tokenizer or tokenizer, DecodingConfig())
    else:
        found = transcribe_batches(student, batches, tokenizer)
    wer = measure_error_rate(found.references, found.hypotheses, found.speakers, samples=1).wer
    return DevScore(wer, found.blank_rate, found.num_cut, len(found.ids))
