"""Word and character error rates with raw counts, bootstrap intervals and paired comparisons.

Policy for text: words are what ``str.split`` yields, characters include the single spaces between words, and case and
punctuation count as they stand (normalise before). Policy for empty references: every word of a hypothesis against an
empty reference is an insertion, so it adds errors and no length; where all references are empty there is no rate.

The intervals are percentile bootstraps (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR
performance evaluation", ICASSP 2004): utterances or, where there are enough of them, whole speakers are drawn with
replacement, since the errors of one speaker are not independent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import jiwer
import numpy as np
import numpy.typing as npt

Counts: TypeAlias = npt.NDArray[np.int64]

MIN_SPEAKERS = 20
"""Speakers from which whole speakers are resampled; with fewer, an interval over speakers is too narrow to trust."""

_KINDS: dict[str, Literal["hit", "substitution", "deletion", "insertion"]] = {
    "equal": "hit", "substitute": "substitution", "delete": "deletion", "insert": "insertion"
}  # fmt: skip
_OPERATIONS = {"equal": 0, "substitute": 1, "delete": 2, "insert": 3}
# Numbers drawn at a time: 8 MB of indices, whatever the size of the corpus.
_DRAWS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class ErrorCounts:
    """Counts of correct and wrong words (or characters) of the references.

    Args:
        hits: found as they are.
        substitutions: found as something else.
        deletions: not found.
        insertions: found where the reference has nothing, all of a hypothesis with an empty reference among them.

    Examples:
        >>> ErrorCounts(hits=8, substitutions=1, deletions=1, insertions=0).rate
        0.2
    """

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Words (or characters) in the references."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float | None:
        """Errors over reference length, 0 or more and above 1 possible; None where the references are empty."""
        return self.errors / self.reference_length if self.reference_length else None


@dataclass(frozen=True)
class ErrorRate:
    """Error rates of one model on one set of utterances.

    Args:
        wer: word error rate, a fraction; None where there are no reference words.
        wer_low: lower end of its 95 % interval; None where there is no rate or only one unit to draw from. Without a
            single error the interval is 0 to 0, which does not bound errors on other utterances.
        wer_high: upper end.
        cer: character error rate, a fraction, spaces between words counted.
        words: raw counts of words.
        characters: raw counts of characters.
        num_utterances: utterances judged, those with empty references among them.
        num_words: words in the references.
        bootstrap_unit: what was drawn, ``speaker`` (20 or more of them) or ``utterance``.
    """

    wer: float | None
    wer_low: float | None
    wer_high: float | None
    cer: float | None
    words: ErrorCounts
    characters: ErrorCounts
    num_utterances: int
    num_words: int
    bootstrap_unit: str


@dataclass(frozen=True)
class PairedDifference:
    """Difference of the error rates of two models on the same utterances.

    Args:
        difference: WER of b minus WER of a, a fraction, below 0 where b is better; None without reference words.
        low: lower end of its 95 % interval; None where there is no difference or only one unit to draw from.
        high: upper end.
        share_not_worse: share of the resamples in which b errs no more than a, 0 to 1.
        bootstrap_unit: what was drawn, ``speaker`` or ``utterance``.
    """

    difference: float | None
    low: float | None
    high: float | None
    share_not_worse: float | None
    bootstrap_unit: str


@dataclass(frozen=True)
class AlignedWord:
    """A word of a reference aligned with a word of a hypothesis.

    Args:
        kind: hit, substitution, deletion or insertion.
        reference: the word; empty for an insertion.
        hypothesis: the word; empty for a deletion.
    """

    kind: Literal["hit", "substitution", "deletion", "insertion"]
    reference: str
    hypothesis: str


def measure_error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> ErrorRate:
    """Compare hypotheses with references.

    Args:
        references: transcripts, one an utterance.
        hypotheses: outputs of the model, in the same order.
        speakers: of the utterances, in the same order.
        samples: bootstrap resamples, 1 or more.
        seed: of the resampling; the same seed, speakers and samples draw the same resamples for every model.

    Returns:
        Rates, their interval and the raw counts.

    Raises:
        ValueError: the lists differ in length, or samples is below 1.

    Examples:
        >>> rate = measure_error_rate(["one two", "three four"], ["one two", "tree four"], ["ann", "bob"])
        >>> rate.wer, rate.words.substitutions, rate.bootstrap_unit
        (0.25, 1, 'utterance')
    """
    _check_arguments(samples, references=references, hypotheses=hypotheses, speakers=speakers)
    words = _count_words(references, hypotheses)
    characters = _total(_count_characters(references, hypotheses))
    units, bootstrap_unit = assign_units(speakers)
    resampled = _resample(_sum_by_unit(_errors_and_lengths(words), units), samples, seed)
    low, high = _interval(_rates(resampled[:, 0], resampled[:, 1]), units)
    total = _total(words)
    return ErrorRate(
        wer=total.rate,
        wer_low=low,
        wer_high=high,
        cer=characters.rate,
        words=total,
        characters=characters,
        num_utterances=len(references),
        num_words=total.reference_length,
        bootstrap_unit=bootstrap_unit,
    )


def compare_paired(
    references: Sequence[str],
    hypotheses_a: Sequence[str],
    hypotheses_b: Sequence[str],
    speakers: Sequence[str],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two models on the same resamples of the same utterances.

    Both err on the same hard utterances, so the interval of their difference is much narrower than their two
    intervals suggest.

    Args:
        references: transcripts, one an utterance.
        hypotheses_a: of the first model, such as the teacher.
        hypotheses_b: of the second model.
        speakers: of the utterances.
        samples: bootstrap resamples, 1 or more.
        seed: of the resampling.

    Returns:
        The difference b - a with its interval.

    Raises:
        ValueError: the lists differ in length, or samples is below 1.

    Examples:
        >>> expected = ["one two", "three four", "five six", "seven eight"]
        >>> worse = ["one two", "tree four", "five six", "seven ate"]
        >>> compare_paired(expected, expected, worse, ["ann", "bob", "cleo", "dan"]).difference
        0.25
    """
    _check_arguments(
        samples, references=references, hypotheses_a=hypotheses_a, hypotheses_b=hypotheses_b, speakers=speakers
    )
    words_a, words_b = _count_words(references, hypotheses_a), _count_words(references, hypotheses_b)
    units, bootstrap_unit = assign_units(speakers)
    columns = np.column_stack([_errors_and_lengths(words_a), _errors_and_lengths(words_b)[:, 0]])
    resampled = _resample(_sum_by_unit(columns, units), samples, seed)
    differences = _rates(resampled[:, 2] - resampled[:, 0], resampled[:, 1])
    low, high = _interval(differences, units)
    rate_a, rate_b = _total(words_a).rate, _total(words_b).rate
    return PairedDifference(
        difference=None if rate_a is None or rate_b is None else rate_b - rate_a,
        low=low,
        high=high,
        share_not_worse=None if low is None else float(np.mean(differences <= 0)),
        bootstrap_unit=bootstrap_unit,
    )


