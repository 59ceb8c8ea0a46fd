"""Transcripts as a vocabulary can write them: one Unicode form, one apostrophe, one space, one case.

What a vocabulary can write comes through as it is; nothing but whitespace is dropped. References and hypotheses go
through the same function.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Literal

from bigfoot.text.marks import drop_silent_marks

__all__ = ["comparable_text", "describe_normalization", "drop_silent_marks", "normalize_text"]

# NFKC leaves some of these alone and breaks U+00B4 into a space and an accent, so they are replaced before it.
_APOSTROPHES = "\u2018\u2019\u201b\u02bc\u2032\u00b4`"
_FORMS: tuple[Literal["NFC", "NFKC", "NFD", "NFKD"], ...] = ("NFC", "NFKC", "NFD", "NFKD")
# Vowels that only compatibility forms take apart, and that no form puts together again: am of Thai and Lao.
_PUT_TOGETHER = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))
# Vowels and final consonants of Korean are no marks, and yet compose with what is before them.
_GEORGIAN_HEADINGS = re.compile("[\u1c90-\u1cbf]")
_JAMO = re.compile("[\u1160-\u11ff]")


def normalize_text(text: str, characters: Collection[str] | None = None) -> str:
    """Bring a transcript to the characters of a vocabulary without dropping anything.

    What still lies outside the vocabulary afterwards (digits, punctuation) is for the caller to report: to delete it
    here would silently make wrong transcripts.

    Args:
        text: one transcript.
        characters: those of the vocabulary, such as ``CharTokenizer.characters``; None leaves the case alone.

    Returns:
        The text with typographic apostrophes as ``'``, whitespace collapsed (left out where the vocabulary has no
        space), and letters in the vocabulary's case where it has only one. A letter with its marks stays as it is where
        the vocabulary has all of it; else it is composed or decomposed to what the vocabulary has, or NFKC.

    Examples:
        >>> normalize_text("Don\u2019t  panic ", characters="ADNOTPIC' ")
        "DON'T PANIC"
        >>> normalize_text("I\u0130", characters="\u0131i")
        '\u0131i'
    """
    kept = frozenset(characters or ())
    table = {ord(mark): "'" for mark in _APOSTROPHES if mark not in kept}
    # Twice, since NFKC itself can bring a modifier apostrophe (\u0149 becomes \u02bc and n).
    text = _fit_forms(text.translate(table), kept).translate(table)
    text = _fit_forms(_to_only_case(text, kept), kept)
    if not kept or " " in kept:
        return " ".join(text.split())
    # An accent that stood alone may now stand behind a letter.
    return _fit_forms("".join(text.split()), kept)


def comparable_text(text: str, characters: Collection[str] | None) -> str:
    """Bring a reference or a hypothesis to the one form in which both are compared.

    Args:
        text: either.
        characters: of the vocabulary that writes the hypotheses; None leaves all as it is.

    Returns:
        ``normalize_text``'s, composed: a vocabulary that has a letter both whole and in parts writes it either way.

    Examples:
        >>> comparable_text("cafe\u0301", "acef\u0301\u00e9") == "caf\u00e9"
        True
    """
    return unicodedata.normalize("NFC", normalize_text(text, characters)) if characters else text


def describe_normalization(characters: Collection[str] | None, *, without_marks: bool) -> str:
    """Describe the normalization of transcripts before comparison; an error rate depends on it.

    Args:
        characters: as given to ``normalize_text``.
        without_marks: whether ``drop_silent_marks`` was applied too.

    Examples:
        >>> describe_normalization("ab '", without_marks=True)
        "NFKC, one apostrophe ('), single spaces, in lower case, unsaid punctuation dropped"
    """
    kept = frozenset(characters or ())
    upper, lower = (_to_only_case(letter, kept) != letter for letter in ("a", "A"))
    case = "in capitals" if upper else "in lower case" if lower else "case as it stands"
    marks = ", unsaid punctuation dropped" if without_marks else ", punctuation as it stands"
    return f"NFKC, one apostrophe ('), single spaces, {case}{marks}"


def _fit_forms(text: str, kept: frozenset[str]) -> str:
    if not kept:
        return unicodedata.normalize("NFKC", text)
    for apart, together in _PUT_TOGETHER:
        if together in kept and apart[0] not in kept:
            text = text.replace(apart, together)
    return text if kept.issuperset(text) else "".join(_fit_cluster(part, kept) for part in _split_clusters(text))


def _split_clusters(text: str) -> Iterator[str]:
    """Letters, each with the marks behind it: what no Unicode form joins or takes apart across."""
    start = 0
    for place in range(1, len(text)):
        if not _JAMO.match(text[place]) and not unicodedata.category(text[place]).startswith("M"):
            yield text[start:place]
            start = place
    yield text[start:]


def _fit_cluster(cluster: str, kept: frozenset[str]) -> str:
    if kept.issuperset(cluster):
        return cluster
    for form in _FORMS:
        found = unicodedata.normalize(form, cluster)
        if kept.issuperset(found):
            return found
    if composed := _compose(unicodedata.normalize("NFD", cluster), kept):
        return composed
    return "".join(_fit_digit(character, kept) for character in unicodedata.normalize("NFKC", cluster))


def _compose(cluster: str, kept: frozenset[str]) -> str | None:
    """Write a letter and its marks by a composed letter of the vocabulary that no form makes, and what marks remain."""
    for character, marks in _composed_of(kept).get(cluster[0], ()):
        rest = list(cluster[1:])
        for mark in marks:
            if mark not in rest:
                break
            rest.remove(mark)
        else:
            if kept.issuperset(rest):
                return character + "".join(rest)
    return None


@lru_cache(maxsize=64)
def _composed_of(kept: frozenset[str]) -> dict[str, list[tuple[str, str]]]:
    """Composed letters by their base, each with its marks, those of most marks first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for character in sorted(kept):
        apart = unicodedata.normalize("NFD", character)
        if len(apart) > 1:
            found.setdefault(apart[0], []).append((character, apart[1:]))
    return {base: sorted(letters, key=lambda letter: -len(letter[1])) for base, letters in found.items()}


