"""fairseq's dictionary of a CTC head, and our vocabulary.

A file ``dict.ltr.txt`` has a symbol and its count on each line::

    | 94802
    E 51860

Four symbols stand before those of the file: ``<s>``, ``<pad>``, ``</s>``, ``<unk>``. CTC's blank is the first, ``<s>``;
our blank is called ``<pad>``, and so the two exchange names. Rows of the head stay where they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.formats.safe_pickle import Record
from bigfoot.text.tokenizers import CharTokenizer

_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
_OURS = ("<pad>", "<s>", "</s>", "<unk>")
_DELIMITER = "|"


def find_dictionary(
    checkpoint: Path, content: Mapping[str, object], labels: object, given: Path | None
) -> CharTokenizer | None:
    """Find the vocabulary of a checkpoint: a given file, else one beside it, else what the checkpoint itself holds.

    Where it holds several languages, what lies beside it comes last: it is of one of them at most.

    Args:
        checkpoint: the file.
        content: what it holds.
        labels: the task's, of which the dictionary is called (``ltr``).
        given: the dictionary file, where one was named.

    Returns:
        The vocabulary; None where there is none to be found.

    Raises:
        ModelError: a dictionary that cannot be read.
    """
    named = [labels] if isinstance(labels, str) else list(labels) if isinstance(labels, list | tuple) else []
    names = [f"dict.{label}.txt" for label in [*named, "ltr"] if isinstance(label, str) and "/" not in label]
    beside = [checkpoint.parent / name for name in names if (checkpoint.parent / name).is_file()]
    if given is None and (content.get("adapter") or not beside):
        inside = _symbols_inside(checkpoint, content)
        if inside is not None:
            return _tokenizer(inside, str(checkpoint))
    file = given if given is not None else next(iter(beside), None)
    return None if file is None else _tokenizer([*_SPECIALS, *_read_symbols(file)], str(file))


def _symbols_inside(checkpoint: Path, content: Mapping[str, object]) -> list[str] | None:
    state = content.get("task_state")
    record = state.get("target_dictionary") if isinstance(state, Mapping) else None
    if not isinstance(record, Record) or not isinstance(symbols := record.state.get("symbols"), list):
        return None
    if tuple(symbols[:4]) != _SPECIALS or not all(isinstance(symbol, str) for symbol in symbols):
        raise ModelError(f"{checkpoint}: the dictionary in it does not start with {', '.join(_SPECIALS)}")
    return symbols


def _read_symbols(file: Path) -> list[str]:
    try:
        # Lines end as fairseq reads them: a symbol may be another separator. A byte order mark is no symbol.
        lines = file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
    symbols = []
    for number, line in enumerate(lines, 1):
        # A symbol that stands among the four as well is marked so.
        symbol, _, count = line.removesuffix(" #fairseq:overwrite").rstrip().rpartition(" ")
        if not symbol or not count.isdecimal():
            raise ModelError(f"{file}, line {number}: expected a symbol and its count, found {line[:80]!r}")
        symbols.append(symbol)
    return symbols


def _tokenizer(symbols: list[str], source: str) -> CharTokenizer:
    try:
        return CharTokenizer((*_OURS, *symbols[4:]), blank_token="<pad>", word_delimiter=_DELIMITER)
    except ValueError as error:
        raise ModelError(f"{source}: {error}") from error


def order_for_fairseq(tokenizer: CharTokenizer) -> tuple[list[int | None], list[str]]:
    """Put a vocabulary into fairseq's order.

    Args:
        tokenizer: ours.

    Returns:
        For each id of fairseq's, ours, or None for one of the four that we lack; and the symbols of the file.

    Raises:
        ModelError: a token that a dictionary file cannot hold.

    Examples:
        >>> order_for_fairseq(CharTokenizer(("A", "<pad>", "|")))
        ([1, None, None, None, 0, 2], ['A', '|'])
    """
    ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
    specials = (tokenizer.blank_token, "<s>", "</s>", tokenizer.unknown_token)
    order = [ids.pop(token, None) for token in specials]
    names = [_DELIMITER if token == tokenizer.word_delimiter else token for token in ids]
    faults = [name for name in names if name in _SPECIALS or len(name.split()) != 1 or names.count(name) > 1]
    if faults:
        raise ModelError(f"a dictionary of fairseq's cannot hold the tokens {faults}; keep the bigfoot format")
    return [*order, *ids.values()], names
