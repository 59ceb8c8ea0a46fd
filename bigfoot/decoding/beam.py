"""CTC prefix beam search: the texts whose alignments are likeliest in sum, with what their words are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from bigfoot.decoding.hypotheses import Hypothesis, LogProbs
from bigfoot.decoding.phrases import START, PhraseAutomaton
from bigfoot.decoding.words import WordValues
from bigfoot.text.tokenizer import Tokenizer

Scores = npt.NDArray[np.float64]

# Scores behind prefixes of words are kept from utterance to utterance, for so many numbers in all: 32 MB.
_MOST_NUMBERS = 1 << 22


@dataclass(eq=False)
class _Prefix:
    """Labels so far.

    Args:
        token: the last; -1 for none.
        parent: the labels before it.
        word: letters of the unfinished word.
        state: of the language model, behind the words before.
        language: their log probability.
        bonus: for them, and for hot words.
        hot_state: of the automaton of hot words.
        worth: all of that in nats, and the scores of the unfinished ``word`` and of unfinished hot words.
        children: by token, so that a prefix that comes again is the same one.
        scores_of_longer: the same with each token appended, (V,) or one number; None where it is not in use.
    """

    token: int
    parent: _Prefix | None
    word: str
    state: Any
    language: float
    bonus: float
    hot_state: int
    worth: float
    children: dict[int, _Prefix] = field(default_factory=dict)
    scores_of_longer: Scores | float | None = None

    def tokens(self) -> tuple[int, ...]:
        found, prefix = [], self
        while prefix.parent is not None:
            found.append(prefix.token)
            prefix = prefix.parent
        return tuple(reversed(found))


@dataclass
class _Beam:
    """The prefixes that are left, and the log probabilities of their alignments that end in a blank or in a label."""

    prefixes: list[_Prefix]
    in_blank: Scores  # (K,)
    in_label: Scores  # (K,)


@dataclass(frozen=True)
class PrefixBeamSearch:
    """Prefix beam search (Graves, 2012, section 7.5; Hannun et al., 2014), in log space and double precision.

    With a beam that no prefix ever falls out of, the acoustic score is the exact sum over all alignments. Words may
    bring values of their own (shallow fusion); the sums over alignments stay what they are.

    Args:
        tokenizer: of the head.
        beam_size: prefixes that are kept after every frame.
        values: of words; None where only sounds count.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> search = PrefixBeamSearch(CharTokenizer(("<pad>", "A")), beam_size=4)
        >>> [(h.text, round(math.exp(h.score), 2)) for h in search.search(np.log([[0.6, 0.4], [0.6, 0.4]]))]
        [('A', 0.64), ('', 0.36)]
    """

    tokenizer: Tokenizer
    beam_size: int = 16
    values: WordValues | None = None

    @property
    def name(self) -> str:
        """Such as ``prefix beam 16``."""
        return f"prefix beam {self.beam_size}"

    @cached_property
    def _closes(self) -> npt.NDArray[np.bool_]:
        """Tokens that end the word before them, (V,)."""
        return np.array([piece[:1] == " " for piece in self.tokenizer.pieces])

    @cached_property
    def _hot(self) -> PhraseAutomaton | None:
        if self.values is None or not self.values.hot_words:
            return None
        return PhraseAutomaton(dict.fromkeys(self.values.hot_words, self.values.hot_word_bonus), self.tokenizer.pieces)

    @cached_property
    def _letters(self) -> list[str]:
        return [piece.strip() for piece in self.tokenizer.pieces]

    @cached_property
    def _rows(self) -> dict[str, Scores]:
        return {}

    def search(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Find the likeliest texts.

        Args:
            log_probs: (T, V) log posteriors of real frames, in nats; columns beyond the vocabulary are not used.

        Returns:
            Up to ``beam_size`` texts, best first.
        """
        frames = np.asarray(log_probs, dtype=np.float64)[:, : len(self.tokenizer)]
        state = self.values.model.start() if self.values is not None and self.values.model is not None else None
        root = _Prefix(-1, None, "", state, 0.0, 0.0, START, 0.0)
        beam = _Beam([root], np.zeros(1), np.full(1, -np.inf))
        for frame in frames:
            beam = self._advance(beam, frame)
        return self._finish(beam)

    def _advance(self, beam: _Beam, frame: Scores) -> _Beam:
        blank, count = self.tokenizer.blank_id, len(beam.prefixes)
        last = np.array([prefix.token for prefix in beam.prefixes])
        repeats, rows = np.flatnonzero(last >= 0), np.arange(count)
        both = np.logaddexp(beam.in_blank, beam.in_label)
        stay_blank, stay_label = both + frame[blank], np.where(last >= 0, beam.in_label + frame[last], -np.inf)
        longer = both[:, None] + frame  # (K, V)
        # The same label twice is one label, unless a blank stands between.
        longer[repeats, last[repeats]] = beam.in_blank[repeats] + frame[last[repeats]]
        longer[:, blank] = -np.inf
        place = {id(prefix): row for row, prefix in enumerate(beam.prefixes)}
        for row in rows:
            # What grows into a prefix that is in the beam already is added to it.
            grown_from = place.get(id(beam.prefixes[row].parent))
            if grown_from is not None:
                stay_label[row] = np.logaddexp(stay_label[row], longer[grown_from, last[row]])
                longer[grown_from, last[row]] = -np.inf
        return self._prune(beam, stay_blank, stay_label, longer)

    def _prune(self, beam: _Beam, stay_blank: Scores, stay_label: Scores, longer: Scores) -> _Beam:
        count, width = longer.shape
        stays = np.logaddexp(stay_blank, stay_label)
        ranks = self._rank(beam.prefixes, stays, longer)
        keep = min(self.beam_size, len(ranks))
        best = np.argpartition(-ranks, keep - 1)[:keep]
        best = np.sort(best[ranks[best] > -np.inf])
        if not len(best):
            # Nothing goes on from here by the lexicon: what there is waits for better frames.
            return _Beam(beam.prefixes, stay_blank, stay_label)
        stayed, grown = best[best < count], best[best >= count] - count
        sources, tokens = grown // width, grown % width
        prefixes = [beam.prefixes[row] for row in stayed]
        prefixes += [self._grow(beam.prefixes[row], int(token)) for row, token in zip(sources, tokens, strict=True)]
        for prefix in set(beam.prefixes).difference(prefixes):
            prefix.scores_of_longer = None  # It seldom comes back, and V numbers for each would fill the memory.
        return _Beam(
            prefixes,
            np.concatenate([stay_blank[stayed], np.full(len(grown), -np.inf)]),
            np.concatenate([stay_label[stayed], longer[sources, tokens]]),
        )

    def _rank(self, prefixes: list[_Prefix], stays: Scores, longer: Scores) -> Scores:
        """Compute what is kept of prefixes as they are, (K,), and behind these with each token appended, (K * V,)."""
        count, width = longer.shape
        ranks = np.empty(count + longer.size)
        of_longer = ranks[count:].reshape(count, width)
        if self.values is None:
            ranks[:count], of_longer[:] = stays, longer
            return ranks
        np.add(stays, [prefix.worth for prefix in prefixes], out=ranks[:count])
        for row, prefix in enumerate(prefixes):
            # A prefix stays in the beam for many frames, and its words are worth the same in all of them.
            if prefix.scores_of_longer is None:
                prefix.scores_of_longer = self._compute_scores_of_longer(prefix)
            np.add(longer[row], prefix.scores_of_longer, out=of_longer[row])
        return ranks

    def _compute_scores_of_longer(self, prefix: _Prefix) -> Scores | float:
        """Compute the score of a prefix with each token appended: (V,), or one number where all are the same."""
        assert self.values is not None
        language, bonus, _ = self._close(prefix)
        closed = self.values.weight * language + bonus
        before = self.values.weight * prefix.language + prefix.bonus
        scores: Scores | float = before if closed == before else np.where(self._closes, closed, before)
        if self.values.lexicon is not None:
            scores = self._row(prefix.word) + scores
        if self._hot is not None:
            scores = self._hot.scores_of_longer(prefix.hot_state) + scores
        return scores

    def _row(self, word: str) -> Scores:
        """Compute the score of the unfinished word with each token appended, (V,)."""
        assert self.values is not None
        row = self._rows.get(word)
        if row is None:
            worth = [
                self.values.prefix_bonus(letters if closes else word + letters)
                for letters, closes in zip(self._letters, self._closes, strict=True)
            ]
            if len(self._rows) * len(self._letters) >= _MOST_NUMBERS:
                self._rows.clear()  # Another thread may do so at any time.
            row = self._rows[word] = np.array(worth)
        return row

    def _close(self, prefix: _Prefix) -> tuple[float, float, Any]:
        """Language, bonus and state of a prefix whose word is finished."""
        if self.values is None or not prefix.word:
            return prefix.language, prefix.bonus, prefix.state
        bonus = self.values.ended(prefix.word)
        if self.values.model is None or bonus == -math.inf:
            return prefix.language, prefix.bonus + bonus, prefix.state
        state, language = self.values.model.score_word(prefix.state, prefix.word)
        return prefix.language + language, prefix.bonus + bonus, state

    def _grow(self, prefix: _Prefix, token: int) -> _Prefix:
        if token in prefix.children:
            return prefix.children[token]
        letters, language, bonus, state = self._letters[token], prefix.language, prefix.bonus, prefix.state
        word = prefix.word + letters
        if self._closes[token]:
            (language, bonus, state), word = self._close(prefix), letters
        partial, hot_state, worth = 0.0, prefix.hot_state, 0.0
        if self._hot is not None:
            hot_state, gained = self._hot.append(hot_state, token)
            bonus, partial = bonus + gained, self._hot.promise(hot_state)
        if self.values is not None:
            worth = self.values.weight * language + bonus + (self.values.prefix_bonus(word) + partial)
        grown = prefix.children[token] = _Prefix(token, prefix, word, state, language, bonus, hot_state, worth)
        return grown

    def _finish(self, beam: _Beam) -> list[Hypothesis]:
        """Close the last words, and add up the tokenizations of one text."""
        found: dict[str, Hypothesis] = {}
        for prefix, acoustic in zip(beam.prefixes, np.logaddexp(beam.in_blank, beam.in_label), strict=True):
            for hypothesis in self._complete(prefix, float(acoustic)):
                same = found.get(hypothesis.text)
                found[hypothesis.text] = hypothesis if same is None else _add(same, hypothesis)
        if not found:
            # No prefix ends in a word of the lexicon: the unfinished word of the best is left out.
            prefix, acoustic = beam.prefixes[0], float(np.logaddexp(beam.in_blank[0], beam.in_label[0]))
            while self._close(prefix)[1] == -math.inf and prefix.parent is not None:
                prefix = prefix.parent
            found = {hypothesis.text: hypothesis for hypothesis in self._complete(prefix, acoustic)}
        return sorted(found.values(), key=lambda hypothesis: -hypothesis.score)

    def _complete(self, prefix: _Prefix, acoustic: float) -> Iterator[Hypothesis]:
        language, bonus, state = self._close(prefix)
        if bonus == -math.inf:
            return
        if self._hot is not None:
            bonus += self._hot.finish(prefix.hot_state)
        weight = 0.0
        if self.values is not None and self.values.model is not None:
            weight = self.values.weight
            language += self.values.model.score_end(state)
        tokens = prefix.tokens()
        score = acoustic + weight * language + bonus
        yield Hypothesis(self.tokenizer.decode(tokens), tokens, score, acoustic, language, bonus)


def _add(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    """Add up two tokenizations of one text."""
    best = max(one, other, key=lambda hypothesis: hypothesis.acoustic)
    acoustic = float(np.logaddexp(one.acoustic, other.acoustic))
    return Hypothesis(
        best.text, best.tokens, best.score - best.acoustic + acoustic, acoustic, best.language, best.bonus
    )
