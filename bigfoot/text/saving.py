"""Tokenizers other than characters in a model folder: one JSON file that names the kind, and what the kind needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.text.huggingface import TOKENIZER_FILE, HuggingFaceTokenizer
from bigfoot.text.json_fields import Flag, OneOf, Rule, Text, find_problems, quote
from bigfoot.text.json_files import read_json_if_there, write_json
from bigfoot.text.phonemes import PhonemeTokenizer
from bigfoot.text.sentencepieces import MODEL_FILE, SentencePieceTokenizer
from bigfoot.text.tokenizer import SPECIALS, Tokenizer

SETTINGS_FILE = "bigfoot_tokenizer.json"
_FIELDS: dict[str, Rule] = {"algorithm": OneOf(("unigram", "bpe")), "voice": Text(), "stress": Flag()}


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer other than of characters.

    Args:
        tokenizer: what to write.
        folder: the model folder.
    """
    settings, files = tokenizer.to_files()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_json(folder / SETTINGS_FILE, {"kind": tokenizer.kind, **settings})


def load_tokenizer(folder: Path) -> Tokenizer | None:
    """Read what ``save_tokenizer`` wrote, or None where it wrote nothing.

    Raises:
        ModelError: the kind is unknown, or a file is missing or damaged.
    """
    file = folder / SETTINGS_FILE
    settings = read_json_if_there(file)
    if not settings:
        return None
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in _READERS:
        raise ModelError(f"{file}: a tokenizer of kind {quote(kind)}; known are {', '.join(_READERS)}")
    vocabulary = settings.get("vocabulary")
    if not isinstance(vocabulary, list) or not all(isinstance(token, str) for token in vocabulary):
        raise ModelError(f"{file}: the vocabulary must be a list of words")
    if problems := list(find_problems(settings, _FIELDS)):
        raise ModelError(f"{file}: {'; '.join(problems)}")
    try:
        tokenizer = _READERS[kind](settings, folder)
    except (KeyError, ValueError, OSError) as error:
        raise ModelError(f"{file}: not a whole tokenizer ({error}); copy the model folder again") from error
    if SPECIALS[0] not in tokenizer.vocabulary or len(set(tokenizer.vocabulary)) != len(tokenizer):
        raise ModelError(f"{file}: the vocabulary must hold {SPECIALS[0]}, and every token once")
    return tokenizer


def _read_sentencepiece(settings: dict[str, Any], folder: Path) -> Tokenizer:
    model = (folder / MODEL_FILE).read_bytes()
    return SentencePieceTokenizer(tuple(settings["vocabulary"]), settings["algorithm"], model)


def _read_phonemes(settings: dict[str, Any], _folder: Path) -> Tokenizer:
    return PhonemeTokenizer(tuple(settings["vocabulary"]), settings["voice"], bool(settings["stress"]))


def _read_huggingface(settings: dict[str, Any], folder: Path) -> Tokenizer:
    content = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
    return HuggingFaceTokenizer(tuple(settings["vocabulary"]), content)


_READERS: dict[str, Callable[[dict[str, Any], Path], Tokenizer]] = {
    SentencePieceTokenizer.kind: _read_sentencepiece,
    PhonemeTokenizer.kind: _read_phonemes,
    HuggingFaceTokenizer.kind: _read_huggingface,
}
