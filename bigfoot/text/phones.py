"""Phones as a vocabulary, as Hugging Face's ``Wav2Vec2PhonemeCTCTokenizer`` has them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from bigfoot.text.characters import check_vocabulary, stands_for_nothing
from bigfoot.text.phonemes import PhonemeTokenizer, pronounce


@dataclass(frozen=True)
class PhoneTokenizer(PhonemeTokenizer):
    """Phones of a ``vocab.json``, with spaces between them in decoded texts; errors are counted in phonemes.

    Args:
        vocabulary: token by id.
        voice: espeak-ng voice that pronounces transcripts (``phonemizer_lang``).
        stress: always false: the phones have no marks of stress.
        blank_token: CTC's blank.
        unknown_token: stands for phones outside; never written into labels.
        word_delimiter: a token between words, which texts leave out; empty where there is none.
        phone_delimiter: what transformers puts between phones when it pronounces a text; kept for it.
        silent: further tokens that add nothing to a text.
        pronounces: whether transcripts are words, which espeak-ng pronounces (``do_phonemize``), or phones already.

    Raises:
        ValueError: a token stands twice, or the blank is missing.

    Examples:
        >>> tokenizer = PhoneTokenizer(("<pad>", "a\u026a", "s", "t"), pronounces=False)
        >>> tokenizer.decode_ctc([2, 3, 3, 0, 1]), tokenizer.encode("t a\u026a")
        ('s t a\u026a', [3, 1])
    """

    blank_token: str = "<pad>"
    unknown_token: str = "<unk>"
    word_delimiter: str = ""
    phone_delimiter: str = " "
    silent: tuple[str, ...] = ()
    pronounces: bool = True
    kind: ClassVar[str] = "phones"

    def __post_init__(self) -> None:
        """Refuse a vocabulary with which decoding would be ambiguous."""
        check_vocabulary(self.vocabulary, self.blank_token)

    @cached_property
    def blank_id(self) -> int:
        """Id of CTC's blank."""
        return self._ids[self.blank_token]

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Phones with a space in front; nothing for specials and the word delimiter."""
        silent = (self.blank_token, self.unknown_token, self.word_delimiter, *self.silent)
        return tuple("" if stands_for_nothing(token, silent) else f" {token}" for token in self.vocabulary)

    def _phones(self, text: str) -> tuple[str, ...]:
        return pronounce(text, self.voice, stress=False) if self.pronounces else tuple(text.split())

    def describe(self) -> str:
        """Kind, voice and size."""
        return f"phones, {f'pronounced by espeak-ng {self.voice}, ' if self.pronounces else ''}{len(self)} tokens"

    def fits(self, head_size: int) -> bool:
        """Return whether a head can be this vocabulary's; it may have rows that no vocabulary names, never trained."""
        return len(self) <= head_size
