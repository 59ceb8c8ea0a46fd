"""An automaton that finds phrases in a growing text, and what they are worth to a beam."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bigfoot.text.scripts import is_unspaced

Scores = npt.NDArray[np.float64]

# Scores of all tokens behind a state are kept for so many numbers in all: 32 MB.
_MOST_NUMBERS = 1 << 22
_NOTHING = 0  # State in which nothing is known of the text.
START = 1
"""State of the empty text, and of all whose end is a space and no more."""


class PhraseAutomaton:
    """States of a text in which phrases are searched for (Aho and Corasick, 1975), letter by letter.

    A phrase is worth its bonus wherever it stands in the text as whole words; where it starts or ends in a script
    without spaces, or the vocabulary has no space, that edge may stand anywhere. Until a phrase is complete, a part of
    it promises the same part of the bonus: what a beam ranks by, so that the phrase is not lost on its way. The promise
    is gone where something else comes of it.

    Args:
        phrases: in the vocabulary's own characters, with their bonuses in nats, 0 or more.
        pieces: what each token adds to a text.

    Examples:
        >>> phrases = PhraseAutomaton({"NEW YORK": 7.0}, ["", " ", *"EKNORWY"])
        >>> state, gained = phrases.advance(START, "NEW Y")
        >>> gained, phrases.promise(state)
        (0.0, 4.375)
        >>> state, gained = phrases.advance(state, "ORK ")
        >>> gained, phrases.promise(state)
        (7.0, 0.0)
    """

    def __init__(self, phrases: Mapping[str, float], pieces: Sequence[str]) -> None:
        self._pieces = [as_spaces(piece) for piece in pieces]
        self._children: list[dict[str, int]] = [{" ": START}, {}]
        self._gains, self._promises = [0.0, 0.0], [0.0, 0.0]
        self._after_space = [False, True]
        spaced = any(" " in piece for piece in self._pieces)
        for phrase, bonus in phrases.items():
            self._add(phrase, bonus, spaced)
        self._fallbacks = self._find_fallbacks()
        self._rows: dict[int, Scores | float] = {}

    def _add(self, phrase: str, bonus: float, spaced: bool) -> None:
        before, behind = (" " * (spaced and not is_unspaced(edge)) for edge in (phrase[0], phrase[-1]))
        state, pattern = _NOTHING, f"{before}{phrase}{behind}"
        for length, letter in enumerate(pattern, start=1):
            if letter not in self._children[state]:
                self._children[state][letter] = len(self._children)
                self._children.append({})
                self._gains.append(0.0)
                self._promises.append(0.0)
                self._after_space.append(letter == " ")
            state = self._children[state][letter]
            if length < len(pattern):
                part = min(length - len(before), len(phrase)) / len(phrase)
                self._promises[state] = max(self._promises[state], bonus * part)
        self._gains[state] += bonus

    def _find_fallbacks(self) -> list[int]:
        """State of the longest shorter end of the text that starts a phrase; gains and promises of it are added."""
        fallbacks, queue = [_NOTHING] * len(self._children), list(self._children[_NOTHING].values())
        for state in queue:
            shorter = fallbacks[state]
            self._gains[state] += self._gains[shorter]
            self._promises[state] = max(self._promises[state], self._promises[shorter])
            for letter, child in self._children[state].items():
                back = shorter
                while back != _NOTHING and letter not in self._children[back]:
                    back = fallbacks[back]
                fallbacks[child] = self._children[back].get(letter, _NOTHING)
                queue.append(child)
        return fallbacks

    def _step(self, state: int, letter: str) -> tuple[int, float]:
        if letter == " " and self._after_space[state]:
            return state, 0.0  # Several spaces are one.
        while state != _NOTHING and letter not in self._children[state]:
            state = self._fallbacks[state]
        state = self._children[state].get(letter, _NOTHING)
        return state, self._gains[state]

    def advance(self, state: int, piece: str) -> tuple[int, float]:
        """Return the state behind a piece of text, and the bonuses of the phrases that it completes.

        Args:
            state: of the text before it.
            piece: spaces and letters.
        """
        gained = 0.0
        for letter in piece:
            state, more = self._step(state, letter)
            gained += more
        return state, gained

    def append(self, state: int, token: int) -> tuple[int, float]:
        """Do as ``advance`` with what a token adds to the text."""
        return self.advance(state, self._pieces[token])

    def finish(self, state: int) -> float:
        """Return the bonuses of the phrases that the end of the text completes."""
        return self._step(state, " ")[1]

    def promise(self, state: int) -> float:
        """Return what the unfinished phrases at the end of a text are worth to a beam, in nats."""
        return self._promises[state]

    def scores_of_longer(self, state: int) -> Scores | float:
        """Compute what each token would add: bonuses that it completes, and the promise behind it.

        Args:
            state: of the text before.

        Returns:
            (V,), in nats, not to be changed; 0 where no token adds anything.
        """
        row = self._rows.get(state)
        if row is None:
            if len(self._rows) * len(self._pieces) >= _MOST_NUMBERS:
                self._rows.clear()  # Another thread may do so at any time.
            computed = self._compute_row(state)
            row = self._rows[state] = computed if computed.any() else 0.0
        return row

    def _compute_row(self, state: int) -> Scores:
        row = self._row_of_nothing.copy()
        self._correct(row, self._branches, _Walk(state, 0.0), _Walk(_NOTHING, 0.0), 0.0)
        return row

    @cached_property
    def _branches(self) -> _Branch:
        root = _Branch()
        for token, piece in enumerate(self._pieces):
            root.add(token, piece)
        return root

    @cached_property
    def _row_of_nothing(self) -> Scores:
        ends = (self.append(_NOTHING, token) for token in range(len(self._pieces)))
        return np.array([gained + self._promises[state] for state, gained in ends])

    def _correct(self, row: Scores, branch: _Branch, walk: _Walk, known: _Walk, corrected: float) -> None:
        """Turn the scores of tokens behind no text into those behind a state, where they differ.

        Two walks over the letters of the tokens end in one state as a rule, and soon: from there on they differ by
        what the one has gained more.

        Args:
            row: of all tokens, (V,); changed in place.
            branch: the tokens that start with the same letters.
            walk: over these letters from the state.
            known: over these letters from ``_NOTHING``.
            corrected: what has been added to the scores of these tokens so far.
        """
        more = walk.gained - known.gained
        if more != corrected:
            row[branch.tokens] += more - corrected
        if walk.state == known.state:
            return
        row[branch.ends] = walk.gained + self._promises[walk.state]
        for letter in self._letters_apart(walk.state, known.state):
            if letter in branch.children:
                self._correct(row, branch.children[letter], self._go(walk, letter), self._go(known, letter), more)

    def _go(self, walk: _Walk, letter: str) -> _Walk:
        state, gained = self._step(walk.state, letter)
        return _Walk(state, walk.gained + gained)

    def _letters_apart(self, state: int, shorter: int) -> set[str]:
        """Letters behind which a state and another, which is of an end of its text, may differ."""
        letters = {" "} if self._after_space[state] else set()
        while state != shorter:
            letters.update(self._children[state])
            state = self._fallbacks[state]
        return letters


@dataclass(frozen=True)
class _Walk:
    """A state, and what was gained on the way to it."""

    state: int
    gained: float


@dataclass
class _Branch:
    """Tokens that start with the same letters.

    Args:
        children: by the next letter.
        below: all of the tokens.
        at_end: those that have no further letter.
    """

    children: dict[str, _Branch] = field(default_factory=dict)
    below: list[int] = field(default_factory=list)
    at_end: list[int] = field(default_factory=list)

    def add(self, token: int, piece: str) -> None:
        branch = self
        branch.below.append(token)
        for letter in piece:
            branch = branch.children.setdefault(letter, _Branch())
            branch.below.append(token)
        branch.at_end.append(token)

    @cached_property
    def tokens(self) -> npt.NDArray[np.intp]:
        return np.array(self.below, dtype=np.intp)

    @cached_property
    def ends(self) -> npt.NDArray[np.intp]:
        return np.array(self.at_end, dtype=np.intp)


def as_spaces(text: str) -> str:
    r"""Write every kind of whitespace as a space, as decoded texts have it.

    Examples:
        >>> as_spaces("A\u3000B")
        'A B'
    """
    return "".join(" " if letter.isspace() else letter for letter in text)
