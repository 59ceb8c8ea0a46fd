"""Hugging Face's files of a CTC vocabulary, both ways: ``vocab.json`` and what stands beside it.

``tokenizer_config.json`` names the class and its settings; older folders have ``special_tokens_map.json`` and
``added_tokens.json`` in place of some of them. Decoded texts are those of transformers, its pipeline's among them: a
vocabulary of characters writes special tokens other than the blank where a model emits them. Phones leave them out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.text.characters import SENTENCE_TOKENS, CharTokenizer
from bigfoot.text.json_fields import Flag, is_whole, quote
from bigfoot.text.json_files import read_json_if_there, write_json
from bigfoot.text.phones import PhoneTokenizer
from bigfoot.text.tokenizer import name_unused

CHARACTERS, PHONES = "Wav2Vec2CTCTokenizer", "Wav2Vec2PhonemeCTCTokenizer"
_CHARACTER_CLASSES = (CHARACTERS, "Wav2Vec2Tokenizer")
VOCABULARY_FILE = "vocab.json"
_HIGHEST_ID = 1_000_000
MAX_VOCABULARY_BYTES = 16 * 2**20
"""A file with a vocabulary for each of a thousand languages has some millions."""
_ADDITIONAL = ("additional_special_tokens", "extra_special_tokens")

log = logging.getLogger("bigfoot")


@dataclass(frozen=True)
class _Vocabulary:
    """Tokens by id, and those behind ``vocab.json`` that stand for no text."""

    tokens: tuple[str, ...]
    silent: tuple[str, ...] = field(default=())


def _read_file(folder: Path) -> dict[str, Any]:
    return read_json_if_there(folder / VOCABULARY_FILE, MAX_VOCABULARY_BYTES)


def list_vocabularies(folder: Path) -> list[str]:
    """List the languages of a ``vocab.json`` that holds one vocabulary a language; empty where it holds just one.

    Args:
        folder: with the file; it may be absent.

    Raises:
        ModelError: the file is not JSON.
    """
    return sorted(name for name, value in _read_file(folder).items() if isinstance(value, dict))


def load_vocabulary(
    folder: Path, head_size: int | None = None, language: str | None = None
) -> CharTokenizer | PhoneTokenizer | None:
    """Read the vocabulary of a folder.

    Args:
        folder: with ``vocab.json`` and its settings.
        head_size: rows of the CTC head, where it is known: tokens that were added behind the vocabulary and have no
            row there are left out, since no model can write them.
        language: of several that the file has a vocabulary for each of.

    Returns:
        The tokenizer; None without a vocabulary, or for a class of tokenizers that bigfoot does not have.

    Raises:
        ModelError: a file is not JSON, or the vocabulary is not one flat list of tokens.
    """
    path, vocab = folder / VOCABULARY_FILE, _read_file(folder)
    if language is not None and isinstance(vocab.get(language), dict):
        vocab = vocab[language]
    if not vocab:
        return None
    if any(isinstance(value, dict) for value in vocab.values()):
        shown = ", ".join(quote(name) for name in sorted(vocab)[:5])
        raise ModelError(
            f"{path}: one vocabulary a language ({shown}, ...); bake one in first: bigfoot convert {folder} OUT "
            "--language LANG"
        )
    settings = read_json_if_there(folder / "special_tokens_map.json")
    settings |= read_json_if_there(folder / "tokenizer_config.json")
    kind = _class_of(settings)
    if kind not in (*_CHARACTER_CLASSES, PHONES):
        log.warning("%s: a %s, which bigfoot does not have: no text can be made of its logits", folder, quote(kind))
        return None
    try:
        settings |= _object(settings, "model_specific_special_tokens")
        added = read_json_if_there(folder / "added_tokens.json")
        vocabulary = _join_tokens(vocab, settings, added, head_size)
        return (_read_phones if kind == PHONES else _read_characters)(vocabulary, settings)
    except ValueError as error:
        raise ModelError(f"{path}: not a CTC vocabulary ({error})") from error


def _class_of(settings: Mapping[str, Any]) -> object:
    named = settings.get("tokenizer_class")
    if named is None:
        return PHONES if "phonemizer_lang" in settings else CHARACTERS
    # The Python and the Rust one of a pair differ in this ending.
    return named.removesuffix("Fast") if isinstance(named, str) else named


def _read_characters(vocabulary: _Vocabulary, settings: Mapping[str, Any]) -> CharTokenizer:
    return CharTokenizer(
        vocabulary.tokens,
        blank_token=_token(settings, "pad_token", "<pad>"),
        word_delimiter=_token(settings, "word_delimiter_token", "|"),
        unknown_token=_token(settings, "unk_token", "<unk>"),
        silent=vocabulary.silent,
        lower_case=_flag(settings, "do_lower_case", False),
        space=_text(settings, "replace_word_delimiter_char", " "),
        cleans_up=_flag(settings, "clean_up_tokenization_spaces", False),
    )


def _read_phones(vocabulary: _Vocabulary, settings: Mapping[str, Any]) -> PhoneTokenizer:
    return PhoneTokenizer(
        vocabulary.tokens,
        voice=_text(settings, "phonemizer_lang", "en-us"),
        blank_token=_token(settings, "pad_token", "<pad>"),
        unknown_token=_token(settings, "unk_token", "<unk>"),
        word_delimiter=_token(settings, "word_delimiter_token", ""),
        phone_delimiter=_token(settings, "phone_delimiter_token", " "),
        silent=vocabulary.silent,
        pronounces=_flag(settings, "do_phonemize", True),
    )


def _join_tokens(
    vocab: Mapping[str, Any], settings: Mapping[str, Any], added: Mapping[str, Any], head_size: int | None
) -> _Vocabulary:
    """Join the vocabulary with tokens that were added behind it; where both have an id, the vocabulary's counts."""
    by_id: dict[int, str] = {}
    for token, value in vocab.items():
        if (other := by_id.setdefault(_id(value), token)) != token:
            raise ValueError(f"{quote(other)} and {quote(token)} share an id, {value}: give one of them another")
    special = _special_tokens(settings)
    behind: dict[int, str] = {_id(index): token for token, index in added.items()}
    for key, entry in _object(settings, "added_tokens_decoder").items():
        token = _content(entry, "added_tokens_decoder")
        behind[_id(key)] = token
        if isinstance(entry, dict) and entry.get("special") is True:
            special.add(token)
    for index, token in behind.items():
        if token not in vocab and index not in by_id and (head_size is None or index < head_size):
            by_id[index] = token
    # An id without a token is a logit that never was trained; the name keeps the ids behind it in place.
    tokens = [by_id.get(index, name_unused(index)) for index in range(max(by_id) + 1)]
    delimiter, unknown = _token(settings, "word_delimiter_token", "|"), _token(settings, "unk_token", "<unk>")
    if len(by_id) < len(tokens) and unknown not in tokens and settings.get("unk_token", unknown) is not None:
        # transformers reads such an id as the unknown token, even one that has no id of its own.
        tokens[next(index for index in range(len(tokens)) if index not in by_id)] = unknown
    named = {_token(settings, "pad_token", "<pad>"), unknown, delimiter}
    bracketed = {token for token in special if token.startswith("<") and token.endswith(">")}
    return _Vocabulary(tuple(tokens), tuple(sorted((special - named - bracketed) & set(tokens))))