def _fit_digit(character: str, kept: frozenset[str]) -> str:
    """Return the digit of the same value that the vocabulary has, where it has those of another script."""
    value = unicodedata.decimal(character, None)
    if value is None or character in kept:
        return character
    return _digits_of(kept).get(value, character)


@lru_cache(maxsize=64)
def _digits_of(kept: frozenset[str]) -> dict[int, str]:
    """By value; of several scripts the first, of which ASCII's are."""
    found: dict[int, str] = {}
    for character in sorted(kept):
        value = unicodedata.decimal(character, None) if len(character) == 1 else None
        if value is not None:
            found.setdefault(value, character)
    return found


@lru_cache(maxsize=64)
def _only_case(characters: frozenset[str]) -> str | None:
    """``upper`` or ``lower`` where the vocabulary has letters of one case alone."""
    # Letters such as \u00df, whose other case is two letters, do not show the vocabulary's case; nor do Georgian's,
    # whose capitals are for headings.
    has_upper = any(c.lower() != c and len(c.lower()) == 1 for c in characters)
    has_lower = any(c.upper() != c and len(c.upper()) == 1 and not "\u10d0" <= c <= "\u10ff" for c in characters)
    if has_upper == has_lower:
        return None
    return "lower" if has_lower else "upper"


def _to_only_case(text: str, characters: frozenset[str]) -> str:
    # Georgian has no case of its own: its capitals are another way to print it.
    text = _GEORGIAN_HEADINGS.sub(lambda c: c[0] if c[0] in characters else c[0].lower(), text) if characters else text
    case = _only_case(characters)
    if case is None:
        return text
    # Turkish, Azeri and their kin have an i with a dot and one without, in both cases.
    if case == "lower" and "\u0131" in characters:
        text = text.replace("I\u0307", "i").replace("\u0130", "i").replace("I", "\u0131")
    elif case == "upper" and "\u0130" in characters:
        text = text.replace("i", "\u0130").replace("\u0131", "I")
    lowered = text.lower() if case == "lower" and len(text.lower()) == len(text) else None
    return "".join(
        c if c in characters else _change_case(c, case, lowered[place] if lowered else None)
        for place, c in enumerate(text)
    )


def _change_case(character: str, case: str, lowered: str | None) -> str:
    # The whole text's lower case knows which sigma ends a word.
    return character.upper() if case == "upper" else lowered or character.lower()
