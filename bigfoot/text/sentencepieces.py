"""Pieces of words by sentencepiece: learned from transcripts, encoded by its package, decoded without it."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from bigfoot.errors import DataError, MissingExtraError, ModelError
from bigfoot.text.tokenizer import SPECIALS, Tokenizer, is_special

MODEL_FILE = "tokenizer.model"
_WORD_START = "\u2581"


@dataclass(frozen=True)
class SentencePieceTokenizer(Tokenizer):
    """Pieces of words: a unigram model (Kudo, 2018) or byte-pair encoding (Sennrich et al., 2016).

    Only ``encode`` needs the package sentencepiece; a deployed model reads its pieces without.

    Args:
        vocabulary: piece by id, with sentencepiece's mark where a word starts; ``<pad>`` is the blank.
        algorithm: ``unigram`` or ``bpe``.
        model: sentencepiece's own file.

    Examples:
        >>> tokenizer = train_sentencepiece(["ONE TWO", "TWO TEN", "TEN ONE ONE"], "bpe", vocab_size=16)
        >>> tokenizer.decode(tokenizer.encode("TEN TWO")), tokenizer.blank_id
        ('TEN TWO', 0)
    """

    vocabulary: tuple[str, ...]
    algorithm: str
    model: bytes = field(repr=False)
    kind: ClassVar[str] = "sentencepiece"

    @cached_property
    def _processor(self) -> Any:  # noqa: ANN401 - of a package that need not be there
        package = _import()
        try:
            # An empty file is taken for no file.
            processor = package.SentencePieceProcessor(model_proto=self.model) if self.model else None
        except RuntimeError:
            processor = None
        if processor is None:
            raise ModelError(f"{MODEL_FILE} is no model of sentencepiece's; copy the model folder again")
        return processor

    @property
    def blank_id(self) -> int:
        """Id of ``<pad>``."""
        return self._ids[SPECIALS[0]]

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Pieces as text, a space where a word starts."""
        return tuple("" if is_special(token) else token.replace(_WORD_START, " ") for token in self.vocabulary)

    @cached_property
    def characters(self) -> frozenset[str]:
        """All that stands in a piece."""
        return frozenset("".join(self.pieces)) | {" "}

    def encode(self, text: str) -> list[int]:
        """Tokenize a text; see ``Tokenizer.encode``."""
        if unknown := self.unknown_characters(text):
            raise ValueError(f"characters outside the vocabulary: {' '.join(map(repr, sorted(unknown)))} in {text!r}")
        ids: list[int] = self._processor.encode(text)
        return ids

    def describe(self) -> str:
        """Kind, algorithm and size."""
        return f"sentencepiece {self.algorithm}, {len(self)} tokens"

    def to_files(self) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Pieces and algorithm, and sentencepiece's own file."""
        return {"vocabulary": list(self.vocabulary), "algorithm": self.algorithm}, {MODEL_FILE: self.model}


def _import() -> Any:  # noqa: ANN401
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingExtraError("text", "sentencepiece") from error
    return sentencepiece


def train_sentencepiece(
    texts: Iterable[str], algorithm: str, vocab_size: int, required_characters: Iterable[str] = ()
) -> SentencePieceTokenizer:
    """Learn pieces from texts, deterministically.

    Args:
        texts: normalized lines; empty ones are passed over.
        algorithm: ``unigram`` or ``bpe``.
        vocab_size: tokens in all, the four specials among them.
        required_characters: in vocabulary even where no text holds them, as those of transcripts are when the pieces
            come from elsewhere.

    Returns:
        The tokenizer, ``<pad>`` (the blank), ``<s>``, ``</s>`` and ``<unk>`` first.

    Raises:
        DataError: there is no text, or it does not give so many pieces; sentencepiece's own message gives the number.
        MissingExtraError: the extra ``[text]`` is not installed.
    """
    package, written = _import(), io.BytesIO()
    lines = [text for text in texts if text.strip()]
    if not lines:
        raise DataError("no text to learn pieces from: all transcripts are empty")
    pad, begin, end, unknown = range(4)
    try:
        package.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=written, model_type=algorithm, vocab_size=vocab_size,
            pad_id=pad, bos_id=begin, eos_id=end, unk_id=unknown,
            pad_piece=SPECIALS[pad], bos_piece=SPECIALS[begin], eos_piece=SPECIALS[end], unk_piece=SPECIALS[unknown],
            # Nothing but bigfoot's own normalization: with two of them a text would change twice.
            normalization_rule_name="identity", character_coverage=1.0, max_sentence_length=1 << 20,
            required_chars="".join(sorted(set(required_characters) - {" "})),
            # With several threads the pieces depend on the machine.
            num_threads=1, minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[-1].rpartition("] ")[2]
        raise DataError(f"{vocab_size} sentencepiece tokens cannot be had of {len(lines)} texts: {reason}") from error
    processor = package.SentencePieceProcessor(model_proto=written.getvalue())
    vocabulary = tuple(processor.id_to_piece(index) for index in range(processor.get_piece_size()))
    return SentencePieceTokenizer(vocabulary, algorithm, written.getvalue())