def _special_tokens(settings: Mapping[str, Any]) -> set[str]:
    """Return the tokens that stand for no text by the settings."""
    special = {token for name in ("bos_token", "eos_token") if (token := _token(settings, name, ""))}
    for name in _ADDITIONAL:
        listed = settings.get(name) or []
        if not isinstance(listed, list | dict):
            raise ValueError(f"{name} {quote(listed)} should list tokens")
        special |= {_content(entry, name) for entry in (listed.values() if isinstance(listed, dict) else listed)}
    return special


def _id(value: object) -> int:
    index = int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else value
    if not isinstance(index, int) or not is_whole(index):
        raise ValueError(f"{quote(value)} is no id of a token")
    if index > _HIGHEST_ID:
        raise ValueError(f"an id of {quote(index)}, beyond all vocabularies")
    return index


def _object(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = settings.get(name) or {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} {quote(value)} should be an object")
    return value


def _content(value: object, name: str) -> str:
    # Older files hold {"content": "<pad>", "lstrip": false, ...} instead of "<pad>".
    token = value.get("content") if isinstance(value, dict) else value
    if not isinstance(token, str):
        raise ValueError(f"{name} {quote(value)} should be a token")
    return token


def _token(settings: Mapping[str, Any], name: str, default: str) -> str:
    """Return a token that the settings name, the class's own where they do not, none where they hold null."""
    if name not in settings:
        return default
    # transformers 5 writes a delimiter that is none as a word.
    if settings[name] is None or (settings[name] == "None" and name == "word_delimiter_token"):
        if name == "pad_token":
            # transformers would write the blank, whichever token it is, into every text.
            raise ValueError(f"pad_token is null, and names CTC's blank; set it to that token, mostly {default}")
        # Nothing is lost where nothing is unknown.
        return default if name == "unk_token" else ""
    return _content(settings[name], name)


def _text(settings: Mapping[str, Any], name: str, default: str) -> str:
    value = settings.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} {quote(value)} should be a text")
    return value


