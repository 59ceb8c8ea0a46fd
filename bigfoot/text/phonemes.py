"""Phonemes as tokens: espeak-ng gives the pronunciation of a text, the model transcribes phonemes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

from bigfoot.errors import DataError
from bigfoot.espeak import phonemize
from bigfoot.text.tokenizer import SPECIALS, Tokenizer


@lru_cache(maxsize=100_000)
def pronounce(text: str, voice: str, stress: bool) -> tuple[str, ...]:
    """Transcribe a text into phonemes; remembered, for every epoch tokenizes it and loading espeak-ng takes time.

    Args:
        text: in the voice's language.
        voice: espeak-ng voice.
        stress: keep the marks of stress.

    Raises:
        MissingExtraError: the extra ``[synthetic]`` is not installed.
        ValueError: the voice does not exist.

    Examples:
        >>> pronounce("SIX", "en-us", stress=False)
        ('s', '\u026a', 'k', 's')
    """
    return tuple(phonemize([text], voice, stress=stress)[0])


@dataclass(frozen=True)
class PhonemeTokenizer(Tokenizer):
    """espeak-ng's phonemes, with spaces between them in decoded texts; errors are counted in phonemes.

    Only ``encode`` and ``to_judged`` need espeak-ng; a deployed model writes phonemes without.

    Args:
        vocabulary: phoneme by id; ``<pad>`` is the blank.
        voice: espeak-ng voice that pronounces transcripts.
        stress: whether marks of stress are part of the phonemes.

    Examples:
        >>> tokenizer = build_phoneme_tokenizer(["SIX", "SEVEN"])
        >>> tokenizer.decode(tokenizer.encode("SIX")), tokenizer.unit
        ('s \u026a k s', 'phoneme')
    """

    vocabulary: tuple[str, ...]
    voice: str = "en-us"
    stress: bool = False
    kind: ClassVar[str] = "phonemes"
    unit: ClassVar[Literal["word", "phoneme"]] = "phoneme"

    @property
    def blank_id(self) -> int:
        """Id of ``<pad>``."""
        return self._ids[SPECIALS[0]]

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Phonemes with a space in front."""
        return tuple("" if token in SPECIALS else f" {token}" for token in self.vocabulary)

    @property
    def characters(self) -> None:
        """None: espeak-ng pronounces any text."""
        return None

    def encode(self, text: str) -> list[int]:
        """Tokenize a text by its pronunciation; see ``Tokenizer.encode``."""
        phonemes = self._phones(text)
        known = {phoneme for phoneme in phonemes if self.pieces[self._ids.get(phoneme, self.blank_id)]}
        if unknown := sorted(set(phonemes) - known):
            raise ValueError(f"phonemes outside the vocabulary: {' '.join(unknown)} in {text!r}")
        return [self._ids[phoneme] for phoneme in phonemes]

    def _phones(self, text: str) -> tuple[str, ...]:
        return pronounce(text, self.voice, self.stress)

    def to_judged(self, text: str) -> str:
        """Return the phonemes of a transcript."""
        return " ".join(self._phones(text))

    def describe(self) -> str:
        """Kind, voice and size."""
        marks = "with" if self.stress else "without"
        return f"phonemes of espeak-ng's {self.voice} {marks} stress, {len(self)} tokens"

    def to_files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """All of its fields."""
        return {"vocabulary": list(self.vocabulary), "voice": self.voice, "stress": self.stress}, {}


def build_phoneme_tokenizer(texts: Sequence[str], voice: str = "en-us", *, stress: bool = False) -> PhonemeTokenizer:
    """Build the vocabulary of the phonemes in a set of transcripts.

    Args:
        texts: normalized transcripts.
        voice: espeak-ng voice.
        stress: keep the marks of stress.

    Returns:
        ``<pad>``, ``<s>``, ``</s>``, ``<unk>`` and the phonemes in order of code points.

    Raises:
        DataError: there is nothing to pronounce.
        MissingExtraError: the extra ``[synthetic]`` is not installed.
        ValueError: the voice does not exist.
    """
    found = {phoneme for pronounced in phonemize(texts, voice, stress=stress) for phoneme in pronounced}
    if not found:
        raise DataError("no phonemes to learn: all transcripts are empty")
    return PhonemeTokenizer((*SPECIALS, *sorted(found)), voice, stress)
