"""Words out of placed characters: runs between spaces, and single characters in scripts that have no spaces."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bigfoot.text.cleanup import list_joined
from bigfoot.text.scripts import count_columns, extends, is_unspaced

# Of a letter with its marks; a model that outputs one mark without end writes no letter.
_MOST_CODE_POINTS = 16


@dataclass(frozen=True)
class PlacedText:
    """A character or a word, and its frames.

    Args:
        text: a word is without spaces.
        start_frame: first frame of its first token.
        end_frame: one beyond the last frame of its last token.
        joined: no space stands between it and the word before.
    """

    text: str
    start_frame: int
    end_frame: int
    joined: bool = False


@dataclass(frozen=True)
class RunLimits:
    """Limits of a word; what exceeds them is no word, but a text without delimiters, and is cut in its widest gaps.

    Args:
        columns: on a screen.
        frames: from its first to its last.
        gap: frames without a token, within a word.
    """

    columns: int
    frames: float
    gap: float


def group_words(characters: Iterable[PlacedText], limits: RunLimits | None = None) -> list[PlacedText]:
    """Group characters into the words that a reader expects times for.

    Words stand between spaces. In scripts without spaces (Han, kana, Thai, Lao, Tibetan, Burmese, Khmer) each
    user-perceived character is a word: a letter with its marks, and punctuation with what it belongs to.

    Args:
        characters: in order, spaces among them.
        limits: of a word; none by default.

    Returns:
        The words in order.

    Examples:
        >>> characters = [PlacedText(letter, frame, frame + 1) for frame, letter in enumerate("ab \u6211\u6709c\u3002")]
        >>> [(word.text, word.start_frame, word.joined) for word in group_words(characters)]
        [('ab', 0, False), ('\u6211', 3, False), ('\u6709', 4, True), ('c\u3002', 5, True)]
    """
    words: list[PlacedText] = []
    held = _Run()
    for character in characters:
        if character.text.isspace():
            words += held.take(limits)
            held = _Run()
        elif held.takes(character.text):
            held.add(character)
        else:
            words += held.take(limits)
            held = _Run(joined=True)
            held.add(character)
    return [*words, *held.take(limits)]


def drop_cleaned_spaces(characters: Iterable[PlacedText]) -> Iterator[PlacedText]:
    """Drop the spaces that ``clean_up`` drops from a text.

    Args:
        characters: in order, spaces among them.

    Yields:
        The others, with one space between words.

    Examples:
        >>> characters = [PlacedText(letter, 0, 1) for letter in "it 's on ."]
        >>> "".join(character.text for character in drop_cleaned_spaces(characters))
        "it's on."
    """
    runs: list[list[PlacedText]] = [[]]
    for character in characters:
        if not character.text.isspace():
            runs[-1].append(character)
        elif runs[-1]:
            runs.append([])
    runs = [run for run in runs if run]
    for index, part in enumerate(list_joined(["".join(c.text for c in run) for run in runs])):
        if index:
            yield PlacedText(" ", runs[part.start][0].start_frame, runs[part.start][0].start_frame)
        for run in runs[part]:
            yield from run


class _Run:
    """Characters of the word that grows."""

    def __init__(self, *, joined: bool = False) -> None:
        self._joined, self._characters = joined, list[PlacedText]()
        self._unspaced, self._opens = False, True

    def takes(self, character: str) -> bool:
        """Return whether a character belongs to this word, for no space stands between."""
        before = "".join(held.text for held in self._characters[-2:])
        if self._unspaced and len(self._characters) >= _MOST_CODE_POINTS:
            return False
        if self._opens or extends(before, character) or not (self._unspaced or is_unspaced(character)):
            return True
        # Closing marks belong to what is before them, opening ones to what follows.
        return unicodedata.category(character) in ("Pe", "Pf", "Po")

    def add(self, character: PlacedText) -> None:
        self._characters.append(character)
        self._unspaced = self._unspaced or is_unspaced(character.text)
        self._opens = self._opens and unicodedata.category(character.text) in ("Ps", "Pi")

    def take(self, limits: RunLimits | None) -> list[PlacedText]:
        """Return the word; none where it is empty, several where it exceeds limits."""
        if not self._characters:
            return []
        parts = [self._characters] if limits is None or self._unspaced else _cut_run(self._characters, limits)
        first = _merge(parts[0], joined=self._joined)
        return [first, *(_merge(part, joined=True) for part in parts[1:])]


def _merge(characters: Sequence[PlacedText], *, joined: bool) -> PlacedText:
    text = "".join(character.text for character in characters)
    return PlacedText(text, characters[0].start_frame, characters[-1].end_frame, joined)


def _cut_run(characters: Sequence[PlacedText], limits: RunLimits) -> list[Sequence[PlacedText]]:
    """Cut a run in its widest gaps until each part is within limits."""
    found, waiting = list[Sequence[PlacedText]](), [characters]
    while waiting:
        part = waiting.pop()
        place = _find_gap(part, limits)
        if place is None:
            found.append(part)
        else:
            waiting += [part[place:], part[:place]]
    return found


def _find_gap(part: Sequence[PlacedText], limits: RunLimits) -> int | None:
    """Return where a part is cut; None where it is within limits, or a single letter with its marks."""
    places = [n for n in range(1, len(part)) if not extends(part[n - 1].text, part[n].text)]
    if not places:
        return None

    def gap(place: int) -> int:
        return part[place].start_frame - part[place - 1].end_frame

    widest = max(places, key=gap)
    if gap(widest) >= limits.gap:
        return widest
    columns = sum(count_columns(character.text) for character in part)
    if columns <= limits.columns and part[-1].end_frame - part[0].start_frame <= limits.frames:
        return None
    # In the middle half, so that no part is a letter or two.
    middle = places[len(places) // 4 : len(places) - len(places) // 4]
    return max(middle, key=lambda place: (gap(place), -abs(2 * place - len(part))))
