"""Characters as a vocabulary, and the files in which a model folder says what lies around its model.

Pure Python and JSON, so that a deployed model needs no transformers to be understood.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from bigfoot.errors import ModelError
from bigfoot.text.json_fields import Flag, Rule, SampleRate, find_problems
from bigfoot.text.json_files import read_json_if_there, write_json
from bigfoot.text.saving import load_tokenizer, save_tokenizer
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.types import SAMPLE_RATE, Hertz

_HIGHEST_ID = 1_000_000
_SENTENCE_TOKENS = ("<s>", "</s>")
_DECODER_FOLDER = "decoder_tokenizer"
_EXTRACTOR: dict[str, Rule] = {
    "sampling_rate": SampleRate(), "do_normalize": Flag(optional=True), "return_attention_mask": Flag(optional=True)
}  # fmt: skip


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """A vocabulary of characters under CTC.

    Args:
        vocabulary: token by id, every token once.
        blank_token: CTC's blank, Hugging Face's ``pad_token``; must be in the vocabulary.
        word_delimiter: stands for the space between words.
        unknown_token: stands for characters outside; never written into labels, for a model would learn to emit it.

    Raises:
        ValueError: a token stands twice, or the blank is missing.

    Example:
        >>> tokenizer = CharTokenizer(("<pad>", "|", "A", "B"))
        >>> tokenizer.encode("AB A")
        [2, 3, 1, 2]
        >>> tokenizer.decode_ctc([2, 2, 0, 2, 1, 3])
        'AA B'
    """

    vocabulary: tuple[str, ...]
    blank_token: str = "<pad>"
    word_delimiter: str = "|"
    unknown_token: str = "<unk>"
    kind: ClassVar[str] = "characters"

    def __post_init__(self) -> None:
        """Refuse a vocabulary with which decoding would be ambiguous."""
        if len(set(self.vocabulary)) != len(self.vocabulary):
            twice = sorted({token for token in self.vocabulary if self.vocabulary.count(token) > 1})
            raise ValueError(f"the vocabulary holds tokens twice: {twice}")
        if self.blank_token not in self.vocabulary:
            raise ValueError(
                f"the blank {self.blank_token!r} is not among the vocabulary's {len(self.vocabulary)} tokens"
            )

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """What each id adds to a decoded text; nothing for blank and specials."""
        return tuple(
            "" if self._is_special(token) else " " if token == self.word_delimiter else token
            for token in self.vocabulary
        )

    def _is_special(self, token: str) -> bool:
        bracketed = len(token) > 2 and token[0] == "<" and token[-1] == ">"
        return bracketed or token in (self.blank_token, self.unknown_token)

    @cached_property
    def blank_id(self) -> int:
        """Id of CTC's blank."""
        return self._ids[self.blank_token]

    @cached_property
    def characters(self) -> frozenset[str]:
        """What a text may hold: single characters, with the space where there is a word delimiter."""
        return frozenset(piece for piece in self.pieces if len(piece) == 1)

    def find_in(self, other: Tokenizer) -> list[int]:
        """Where another vocabulary has each token of this one.

        Args:
            other: with the same tokens and perhaps more, in any order; blank, delimiter and unknown token may have
                other names there.

        Returns:
            Its id for each of ours.

        Raises:
            ValueError: it lacks a token.

        Example:
            >>> CharTokenizer(("<pad>", "|", "A")).find_in(CharTokenizer(("A", "-", "|"), blank_token="-"))
            [1, 2, 0]
        """
        if not isinstance(other, CharTokenizer):
            return super().find_in(other)
        names = {self.blank_token: other.blank_token, self.word_delimiter: other.word_delimiter,
                 self.unknown_token: other.unknown_token}  # fmt: skip
        wanted = [names.get(token, token) for token in self.vocabulary]
        if missing := sorted(set(wanted) - set(other.vocabulary)):
            raise ValueError(f"the other vocabulary has no {', '.join(map(repr, missing))}")
        return [other._ids[token] for token in wanted]

    def unknown_characters(self, text: str) -> set[str]:
        """Characters of a text that the vocabulary cannot spell.

        Example:
            >>> sorted(CharTokenizer(("<pad>", "|", "A")).unknown_characters("A1 A!"))
            ['!', '1']
        """
        return set(text) - self.characters

    def encode(self, text: str) -> list[int]:
        """Spell a text as label ids.

        Args:
            text: characters of the vocabulary, spaces between words.

        Returns:
            One id a character.

        Raises:
            ValueError: with the characters outside the vocabulary.
        """
        if unknown := self.unknown_characters(text):
            raise ValueError(f"characters outside the vocabulary: {' '.join(map(repr, sorted(unknown)))} in {text!r}")
        space = self.word_delimiter if self.word_delimiter in self._ids else " "
        return [self._ids[space if character == " " else character] for character in text]

    def fits(self, head_size: int) -> bool:
        """Whether a head can be this vocabulary's; it may have rows that no vocabulary names, never trained."""
        return len(self) <= head_size


