"""Forced alignment: the likeliest CTC alignment of labels to frames, and words with times and confidences."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bigfoot.decoding.hypotheses import LogProbs
from bigfoot.decoding.viterbi import Chain, find_path
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.words import PlacedText
from bigfoot.types import Seconds


@dataclass(frozen=True)
class AlignedToken:
    """A label and the frames in which it stands.

    Args:
        token: its id.
        begin: first frame.
        end: behind its last frame.
        log_prob: mean log posterior over its frames, in nats.
    """

    token: int
    begin: int
    end: int
    log_prob: float


@dataclass(frozen=True)
class TimedWord:
    """A word and its time.

    CTC models tend to output a letter once, somewhere in its sound: times are those of the frames of the letters,
    start and end of the sound lie around them; ``bigfoot.runtime.timing`` finds those by loudness.

    Args:
        word: the word; a phoneme where the tokenizer has those.
        start: in seconds from the start of the audio.
        end: in seconds.
        confidence: geometric mean of the probabilities of its tokens, 0 to 1.
    """

    word: str
    start: Seconds
    end: Seconds
    confidence: float


def count_needed_frames(labels: Sequence[int]) -> int:
    """Return the fewest frames in which CTC can output labels: one each, and a blank between two that are the same.

    Examples:
        >>> count_needed_frames([5, 5, 6])
        4
    """
    return len(labels) + sum(one == other for one, other in pairwise(labels))


def align_tokens(log_probs: LogProbs, labels: Sequence[int], blank_id: int) -> list[AlignedToken]:
    """Find the likeliest alignment of labels to frames (Viterbi over Graves et al., 2006, section 4.1).

    Args:
        log_probs: (T, V) log posteriors of real frames, in nats.
        labels: U ids, the blank not among them.
        blank_id: of the blank.

    Returns:
        One entry a label, in order, together with its frames.

    Raises:
        ValueError: there are fewer frames than the labels need.

    Examples:
        >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
        >>> [(token.begin, token.end) for token in align_tokens(np.log(probabilities), [1], blank_id=0)]
        [(1, 3)]
    """
    needed, frames = count_needed_frames(labels), len(log_probs)
    if frames < needed:
        raise ValueError(f"{len(labels)} labels need {needed} frames, but there are {frames}")
    return _align(log_probs, labels, blank_id, may_stop=False)


def align_prefix(log_probs: LogProbs, labels: Sequence[int], blank_id: int) -> list[AlignedToken]:
    """Find how far into a text the frames reach, and align that prefix.

    Every end is tried, and all compete over the same frames: the likeliest is where the audio has come to.

    Args:
        log_probs: (T, V) log posteriors of real frames, in nats.
        labels: U ids, perhaps more than the frames hold.
        blank_id: of the blank.

    Returns:
        One entry for each label that was reached.

    Examples:
        >>> probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
        >>> [token.token for token in align_prefix(np.log(probabilities), [1, 2, 1], blank_id=0)]
        [1]
    """
    return _align(log_probs, labels, blank_id, may_stop=True)


def chain_labels(labels: Sequence[int], blank_id: int, *, may_stop: bool = False) -> Chain:
    """Chain labels with a blank before, between and behind them: label ``n`` is state ``2 * n + 1``.

    Args:
        labels: U ids.
        blank_id: of the blank.
        may_stop: see ``Chain``.

    Examples:
        >>> chain_labels([5, 5, 6], blank_id=0).may_skip.nonzero()[0].tolist()
        [5]
    """
    columns = np.full(2 * len(labels) + 1, blank_id)
    columns[1::2] = labels
    # Past a blank only between different labels.
    may_skip = np.zeros(len(columns), dtype=bool)
    may_skip[3::2] = columns[3::2] != columns[1:-2:2]
    return Chain(columns, may_skip, may_stop)


def _align(log_probs: LogProbs, labels: Sequence[int], blank_id: int, *, may_stop: bool) -> list[AlignedToken]:
    if not labels or not len(log_probs):
        return []
    path = find_path(log_probs, chain_labels(labels, blank_id, may_stop=may_stop))
    if path is None:
        raise ValueError(f"no alignment of {len(labels)} labels to {len(log_probs)} frames is possible")
    found = []
    for index, label in enumerate(labels[: (int(path[-1]) + 1) // 2]):
        begin, end = (int(np.searchsorted(path, 2 * index + 1, side)) for side in ("left", "right"))
        found.append(AlignedToken(int(label), begin, end, float(np.mean(log_probs[begin:end, label]))))
    return found


def time_words(
    log_probs: LogProbs, labels: Sequence[int], tokenizer: Tokenizer, frame_seconds: Seconds
) -> list[TimedWord]:
    """Compute the times of the words of a text.

    Args:
        log_probs: (T, V) log posteriors of real frames, in nats.
        labels: the text's, such as ``Hypothesis.tokens`` or ``tokenizer.encode(text)``.
        tokenizer: of the head.
        frame_seconds: from frame to frame; ``BigfootConfig.inputs_to_logits_ratio`` samples.

    Returns:
        The words in order; single characters in scripts without spaces.

    Raises:
        ValueError: there are fewer frames than the labels need.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> tokenizer = CharTokenizer(("<pad>", "|", "A", "B"))
        >>> posteriors = np.log(np.full((6, 4), 0.02) + 0.92 * np.eye(4)[[2, 2, 1, 0, 3, 3]])
        >>> [(w.word, round(w.start, 2), round(w.end, 2)) for w in time_words(posteriors, [2, 1, 3], tokenizer, 0.02)]
        [('A', 0.0, 0.04), ('B', 0.08, 0.12)]
    """
    aligned = align_tokens(log_probs, labels, tokenizer.blank_id)
    pieces = [tokenizer.pieces[token.token] for token in aligned]
    characters = [
        PlacedText(character, token.begin, token.end)
        for token, piece in zip(aligned, pieces, strict=True)
        for character in piece
    ]
    tokens = [token for token, piece in zip(aligned, pieces, strict=True) if piece.strip()]
    return [_time(word, tokens, frame_seconds) for word in tokenizer.group_characters(characters)]


def _time(word: PlacedText, tokens: list[AlignedToken], frame_seconds: Seconds) -> TimedWord:
    first, last = (
        bisect_left(tokens, frame, key=lambda token: token.begin) for frame in (word.start_frame, word.end_frame)
    )
    confidence = float(np.exp(np.mean([token.log_prob for token in tokens[first:last]])))
    return TimedWord(word.text, word.start_frame * frame_seconds, word.end_frame * frame_seconds, confidence)
