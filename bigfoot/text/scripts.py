"""Scripts without spaces between words, user-perceived characters, and the width of text on a screen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Han, kana, bopomofo, Thai, Lao, Tibetan, Burmese, Khmer and Tai Tham have no spaces between words.
UNSPACED = re.compile(
    "[\u0e00-\u109f\u1780-\u17ff\u19e0-\u19ff\u1a20-\u1aaf\u3005-\u3007\u3021-\u3029\u3038-\u303c\u3040-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
"""Matches a letter of a script that has no spaces between words."""
# They write what follows below what stands before: it is one letter to the eye.
_STACKERS = frozenset(
    "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d\u1039\u17d2\u1a60\u1b44\u1bab\ua9c0\uaaf6\U00010a3f\U00011133\U000113d0"
)
# Vowels and final consonants of Korean, sounding marks of narrow kana, the am of Thai and Lao: no marks by category.
_EXTENDERS = re.compile("[\u1160-\u11ff\ud7b0-\ud7fb\uff9e\uff9f\u0e33\u0eb3\u200c\u200d]")
_JOINER = "\u200d"


def is_unspaced(text: str) -> bool:
    """Return whether the first letter is of a script without spaces between words.

    Examples:
        >>> is_unspaced("\u5b57"), is_unspaced("a"), is_unspaced("")
        (True, False, False)
    """
    return UNSPACED.match(text) is not None


def extends(cluster: str, character: str) -> bool:
    """Return whether a character belongs to the user-perceived character before it.

    As the extended grapheme clusters of Unicode (UAX 29), and all marks besides, of which Burmese has some that UAX 29
    counts alone.

    Args:
        cluster: what stands before; may be empty.
        character: the next code point.

    Examples:
        >>> extends("e", "\u0301"), extends("\u1781\u17d2", "\u1798"), extends("a", "b"), extends("", "\u0301")
        (True, True, False, False)
    """
    if not cluster or cluster.isspace() or character.isspace():
        return False
    if unicodedata.category(character).startswith("M") or _EXTENDERS.match(character):
        return True
    return cluster.rstrip(_JOINER)[-1:] in _STACKERS and unicodedata.category(character).startswith("L")


def split_clusters(text: str) -> list[str]:
    """Split a text into user-perceived characters.

    Args:
        text: any.

    Returns:
        Clusters that make the text again.

    Examples:
        >>> [len(cluster) for cluster in split_clusters("\u0e01\u0e33\u0e25\u0e31\u0e07")]
        [2, 2, 1]
    """
    return list(_clusters(text))


def _clusters(text: str) -> Iterator[str]:
    cluster = ""
    for character in text:
        if cluster and not extends(cluster, character):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def count_columns(text: str) -> int:
    """Count the columns of a text on a screen: wide and full-width East Asian characters take two, marks none.

    Examples:
        >>> count_columns("ab"), count_columns("\u5b57\u5e55"), count_columns("e\u0301")
        (2, 4, 1)
    """
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
