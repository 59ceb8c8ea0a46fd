"""Transcripts as a vocabulary can spell them: one Unicode form, one apostrophe, one space, one case."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

# NFKC leaves some of these alone and breaks U+00B4 into a space and an accent, so they are replaced before it.
_APOSTROPHES = "\u2018\u2019\u201b\u02bc\u2032\u00b4`"
# Marks of a written sentence that nobody says. Not the hyphen, which holds words together, nor the apostrophe.
_SILENT_MARKS = frozenset(
    ".,;:!?\"\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a\u2026\u00bf\u00a1\u2013\u2014\u3001\u3002\uff01\uff0c\uff1f"
)


def normalize_text(text: str, characters: Collection[str] | None = None) -> str:
    """Bring a transcript to the spelling of a vocabulary without dropping anything.

    What still lies outside the vocabulary afterwards (digits, punctuation) is for the caller to report: to delete it
    here would quietly make transcripts that nobody said.

    Args:
        text: one transcript.
        characters: what the vocabulary can spell, such as ``CharTokenizer.characters``; None leaves the case alone.

    Returns:
        NFKC text with typographic apostrophes as ``'``, whitespace collapsed, and letters in the vocabulary's case
        where it has only one.

    Example:
        >>> normalize_text("Don\u2019t  panic ", characters="ADNOTPIC' ")
        "DON'T PANIC"
    """
    kept = frozenset(characters or ())
    table = {ord(mark): "'" for mark in _APOSTROPHES if mark not in kept}
    # Twice, since NFKC itself can bring a modifier apostrophe (\u0149 becomes \u02bc and n).
    text = unicodedata.normalize("NFKC", text.translate(table)).translate(table)
    text = unicodedata.normalize("NFKC", _to_only_case(text, kept))
    return " ".join(text.split())


def describe_normalization(characters: Collection[str] | None, *, without_marks: bool) -> str:
    """Name what was done to transcripts before anything was compared with them; an error rate depends on it.

    Args:
        characters: as given to ``normalize_text``.
        without_marks: whether ``drop_silent_marks`` was applied too.

    Example:
        >>> describe_normalization("ab '", without_marks=True)
        "NFKC, one apostrophe ('), single spaces, in lower case, unsaid punctuation dropped"
    """
    kept = frozenset(characters or ())
    upper, lower = (_to_only_case(letter, kept) != letter for letter in ("a", "A"))
    case = "in capitals" if upper else "in lower case" if lower else "case as it stands"
    marks = ", unsaid punctuation dropped" if without_marks else ", punctuation as it stands"
    return f"NFKC, one apostrophe ('), single spaces, {case}{marks}"


def drop_silent_marks(text: str, characters: Collection[str] | None = None) -> str:
    """Take out the marks of a written sentence that nobody says, unless a vocabulary spells them.

    For corpora whose transcripts are sentences that were given to read. ``normalize_text`` leaves such marks in: in
    other corpora nobody can tell a full stop from a decimal point that was said.

    Args:
        text: one transcript.
        characters: what the vocabulary can spell; None for one that is yet to be made, which needs none of them.

    Returns:
        The text with a space in the place of each mark.

    Example:
        >>> " ".join(drop_silent_marks("Well-known, isn't it?").split())
        "Well-known isn't it"
    """
    unsaid = _SILENT_MARKS - frozenset(characters or ())
    return text.translate({ord(mark): " " for mark in unsaid})


def _to_only_case(text: str, characters: frozenset[str]) -> str:
    # Letters such as \u00df, whose other case is two letters, say nothing of the vocabulary's case.
    has_upper = any(c.lower() != c and len(c.lower()) == 1 for c in characters)
    has_lower = any(c.upper() != c and len(c.upper()) == 1 for c in characters)
    if has_upper == has_lower:
        return text
    if has_lower:
        return text.lower()
    return "".join(c if c in characters else c.upper() for c in text)
