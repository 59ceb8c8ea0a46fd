"""Hot words as a user writes them: read, brought to the vocabulary's characters, refused where it cannot write them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bigfoot.config import Problem
from bigfoot.decoding.phrases import as_spaces
from bigfoot.decoding.settings import SearchConfig
from bigfoot.errors import DataError
from bigfoot.storage.remote import fetch
from bigfoot.text.normalize import normalize_text
from bigfoot.text.tokenizer import Tokenizer

_MOST_NAMED = 20
_COMMENT = "#"


@dataclass(frozen=True)
class HotWord:
    """A word or phrase that is likelier here than elsewhere.

    Args:
        given: by the user.
        texts: what the vocabulary writes for it, which is more than one where it has a letter both whole and in parts;
            phonemes with spaces between where it has those.
    """

    given: str
    texts: tuple[str, ...]


def list_hot_words(config: SearchConfig) -> list[str]:
    """Collect the entries of ``hot_words`` and ``hot_words_file``, as they are given.

    Args:
        config: of the search.

    Returns:
        The entries; empty ones of the list among them, those of the file are left out.

    Raises:
        DataError: the file is missing, is no UTF-8 text or holds no entry.
    """
    if config.hot_words_file is None:
        return list(config.hot_words)
    path = fetch(config.hot_words_file).expanduser()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); it has a hot word or phrase a line") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: should be UTF-8 text with a hot word or phrase a line ({error})") from error
    # Not splitlines(), which also parts lines at characters that may stand within one.
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text)]
    entries = [line for line in lines if line and not line.startswith(_COMMENT)]
    if not entries:
        raise DataError(f"{path}: holds no hot word; expected a word or phrase a line ({_COMMENT} starts a comment)")
    return [*config.hot_words, *entries]


def find_hot_words(config: SearchConfig, tokenizer: Tokenizer) -> list[HotWord]:
    """Bring hot words to the characters of a vocabulary, as transcripts are brought to them.

    Args:
        config: ``hot_words`` and ``hot_words_file`` are read.
        tokenizer: of the head. One of phonemes pronounces the words.

    Returns:
        Each once, in order.

    Raises:
        DataError: the file cannot be used, or the vocabulary cannot write some of them; all are named.
        MissingExtraError: the package that pronounces words is not installed.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> config = SearchConfig(hot_words=["new  york"])
        >>> find_hot_words(config, CharTokenizer(("<pad>", "|", *"EKNORWY")))
        [HotWord(given='new  york', texts=('NEW YORK',))]
    """
    writer, found, unwritable, empty = _Writer(tokenizer), dict[str, HotWord](), dict[str, list[str]](), list[int]()
    for place, entry in enumerate(list_hot_words(config), start=1):
        text = writer.normalize(entry)
        if not entry.strip():
            empty.append(place)
        elif missing := writer.missing(text) if text else [entry]:
            unwritable[entry] = missing
        else:
            found.setdefault(text, HotWord(entry, tuple(writer.spellings(text))))
    if empty:
        raise DataError(f"entry {', '.join(map(str, empty))} of {len(config.hot_words)} is empty; leave it out")
    if unwritable:
        raise DataError(
            f"{_list_unwritable(unwritable)}, which the vocabulary ({tokenizer.describe()}) cannot write; write hot "
            "words as they are pronounced, in the vocabulary's characters, or leave these out"
        )
    return list(found.values())


def hot_word_problems(config: SearchConfig, tokenizer: Tokenizer | None) -> Iterator[Problem]:
    """Find why hot words cannot come out of a model, before it is run.

    Args:
        config: of the search.
        tokenizer: of its head; None where it has none, and nothing is checked.

    Yields:
        A problem with the key relative to the section.
    """
    if config.decoder == "greedy" or tokenizer is None:
        return
    try:
        find_hot_words(config, tokenizer)
    except DataError as error:
        yield Problem("hot_words", "unusable", str(error))


def describe_hot_words(config: SearchConfig, tokenizer: Tokenizer | None) -> Iterator[str]:
    """Describe the hot words of a search.

    Args:
        config: of the search, without ``hot_word_problems``.
        tokenizer: of the head.

    Yields:
        A sentence, if there are hot words that are used.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> config = SearchConfig(decoder="beam", hot_words=["seven", "NINE"])
        >>> list(describe_hot_words(config, CharTokenizer(("<pad>", *"EINSV"))))
        ['hot words: SEVEN (for seven), NINE']
    """
    if config.decoder == "greedy" or tokenizer is None:
        return
    words = find_hot_words(config, tokenizer)
    shown = [word.texts[0] + f" (for {word.given})" * (word.texts[0] != word.given) for word in words[:_MOST_NAMED]]
    rest = f", and {len(words) - len(shown):,} more" if len(shown) < len(words) else ""
    if shown:
        yield f"hot words: {', '.join(shown)}{rest}"


def _list_unwritable(unwritable: dict[str, list[str]]) -> str:
    named = [f"{entry!r} needs {', '.join(map(repr, missing))}" for entry, missing in unwritable.items()]
    rest = len(named) - _MOST_NAMED
    return "; ".join(named[:_MOST_NAMED]) + (f"; and {rest:,} more need characters" if rest > 0 else "")


@dataclass(frozen=True)
class _Writer:
    """What a vocabulary can write, by what its tokens add to a text."""

    tokenizer: Tokenizer

    @cached_property
    def _pieces(self) -> frozenset[str]:
        return frozenset(as_spaces(piece) for piece in self.tokenizer.pieces if piece)

    @cached_property
    def _characters(self) -> frozenset[str]:
        # A tokenizer that only reads does not say what it could write.
        return self.tokenizer.characters or frozenset("".join(self._pieces))

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._pieces), default=0)

    def normalize(self, entry: str) -> str:
        if self.tokenizer.unit == "phoneme":
            return self.tokenizer.to_judged(entry)
        return self.tokenizer.to_pieces(self.tokenizer.to_judged(normalize_text(entry, self._characters)))

    def missing(self, text: str) -> list[str]:
        """Return the characters of a text, or phonemes, for which there is no token; none where tokens can write it."""
        if self.tokenizer.unit == "phoneme":
            return [phoneme for phoneme in dict.fromkeys(text.split()) if f" {phoneme}" not in self._pieces]
        if outside := [letter for letter in dict.fromkeys(text) if letter not in self._known]:
            return outside
        # A letter may be in longer tokens alone, which fit some of its neighbours only.
        reached = self._reach(text)
        return [] if reached == len(text) else [text[reached]]

    @cached_property
    def _known(self) -> frozenset[str]:
        return self._characters | self._pieces

    def _reach(self, text: str) -> int:
        """Number of a text's letters that tokens can write in a row."""
        padded, reached = f" {text}", {0, 1}  # The first token may start a word, or not.
        for begin in range(len(padded)):
            if begin in reached:
                ends = range(begin + 1, min(begin + self._longest, len(padded)) + 1)
                reached.update(end for end in ends if padded[begin:end] in self._pieces)
        return max(reached) - 1

    def spellings(self, text: str) -> Iterable[str]:
        """Return the text, and its composed and decomposed forms where the vocabulary has these too."""
        forms = (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD")))
        return [form for form in dict.fromkeys(forms) if not self.missing(form)]