def count_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Count the words of each utterance by itself.

    Args:
        references: transcripts, one an utterance.
        hypotheses: outputs of the model, in the same order.

    Returns:
        Counts of words, one an utterance.

    Raises:
        ValueError: the lists differ in length.

    Examples:
        >>> [counts.errors for counts in count_errors(["one two", "three"], ["one", "tree tree"])]
        [1, 2]
    """
    _check_arguments(1, references=references, hypotheses=hypotheses)
    return [ErrorCounts(*(int(value) for value in counts)) for counts in _count_words(references, hypotheses)]


def align_words(reference: str, hypothesis: str) -> list[AlignedWord]:
    """Align the words of two texts with as few errors as possible.

    Args:
        reference: the transcript.
        hypothesis: the output of the model.

    Returns:
        Every word of both, in order.

    Examples:
        >>> [(word.kind, word.reference, word.hypothesis) for word in align_words("one two", "one too")]
        [('hit', 'one', 'one'), ('substitution', 'two', 'too')]
    """
    expected, found = reference.split(), hypothesis.split()
    if not expected:
        return [AlignedWord("insertion", "", word) for word in found]
    aligned = []
    for chunk in jiwer.process_words(" ".join(expected), " ".join(found)).alignments[0]:
        kind = _KINDS[chunk.type]
        pairs = itertools.zip_longest(
            expected[chunk.ref_start_idx : chunk.ref_end_idx],
            found[chunk.hyp_start_idx : chunk.hyp_end_idx],
            fillvalue="",
        )
        aligned += [AlignedWord(kind, *pair) for pair in pairs]
    return aligned


def _check_arguments(samples: int, **lists: Sequence[str]) -> None:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"one entry an utterance is expected in every list, but there are {counts}")
    if samples < 1:
        raise ValueError(f"samples is {samples}, but the bootstrap needs 1 or more (1000 is usual)")


def _count_words(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Count (B, 4) hits, substitutions, deletions and insertions of words."""
    expected, found = [text.split() for text in references], [text.split() for text in hypotheses]
    counts, judged = _count_against_nothing([len(words) for words in expected], [len(words) for words in found])
    if judged:
        output = jiwer.process_words([" ".join(expected[i]) for i in judged], [" ".join(found[i]) for i in judged])
        _add_alignments_(counts, judged, output.alignments)
    return counts