def build_char_tokenizer(texts: Iterable[str]) -> CharTokenizer:
    """Make the vocabulary of a set of transcripts.

    Args:
        texts: normalized transcripts.

    Returns:
        ``<pad>`` as 0, then ``<s>``, ``</s>``, ``<unk>``, ``|`` and the characters in order of code point.

    Example:
        >>> build_char_tokenizer(["BA", "A C"]).vocabulary
        ('<pad>', '<s>', '</s>', '<unk>', '|', 'A', 'B', 'C')
    """
    characters = {character for text in texts for character in text} - {" ", "|"}
    return CharTokenizer(("<pad>", *_SENTENCE_TOKENS, "<unk>", "|", *sorted(characters)))


@dataclass(frozen=True)
class Processor:
    """What lies around a model: how audio goes in, how ids come out as text.

    Args:
        tokenizer: None where the folder has no vocabulary, as of a model without a CTC head.
        do_normalize: every utterance is brought to zero mean and unit variance.
        sample_rate: of the audio in Hz.
        return_attention_mask: whether Hugging Face's own class is to give a mask; bigfoot always does.
        decoder_tokenizer: of a decoder that has tokens of its own; None where it has the CTC head's, or there is none.
    """

    tokenizer: Tokenizer | None = None
    do_normalize: bool = True
    sample_rate: Hertz = SAMPLE_RATE
    return_attention_mask: bool = False
    decoder_tokenizer: Tokenizer | None = None


def load_processor(folder: str | Path) -> Processor:
    """Read the Hugging Face files of a model folder, old layout or new.

    Args:
        folder: with ``vocab.json``, ``tokenizer_config.json`` or ``special_tokens_map.json``, and
            ``preprocessor_config.json`` or ``processor_config.json``; whichever of them exist. Tokenizers other than
            of characters have ``bigfoot_tokenizer.json``.

    Returns:
        The processor; without a vocabulary its tokenizer is None, and what no file says has its default.

    Raises:
        ModelError: a file is not JSON, or the vocabulary is not one flat list of tokens.
    """
    folder = Path(folder)
    # transformers 5 nests the feature extractor in processor_config.json and prefers it there.
    settings = read_json_if_there(folder / "processor_config.json").get("feature_extractor")
    settings = settings or read_json_if_there(folder / "preprocessor_config.json")
    given = {name: settings[name] for name in _EXTRACTOR if name in settings} if isinstance(settings, dict) else {}
    if not isinstance(settings, dict) or (problems := list(find_problems(given, _EXTRACTOR))):
        said = "; ".join(problems) if isinstance(settings, dict) else "feature_extractor should be an object"
        raise ModelError(f"{folder}: in preprocessor_config.json or processor_config.json, {said}")
    return Processor(
        tokenizer=load_tokenizer(folder) or _load_characters(folder),
        do_normalize=bool(given.get("do_normalize", True)),
        sample_rate=given.get("sampling_rate", SAMPLE_RATE),
        return_attention_mask=bool(given.get("return_attention_mask", False)),
        decoder_tokenizer=load_tokenizer(folder / _DECODER_FOLDER),
    )


