"""Measure the error rate of a model on a split, and its batch invariance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.data.batches import Batch, evaluation_batches
from bigfoot.data.spread import read_spread
from bigfoot.decoding.choose import build_search
from bigfoot.decoding.greedy import Transcripts, decode_greedy, transcribe_batches
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.decoding.spoken import decode_batch, require_tokenizer, transcribe_by_decoder
from bigfoot.errors import ModelError
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import ErrorRate, measure_error_rate
from bigfoot.measure.rounding import rounding_limit
from bigfoot.text.fitting import fit_text
from bigfoot.text.normalizers import find_normalizer
from bigfoot.text.tokenizer import Tokenizer

BATCH_SIZES = (2, 4, 8)
_MOST_SAMPLES = 2 * round(LONGEST_PIECE * 16_000)


@dataclass(frozen=True)
class Accuracy:
    """Error rate of a model on a split.

    Args:
        error_rate: with raw counts and interval.
        transcripts: its hypotheses, for pairing with another model.
    """

    error_rate: ErrorRate
    transcripts: Transcripts


@dataclass(frozen=True)
class BatchInvariance:
    """Whether padding changes an output.

    Args:
        invariant: logits agree to ``rounding_limit``, and texts except for ``flips``.
        max_difference: largest difference of a logit on real frames.
        flips: number of utterances whose text differs because two tokens were closer than that.
        num_utterances: number of compared utterances.
    """

    invariant: bool
    max_difference: float
    flips: int
    num_utterances: int


def missing_wer_reason(loaded: LoadedModel) -> str | None:
    """Return why a model cannot have a WER; None if it can."""
    return loaded.missing_text_reason


def _tokenizer(loaded: LoadedModel) -> Tokenizer:
    reason = missing_wer_reason(loaded)
    if reason or loaded.processor.tokenizer is None:
        raise ModelError(f"{loaded.folder}: no text can come out of this model: {reason}")
    return loaded.processor.tokenizer


def evaluate_accuracy(
    loaded: LoadedModel, manifest: Path, config: EvaluateConfig, seed: int, *, by_decoder: bool = False,
    judged_as: Tokenizer | None = None,
) -> Accuracy:  # fmt: skip
    """Decode a split and count errors; utterances without a transcript are skipped.

    Recordings longer than ``LONGEST_PIECE`` are transcribed in pieces, cut at pauses: a decoder has no word times, so
    pieces do not overlap, and their texts are concatenated.

    Args:
        loaded: with CTC head and vocabulary.
        manifest: lhotse manifest of the split.
        config: batch size, decoders and resamplings.
        seed: of the resampling.
        by_decoder: use the model's decoder; else CTC.
        judged_as: in whose characters hypotheses and references are compared; None for the model's own.

    Returns:
        See ``Accuracy``.

    Raises:
        ModelError: no head, no vocabulary or no decoder, or they do not belong together.
        DataError: language model or lexicon cannot be used.
    """
    tokenizer = _tokenizer(loaded)
    # Without labels: an out-of-vocabulary transcript still is the reference.
    silent = replace(loaded.processor, tokenizer=None)
    doing = f"evaluating {'by the decoder' if by_decoder else 'CTC'}"
    batches = evaluation_batches(manifest, silent, config.batch_size, longest=LONGEST_PIECE, doing=doing)
    if by_decoder:
        tokenizer = require_tokenizer(loaded)
        found = transcribe_by_decoder(loaded.model, batches, tokenizer, config.autoregressive)
    else:
        found = transcribe_batches(loaded.model, batches, tokenizer, build_search(config, tokenizer))
    if judged_as is not None:
        tokenizer = judged_as
        for field in ("hypotheses", "greedy"):
            setattr(found, field, [fit_text(text, tokenizer.characters).text for text in getattr(found, field)])
    normalize = find_normalizer(config.normalizer, tokenizer.characters)
    found.references = [normalize(text) for text in found.references]
    found.hypotheses = [normalize(text) for text in found.hypotheses]
    found = _with_references(found)
    rate = measure_error_rate(
        found.references, found.hypotheses, found.speakers, samples=config.bootstrap_samples, seed=seed
    )
    return Accuracy(rate, found)


def _with_references(found: Transcripts) -> Transcripts:
    """Leave out the utterances without a transcript."""
    known = [index for index, text in enumerate(found.references) if text]
    return replace(
        found,
        ids=[found.ids[index] for index in known],
        speakers=[found.speakers[index] for index in known],
        references=[found.references[index] for index in known],
        hypotheses=[found.hypotheses[index] for index in known],
        greedy=[found.greedy[index] for index in known],
        margins=[found.margins[index] for index in known],
        confidences=[found.confidences[index] for index in known],
    )


def _spread(manifest: Path, loaded: LoadedModel, limit: int) -> list[Batch]:
    return read_spread(manifest, replace(loaded.processor, tokenizer=None), limit, LONGEST_PIECE)


def _in_batches(chosen: Sequence[Batch], size: int) -> Iterator[tuple[int, list[Batch]]]:
    """Yield batches of neighbours with the index of the first; smaller ones, of two or more, where they are long."""
    begin, longest = 0, 0
    for index, batch in enumerate(chosen):
        samples, count = batch.input_values.shape[1], index - begin
        if count == size or (count >= 2 and max(longest, samples) * (count + 1) > _MOST_SAMPLES):
            yield begin, list(chosen[begin:index])
            begin, longest = index, 0
        longest = max(longest, samples)
    if begin < len(chosen):
        yield begin, list(chosen[begin:])


def _join(batches: list[Batch]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(batch.input_values.shape[1] for batch in batches)
    values = torch.zeros(len(batches), longest)
    mask = torch.zeros(len(batches), longest, dtype=torch.bool)
    for row, batch in enumerate(batches):
        size = batch.input_values.shape[1]
        values[row, :size], mask[row, :size] = batch.input_values[0], True
    return values, mask


@torch.no_grad()
def measure_batch_invariance(loaded: LoadedModel, manifest: Path, limit: int = 16) -> BatchInvariance:
    """Compare each utterance alone with the same utterance in batches of 2, 4 and 8 of very different lengths.

    Args:
        loaded: with CTC head and vocabulary; in eval mode.
        manifest: lhotse manifest.
        limit: maximal number of utterances.

    Returns:
        See ``BatchInvariance``.

    Raises:
        ModelError: no head or no vocabulary.
    """
    model, tokenizer = loaded.model, _tokenizer(loaded)
    chosen = _spread(manifest, loaded, limit)
    alone = [model(batch.input_values.to(model.device)).logits[0] for batch in chosen]
    tolerance = rounding_limit(max((float(logits.abs().max()) for logits in alone if logits.numel()), default=0.0))
    texts = [decode_greedy(logits[None], None, tokenizer) for logits in alone]
    worst, flips, unexcused = 0.0, set(), 0
    for size in BATCH_SIZES:
        for begin, batches in _in_batches(chosen, size):
            values, mask = _join(batches)
            output = model(values.to(model.device), mask.to(model.device))
            together = decode_greedy(output.logits, output.frame_mask, tokenizer)
            for row, text in enumerate(together.texts):
                index = begin + row
                frames = int(output.frame_mask[row].sum())
                gap = (output.logits[row, :frames] - alone[index][:frames]).abs()
                # A NaN difference is no agreement, although comparisons with NaN are false.
                worst = max(worst, float(gap.nan_to_num(torch.inf).max()) if frames else 0.0)
                if text != texts[index].texts[0]:
                    excused = texts[index].margins[0] < tolerance
                    flips |= {index} if excused else set()
                    unexcused += not excused
    return BatchInvariance(worst <= tolerance and not unexcused, worst, len(flips), len(chosen))


@torch.no_grad()
def measure_task_invariance(loaded: LoadedModel, manifest: Path, limit: int = 16) -> BatchInvariance:
    """Do the same for a task head: compare its logits, alone and in batches of 2, 4 and 8.

    Args:
        loaded: with a task head; in eval mode.
        manifest: lhotse manifest.
        limit: maximal number of utterances.

    Returns:
        See ``BatchInvariance``; no answer is excused.
    """
    model = loaded.model
    chosen = _spread(manifest, loaded, limit)
    alone = [model(batch.input_values.to(model.device)).task_logits[0] for batch in chosen]
    tolerance = rounding_limit(max((float(logits.abs().max()) for logits in alone), default=0.0))
    worst = 0.0
    for size in BATCH_SIZES:
        for begin, batches in _in_batches(chosen, size):
            values, mask = _join(batches)
            logits = model(values.to(model.device), mask.to(model.device)).task_logits
            gap = (logits - torch.stack(alone[begin : begin + len(batches)])).abs()
            worst = max(worst, float(gap.nan_to_num(torch.inf).max()))
    return BatchInvariance(worst <= tolerance, worst, 0, len(chosen))


@torch.no_grad()
def measure_decoder_invariance(
    loaded: LoadedModel, manifest: Path, config: DecodingConfig, limit: int = 16
) -> BatchInvariance:
    """Do the same for a decoder: compare texts and scores, alone and in batches of 2, 4 and 8.

    Args:
        loaded: with a decoder; in eval mode.
        manifest: lhotse manifest.
        config: of decoding.
        limit: maximal number of utterances.

    Returns:
        See ``BatchInvariance``; the difference is that of scores.

    Raises:
        ModelError: no decoder.
    """
    model = loaded.model
    chosen = _spread(manifest, loaded, limit)
    alone = [decode_batch(model, batch.to(model.device), config)[0] for batch in chosen]
    tolerance = rounding_limit(max((abs(found.best.score) for found in alone), default=0.0))
    worst, flips, unexcused = 0.0, set(), 0
    for size in BATCH_SIZES:
        for begin, batches in _in_batches(chosen, size):
            values, mask = _join(batches)
            words = [""] * len(values)
            joined = Batch(values, mask, None, words, words, words).to(model.device)
            for index, found in enumerate(decode_batch(model, joined, config), start=begin):
                if found.best.tokens == alone[index].best.tokens:
                    worst = max(worst, abs(found.best.score - alone[index].best.score))
                    continue
                excused = alone[index].margin < tolerance
                flips |= {index} if excused else set()
                unexcused += not excused
    return BatchInvariance(worst <= tolerance and not unexcused, worst, len(flips), len(chosen))
