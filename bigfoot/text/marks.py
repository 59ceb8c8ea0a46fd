"""Marks of written sentences that are not pronounced, by Unicode's categories."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from functools import lru_cache

from bigfoot.text.scripts import is_unspaced

# Punctuation by its category that is read aloud: per cent, and, at, slash, ...
_PRONOUNCED = frozenset("%‰‱&@#*/\\_§¶†‡\u0609\u060a\u066a\u066b\u066c")
# They hold a word together: apostrophes (also those that only resemble them), hyphens, the maqaf and geresh of Hebrew,
# the middle dot of Catalan. Alone between spaces they are marks like all others, but for the first.
_APOSTROPHES = frozenset("'\u2018\u2019\u201b\u2032\uff07")
_WITHIN_WORDS = frozenset("-\u2010\u2011\u058a\u05be\uff0d\u05f3\u05f4\u00b7\u055a")
# Written over a letter of a word (Armenian), or between its letters (the tatweel of Arabic): they part nothing.
_WITHOUT_SPACE = frozenset("\u055b\u055c\u055e\u0640")


def drop_silent_marks(text: str, characters: Collection[str] | None = None) -> str:
    """Remove the marks of a written sentence that are not pronounced, unless a vocabulary has them.

    For corpora whose transcripts are sentences that were given to read. ``normalize_text`` leaves such marks in: in
    other corpora a full stop cannot be distinguished from a decimal point that was pronounced.

    Args:
        text: one transcript.
        characters: those of the vocabulary; None for one that is yet to be made, which needs none of them.

    Returns:
        The text with a space in the place of each mark, none between letters of scripts without spaces; characters
        that cannot be seen, such as marks of direction and joiners, are taken out.

    Examples:
        >>> " ".join(drop_silent_marks("Well-known, isn't it?").split())
        "Well-known isn't it"
    """
    kept = frozenset(characters or ())
    found: list[str] = []
    for place, character in enumerate(text):
        before, after = found[-1] if found else " ", text[place + 1 : place + 2] or " "
        if character in kept or not _is_silent(character, before, after):
            found.append(character)
        elif not _parts_nothing(character, text, place):
            found.append(" ")
    return "".join(found)


def _parts_nothing(character: str, text: str, place: int) -> bool:
    if character in _WITHOUT_SPACE or unicodedata.category(character) == "Cf":
        return True
    around = (text[place - 1 : place], text[place + 1 : place + 2])
    return all(is_unspaced(neighbour) for neighbour in around)


def _is_silent(character: str, before: str, after: str) -> bool:
    if character in _APOSTROPHES:
        return False
    if character in _WITHIN_WORDS:
        return before.isspace() and (after.isspace() or _is_mark(after))
    return _is_mark(character)


@lru_cache(maxsize=1 << 16)
def _is_mark(character: str) -> bool:
    if character in _WITHOUT_SPACE:
        return True
    category = unicodedata.category(character)
    folded = unicodedata.normalize("NFKC", character)
    return category == "Cf" or (category.startswith("P") and not _PRONOUNCED & {character, folded})