def _flag(settings: Mapping[str, Any], name: str, default: bool) -> bool:
    value = settings.get(name, default)
    if problem := Flag(optional=True).problem(name, value):
        raise ValueError(problem)
    return bool(value)


def save_vocabulary(tokenizer: CharTokenizer | PhoneTokenizer, folder: Path, more: Mapping[str, Any]) -> None:
    """Write the files from which ``load_vocabulary`` and transformers make the same tokenizer.

    Args:
        tokenizer: what to write.
        folder: the model folder.
        more: further settings.
    """
    own = _phone_settings(tokenizer) if isinstance(tokenizer, PhoneTokenizer) else _character_settings(tokenizer)
    # Hugging Face appends tokens that are named and that it does not find, so the absent ones are null.
    known = tokenizer.vocabulary
    begin, end = (token if token in known else None for token in SENTENCE_TOKENS)
    settings: dict[str, Any] = {
        "pad_token": tokenizer.blank_token,
        "unk_token": tokenizer.unknown_token if tokenizer.unknown_token in known else None,
        "bos_token": begin,
        "eos_token": end,
        "clean_up_tokenization_spaces": tokenizer.cleans_up,
    }
    if tokenizer.silent:
        settings["additional_special_tokens"] = list(tokenizer.silent)
    # An id without a token is the unknown one's to transformers, and would be a token of its own if it had a name.
    last = len(known) - 1
    named = {token: index for index, token in enumerate(known) if token != name_unused(index) or index == last}
    write_json(folder / "vocab.json", named)
    write_json(folder / "tokenizer_config.json", own | settings | dict(more))


def _character_settings(tokenizer: CharTokenizer) -> dict[str, Any]:
    return {
        "tokenizer_class": CHARACTERS,
        "word_delimiter_token": tokenizer.word_delimiter or None,
        "replace_word_delimiter_char": tokenizer.space,
        "do_lower_case": tokenizer.lower_case,
    }


def _phone_settings(tokenizer: PhoneTokenizer) -> dict[str, Any]:
    return {
        "tokenizer_class": PHONES,
        "word_delimiter_token": tokenizer.word_delimiter or None,
        "phone_delimiter_token": tokenizer.phone_delimiter,
        "do_phonemize": tokenizer.pronounces,
        "phonemizer_lang": tokenizer.voice,
        "phonemizer_backend": "espeak",
    }