def _count_characters(references: Sequence[str], hypotheses: Sequence[str]) -> Counts:
    """Count (B, 4) hits, substitutions, deletions and insertions of characters."""
    expected, found = [" ".join(text.split()) for text in references], [" ".join(text.split()) for text in hypotheses]
    counts, judged = _count_against_nothing([len(text) for text in expected], [len(text) for text in found])
    if judged:
        output = jiwer.process_characters([expected[i] for i in judged], [found[i] for i in judged])
        _add_alignments_(counts, judged, output.alignments)
    return counts


def _count_against_nothing(expected: Sequence[int], found: Sequence[int]) -> tuple[Counts, list[int]]:
    """Count the insertions where the reference is empty, which jiwer refuses or rates in its own ways by version.

    Returns:
        Counts (B, 4), and the indices of the utterances that remain to be aligned.
    """
    counts = np.zeros((len(expected), 4), dtype=np.int64)
    for index, length in enumerate(expected):
        if length == 0:
            counts[index, _OPERATIONS["insert"]] = found[index]
    return counts, [index for index, length in enumerate(expected) if length]


def _add_alignments_(
    counts: Counts, judged: Sequence[int], alignments: Sequence[Sequence[jiwer.AlignmentChunk]]
) -> None:
    for index, chunks in zip(judged, alignments, strict=True):
        for chunk in chunks:
            # An insertion has a length in the hypothesis alone; all else has one in the reference.
            length = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            counts[index, _OPERATIONS[chunk.type]] += length


def _total(counts: Counts) -> ErrorCounts:
    return ErrorCounts(*(int(value) for value in counts.sum(axis=0)))


def _errors_and_lengths(counts: Counts) -> Counts:
    """Reduce counts (B, 4) to (B, 2): errors and reference length."""
    return np.column_stack([counts[:, 1:].sum(axis=1), counts[:, :3].sum(axis=1)])


def assign_units(speakers: Sequence[str]) -> tuple[npt.NDArray[np.intp], str]:
    """Number the unit that a bootstrap draws of every utterance.

    Args:
        speakers: of the B utterances.

    Returns:
        (B,) numbers from 0 on, and the kind of unit: ``speaker``, or ``utterance`` of fewer than 20 speakers.

    Examples:
        >>> units, kind = assign_units(["ann", "bob", "ann"])
        >>> units.tolist(), kind
        ([0, 1, 2], 'utterance')
    """
    names, units = np.unique(np.asarray(speakers, dtype=str), return_inverse=True)
    if len(names) >= MIN_SPEAKERS:
        return units, "speaker"
    return np.arange(len(speakers)), "utterance"


def _sum_by_unit(columns: Counts, units: npt.NDArray[np.intp]) -> Counts:
    """Sum rows (B, K) of the same unit to (num_units, K)."""
    sums = np.zeros((int(units.max()) + 1 if len(units) else 0, columns.shape[1]), dtype=np.int64)
    np.add.at(sums, units, columns)
    return sums


def _resample(sums: Counts, samples: int, seed: int) -> Counts:
    """Draw as many units as there are, with replacement, and sum them: (num_units, K) to (samples, K)."""
    num_units, num_columns = sums.shape
    if num_units == 0:
        return np.zeros((samples, num_columns), dtype=np.int64)
    rng = np.random.default_rng(seed)
    at_once = max(1, _DRAWS_AT_ONCE // num_units)
    parts = []
    for start in range(0, samples, at_once):
        drawn = rng.integers(num_units, size=(min(at_once, samples - start), num_units))
        # Column by column: an index into all columns together would hold K times the memory.
        parts.append(np.column_stack([column[drawn].sum(axis=1) for column in sums.T]))
    return np.concatenate(parts)


def _rates(errors: Counts, lengths: Counts) -> npt.NDArray[np.float64]:
    """Divide, leaving out the resamples that drew nothing but empty references."""
    defined = lengths > 0
    return np.asarray(errors[defined] / lengths[defined], dtype=np.float64)


def _interval(values: npt.NDArray[np.float64], units: npt.NDArray[np.intp]) -> tuple[float | None, float | None]:
    # One unit drawn from itself gives itself: an interval without width that would read as certainty.
    if len(values) == 0 or int(units.max()) < 1:
        return None, None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
