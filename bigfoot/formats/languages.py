"""The languages of a folder of transformers', as MMS has them: a vocabulary, a head and adapters for each.

``vocab.json`` holds one vocabulary a language, ``adapter.LANG.safetensors`` (or ``.bin``) the head's weights and those
of every layer's adapter. One language is read, and what comes of it is a model of that language alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.torch_file import read_state_dict
from bigfoot.formats.weight_files import read_safetensors
from bigfoot.text.json_fields import quote
from bigfoot.text.json_files import read_json_if_there
from bigfoot.text.vocabulary_files import VOCABULARY_FILE, list_vocabularies

ADAPTER_FILES = ("adapter.{}.safetensors", "adapter.{}.bin")
"""Where a language's weights are, by its name; the first that is there is read."""
_MOST_LISTED = 20


class LanguageError(ModelError):
    """A language that a model does not have, or none named where it has several."""


def find_language(folder: Path, wanted: str | None) -> str | None:
    """Find the language of a folder that is to be read.

    Args:
        folder: of transformers'.
        wanted: a language; None where none was named.

    Returns:
        The language; None where the folder has no languages. One that is the only one need not be named.

    Raises:
        LanguageError: the folder has no such language, or several and none was named; what there is is listed.
    """
    known = list_languages(folder)
    if not known and wanted is not None:
        files = " or ".join(each.format("LANG") for each in ADAPTER_FILES)
        raise LanguageError(
            f"{folder}: no languages in it, neither in {VOCABULARY_FILE} nor as {files}; leave the language "
            f"{quote(wanted)} out"
        )
    default = read_json_if_there(folder / "tokenizer_config.json").get("target_lang") if len(known) > 1 else None
    return choose_language(known, wanted, str(folder), default) if known else None


def choose_language(known: Sequence[str], wanted: str | None, source: str, default: object = None) -> str:
    """Choose the language of a model that is to be read.

    Args:
        known: those that it has, at least one.
        wanted: a language; None where none was named. One that is the only one need not be named.
        source: folder or file, for messages.
        default: what its files name, for messages.

    Raises:
        LanguageError: the model has no such language, or several and none was named; what there is is listed.

    Examples:
        >>> choose_language(["eng"], None, "model")
        'eng'
    """
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted is None:
        named = f" (its tokenizer names {quote(default)})" if default in known else ""
        raise LanguageError(
            f"{source} holds {len(known)} languages{named}: {_list(known)}; name one: bigfoot convert {source} OUT "
            "--language LANG, teacher.language in a configuration, or load_model(..., language=...)"
        )
    if wanted not in known:
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
        meant = f"did you mean {close[0]}? " if close else ""
        raise LanguageError(f"{source}: no language {quote(wanted)}; {meant}there are {len(known)}: {_list(known)}")
    return wanted


def list_languages(folder: Path) -> list[str]:
    """List the languages of a folder: those that have a vocabulary and, where there are such files, weights.

    Args:
        folder: of transformers'.

    Raises:
        ModelError: ``vocab.json`` cannot be read.
    """
    vocabularies, weights = list_vocabularies(folder), _list_files(folder)
    both = set(vocabularies) & set(weights)
    return sorted(both or vocabularies or weights)


def _list_files(folder: Path) -> list[str]:
    kinds = [each.split("{}") for each in ADAPTER_FILES]
    names = [file.name for file in folder.glob("adapter.*") if file.is_file()]
    found = {
        name.removeprefix(before).removesuffix(after)
        for name in names
        for before, after in kinds
        if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)
    }
    return sorted(found)


def list_other_files(folder: Path, language: str) -> list[Path]:
    """List the files with weights of a folder's other languages.

    Args:
        folder: of transformers'.
        language: whose weights are not listed.
    """
    others = [name for name in _list_files(folder) if name != language]
    return [folder / each.format(name) for each in ADAPTER_FILES for name in others]


def _list(known: Sequence[str]) -> str:
    more = f", ... (and {len(known) - _MOST_LISTED} more)" if len(known) > _MOST_LISTED else ""
    return ", ".join(quote(each)[1:-1] for each in known[:_MOST_LISTED]) + more


def find_language_file(folder: Path, language: str) -> Path | None:
    """Find the file with the weights of a language.

    Args:
        folder: of transformers'.
        language: of ``find_language``.

    Returns:
        None where the folder's own weights are that language's, as of a model fine-tuned on one.

    Raises:
        ModelError: the folder has several languages, and no weights of this one.
    """
    names = [each.format(language) for each in ADAPTER_FILES]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None and len(list_vocabularies(folder)) > 1:
        raise ModelError(f"{folder}: the weights of {quote(language)} are not in it; fetch {' or '.join(names)}")
    return found


def read_language(file: Path) -> dict[str, Tensor]:
    """Read the weights of a language: of its head, and of the adapters where layers have them.

    Args:
        file: of ``find_language_file``; a pickle runs no code.

    Raises:
        ModelError: it cannot be read, or holds anything else.
    """
    tensors = read_safetensors(file) if file.suffix == ".safetensors" else read_state_dict(file)
    if strange := sorted(name for name in tensors if not is_of_language(name)):
        raise ModelError(f"{file}: a language has weights of its head and adapters, and this file {quote(strange[0])}")
    return tensors


def is_of_language(name: str) -> bool:
    """Return whether a tensor of a model is one of those that each language has of its own."""
    return name.startswith("lm_head.") or ".adapter_layer." in name
