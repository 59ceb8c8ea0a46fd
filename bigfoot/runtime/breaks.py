"""Where the text of subtitles may be broken: between words, after sentences, and never before a closing mark."""

from __future__ import annotations

import unicodedata

from bigfoot.runtime.words import Word
from bigfoot.text.scripts import UNSPACED

_SENTENCE_ENDS = frozenset(
    ".!?\u2026\u3002\uff01\uff1f\uff0e\uff61\u061f\u06d4\u0964\u0965\u104b\u17d4\u17d5\u1362\u0589"
)
_CLAUSE_ENDS = frozenset(",;:\u3001\uff0c\uff1b\uff1a\uff64\u060c\u061b\u104a\u1363\u1364")
# No line starts with them: small kana, marks of repetition and length, vowels of Thai and Lao behind their letter.
_NO_START = frozenset(
    "\u3041\u3043\u3045\u3047\u3049\u3063\u3083\u3085\u3087\u308e\u3095\u3096\u309d\u309e\u3005\u303b\u30fc\u30fd\u30fe"
    "\u30a1\u30a3\u30a5\u30a7\u30a9\u30c3\u30e3\u30e5\u30e7\u30ee\u30f5\u30f6\uff67\uff68\uff69\uff6a\uff6b\uff6c\uff6d"
    "\uff6e\uff6f\uff70\u0e2f\u0e30\u0e32\u0e33\u0e45\u0e46\u0eaf\u0eb0\u0eb2\u0eb3\u0ebd\u0ec6"
)
# It never ends with them: vowels of Thai and Lao in front of their letter.
_NO_END = frozenset("\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4")


def ends_sentence(word: Word) -> bool:
    """Return whether a sentence ends with a word.

    Examples:
        >>> ends_sentence(Word("end.)", 0, 1)), ends_sentence(Word("end", 0, 1))
        (True, False)
    """
    return _last_mark(word) in _SENTENCE_ENDS


def ends_clause(word: Word) -> bool:
    """Return whether a part of a sentence ends with a word, by a comma and the like."""
    return _last_mark(word) in _CLAUSE_ENDS


def _last_mark(word: Word) -> str:
    return next((mark for mark in reversed(word.text) if unicodedata.category(mark) not in ("Pe", "Pf")), "")


def may_break(left: Word, right: Word) -> bool:
    """Return whether a line may end between two words.

    Examples:
        >>> may_break(Word("a", 0, 1), Word("b", 1, 2)), may_break(Word("a", 0, 1), Word("b", 1, 2, joined=True))
        (True, False)
    """
    if not right.joined:
        return True
    if left.text[-1:] in _NO_END or right.text[:1] in _NO_START:
        return False
    return UNSPACED.search(left.text) is not None or UNSPACED.search(right.text) is not None
