"""One model's text in another's characters: case, Unicode form and silent marks; the rest is dropped and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from bigfoot.text.marks import drop_silent_marks
from bigfoot.text.normalize import normalize_text


@dataclass(frozen=True)
class FittedText:
    """A text in the characters of a vocabulary.

    Args:
        text: words with single spaces between.
        dropped: characters that the vocabulary has no form of, with their counts; marks that are not pronounced are
            not among them.
    """

    text: str
    dropped: Counter[str]


def fit_text(text: str, characters: Collection[str] | None) -> FittedText:
    """Bring the output of a model to the characters of another.

    Unlike references, which ``normalize_text`` never shortens, hypotheses may hold what the other cannot write; that
    is dropped here, and the caller decides by the count whether such a text is of use.

    Args:
        text: a hypothesis.
        characters: of the other vocabulary; None leaves the text as it is.

    Examples:
        >>> fit_text("Well, don\u2019t panic: 42!", "ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
        FittedText(text="WELL DON'T PANIC", dropped=Counter({'4': 1, '2': 1}))
    """
    if characters is None:
        return FittedText(text, Counter())
    kept = frozenset(characters)
    found = normalize_text(drop_silent_marks(text, kept), kept)
    dropped = Counter(character for character in found if character not in kept and not character.isspace())
    left = "".join(character if character in kept else " " if character.isspace() else "" for character in found)
    return FittedText(" ".join(left.split()), dropped)