def _load_characters(folder: Path) -> CharTokenizer | None:
    path = folder / "vocab.json"
    vocab = read_json_if_there(path)
    if not vocab:
        return None
    if any(isinstance(value, dict) for value in vocab.values()):
        raise ModelError(
            f"{path}: one vocabulary a language ({', '.join(sorted(vocab)[:5])}, ...); "
            "save the one language's vocabulary as a flat {token: id} there"
        )
    settings = read_json_if_there(folder / "special_tokens_map.json")
    settings |= read_json_if_there(folder / "tokenizer_config.json")
    try:
        return CharTokenizer(
            _tokens_by_id(vocab, settings, read_json_if_there(folder / "added_tokens.json")),
            blank_token=_token(settings.get("pad_token")) or "<pad>",
            word_delimiter=_token(settings.get("word_delimiter_token")) or "|",
            unknown_token=_token(settings.get("unk_token")) or "<unk>",
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a CTC vocabulary ({error})") from error


def _tokens_by_id(vocab: dict[str, Any], settings: dict[str, Any], added: dict[str, Any]) -> tuple[str, ...]:
    """Join the vocabulary with tokens that older fine-tuning scripts added behind it."""
    by_id = {int(index): _token(token) or "" for index, token in settings.get("added_tokens_decoder", {}).items()}
    by_id |= {int(index): token for token, index in added.items()}
    named = {int(index): token for token, index in vocab.items()}
    if len(named) != len(vocab):
        raise ValueError("two tokens share an id")
    by_id = {index: token for index, token in by_id.items() if token not in vocab} | named
    if max(by_id) > _HIGHEST_ID:
        raise ValueError(f"an id of {max(by_id)}, beyond all vocabularies")
    # An id without a token is a logit that never was trained; the name keeps the ids behind it in place.
    return tuple(by_id.get(index, f"<unused{index}>") for index in range(max(by_id) + 1))


def _token(value: str | dict[str, str] | None) -> str | None:
    # Older files hold {"content": "<pad>", "lstrip": false, ...} instead of "<pad>".
    return value.get("content") if isinstance(value, dict) else value


def save_processor(processor: Processor, folder: str | Path) -> None:
    """Write the files from which ``load_processor`` and transformers, old or new, make the same processor.

    Args:
        processor: what to write.
        folder: the model folder; made where missing.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> processor = Processor(CharTokenizer(("<pad>", "|", "A")), do_normalize=False)
        >>> save_processor(processor, folder)
        >>> load_processor(folder) == processor
        True
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if processor.decoder_tokenizer is not None:
        (folder / _DECODER_FOLDER).mkdir(exist_ok=True)
        save_tokenizer(processor.decoder_tokenizer, folder / _DECODER_FOLDER)
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": processor.sample_rate,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": processor.do_normalize,
        "return_attention_mask": processor.return_attention_mask,
    }
    if processor.tokenizer is None:
        write_json(folder / "preprocessor_config.json", extractor)
        return
    if not isinstance(processor.tokenizer, CharTokenizer):
        # transformers' class for CTC spells by characters: a vocab.json would make it write other text in silence.
        write_json(folder / "preprocessor_config.json", extractor)
        save_tokenizer(processor.tokenizer, folder)
        return
    named = {"processor_class": "Wav2Vec2Processor"}
    write_json(folder / "preprocessor_config.json", extractor | named)
    write_json(folder / "processor_config.json", {"feature_extractor": extractor} | named)
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(processor.tokenizer.vocabulary)})
    write_json(folder / "tokenizer_config.json", _tokenizer_settings(processor.tokenizer) | named)


def _tokenizer_settings(tokenizer: CharTokenizer) -> dict[str, Any]:
    # Hugging Face appends tokens it is told of and does not find, so the absent ones are null.
    begin, end = (token if token in tokenizer.vocabulary else None for token in _SENTENCE_TOKENS)
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "pad_token": tokenizer.blank_token,
        "unk_token": tokenizer.unknown_token if tokenizer.unknown_token in tokenizer.vocabulary else None,
        "bos_token": begin,
        "eos_token": end,
        "word_delimiter_token": tokenizer.word_delimiter,
        "replace_word_delimiter_char": " ",
        "do_lower_case": False,
        # Would rewrite " 's" and the like, so that the same ids gave another text.
        "clean_up_tokenization_spaces": False,
    }
