"""Scores of words in a search: a language model, a lexicon, a bonus a word, hot words."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from bigfoot.errors import DataError, MissingExtraError
from bigfoot.storage.remote import fetch
from bigfoot.text.ngram import UNKNOWN, read_arpa_words


class LanguageModel(Protocol):
    """Probabilities of words; a state stands for the words before."""

    def start(self) -> Any:  # noqa: ANN401 - whatever the model takes for a state
        """Return the state at the start of a sentence."""
        ...

    def score_word(self, state: Any, word: str) -> tuple[Any, float]:  # noqa: ANN401
        """Return the state behind a word, and the word's log probability in nats."""
        ...

    def score_end(self, state: Any) -> float:  # noqa: ANN401
        """Log probability, in nats, that the sentence ends."""
        ...


class KenLM:
    """An n-gram model in KenLM's memory, by flashlight-text.

    Args:
        path: ARPA file, or KenLM's binary.
        words: that may be scored; those that the model lacks are its ``<unk>``.
        write: turns a word into the search's own form.

    Raises:
        DataError: there is no such file, or it is no model.
        MissingExtraError: the extra ``[lm]`` is not installed.
    """

    def __init__(self, path: str | Path, words: Iterable[str], write: Callable[[str], str] = str) -> None:
        try:
            from flashlight.lib.text.decoder.kenlm import KenLM as Library
            from flashlight.lib.text.dictionary import Dictionary
        except ImportError as error:
            raise MissingExtraError("lm", "flashlight-text") from error
        if not Path(path).is_file():
            raise DataError(f"{path}: no such language model; tools/train_ngram.py makes one from a text file")
        dictionary = Dictionary()
        self._indices: dict[str, int] = {}
        for index, word in enumerate(dict.fromkeys((UNKNOWN, *words))):
            dictionary.add_entry(word)
            self._indices.setdefault(write(word), index)
        try:
            self._model = Library(str(path), dictionary)
        except RuntimeError as error:
            raise DataError(f"{path}: KenLM cannot read it ({str(error).strip().splitlines()[-1]})") from error

    def start(self) -> Any:  # noqa: ANN401
        """Return the state at the start of a sentence."""
        return self._model.start(False)

    def score_word(self, state: Any, word: str) -> tuple[Any, float]:  # noqa: ANN401
        """See ``LanguageModel.score_word``."""
        after, score = self._model.score(state, self._indices.get(word, 0))
        return after, score * math.log(10)

    def score_end(self, state: Any) -> float:  # noqa: ANN401
        """See ``LanguageModel.score_end``."""
        return float(self._model.finish(state)[1]) * math.log(10)


@dataclass(frozen=True)
class WordValues:
    """Scores that a search adds to the acoustic score, word by word.

    Args:
        model: probabilities of words; None for none.
        weight: factor of their logarithms, 0 or more.
        lexicon: the only words that may come out; None for any.
        word_bonus: for every word, positive where too few come out.
        hot_words: words and phrases that are likelier here than elsewhere, in the vocabulary's own characters; see
            ``PhraseAutomaton``.
        hot_word_bonus: for each time that one of them comes out, in nats, 0 or more.

    Examples:
        >>> values = WordValues(lexicon=("SEVEN",), word_bonus=0.5)
        >>> values.prefix_bonus("SEV"), values.prefix_bonus("SO"), values.ended("SEVEN"), values.ended("SEV")
        (0.0, -inf, 0.5, -inf)
    """

    model: LanguageModel | None = None
    weight: float = 0.0
    lexicon: Collection[str] | None = None
    word_bonus: float = 0.0
    hot_words: Sequence[str] = ()
    hot_word_bonus: float = 0.0

    @cached_property
    def _words(self) -> frozenset[str] | None:
        # Hot words may come out even where the lexicon lacks them.
        if self.lexicon is None:
            return None
        return frozenset(self.lexicon).union(*(phrase.split() for phrase in self.hot_words))

    @cached_property
    def _prefixes(self) -> frozenset[str] | None:
        if self._words is None:
            return None
        return frozenset(word[:length] for word in self._words for length in range(len(word) + 1))

    def prefix_bonus(self, part: str) -> float:
        """Return the bonus of an unfinished word: 0, and minus infinity where no word of the lexicon starts with it."""
        return -math.inf if self._prefixes is not None and part not in self._prefixes else 0.0

    def ended(self, word: str) -> float:
        """Return the bonus of a whole word, without the language model's score; minus infinity outside the lexicon."""
        return -math.inf if self._words is not None and word not in self._words else self.word_bonus


def read_lexicon(lexicon: str | None, model: str | None) -> list[str] | None:
    """Find the words that may come out.

    Args:
        lexicon: file with a word a line, what stands behind it ignored; None for the words of the model.
        model: ARPA file or KenLM's binary; None for no model.

    Returns:
        The words; None where neither lists any.

    Raises:
        DataError: a file is missing or no UTF-8, or the model is a binary, whose words cannot be listed.
    """
    if lexicon is not None:
        path = fetch(lexicon).expanduser()
        if not path.is_file():
            raise DataError(f"{path}: no such lexicon; it has a word a line")
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as a lexicon, in UTF-8 with a word a line ({error})") from error
        return [line.split()[0] for line in text.splitlines() if line.strip()]
    if model is None:
        return None
    try:
        return read_arpa_words(model)
    except DataError as error:
        cure = "a binary model does not list its words: name them in evaluate.lexicon"
        raise DataError(f"{error}; {cure}" if Path(model).is_file() else str(error)) from error
