"""Vocabularies of other runtimes, ``tokens.txt`` and ``vocab.txt``.

A line has a symbol and its id, such as ``<blk> 0``, or a symbol alone, whose id is its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.text.json_fields import quote
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizer import is_special, name_unused

SYMBOL_FILES = ("tokens.txt", "vocab.txt")
_MAX_BYTES = 16 * 2**20
_HIGHEST_ID = 1_000_000
_SPACE = "\u2581"
_BLANKS = ("<blk>", "<blank>", "<b>", "<eps>", "<ctc_blank>")
_PADDING = ("<pad>", "[pad]", "<s>")
"""Blanks of wav2vec2-like models; of fairseq2's the first symbol is the blank, whatever its name."""
_UNKNOWN = ("<unk>", "[unk]")


def find_symbol_file(folder: Path) -> Path | None:
    """Return the vocabulary of a folder; None where there is none."""
    return next((folder / name for name in SYMBOL_FILES if (folder / name).is_file()), None)


def load_symbols(file: Path, head_size: int | None = None, blank_id: int | None = None) -> PieceTokenizer:
    """Read a vocabulary.

    Args:
        file: the file.
        head_size: tokens that the model gives, where that is known: NeMo's files leave out the blank, the last.
        blank_id: of CTC's blank; without it, found by its name.

    Returns:
        A tokenizer that only reads.

    Raises:
        ModelError: it cannot be read, an id stands twice, or no symbol can be the blank.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes")
        symbols = parse_symbols(file.read_text(encoding="utf-8-sig"))
        if head_size == len(symbols) + 1 and not set(_BLANKS).intersection(symbol.lower() for symbol in symbols):
            symbols.append(_BLANKS[0])
        blank = _find_blank(symbols) if blank_id is None else blank_id
        if not 0 <= blank < len(symbols):
            raise ValueError(f"its blank has the id {blank}, and it has {len(symbols)} symbols")
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as a vocabulary: {error}") from error
    unknown = next((index for index, symbol in enumerate(symbols) if symbol.lower() in _UNKNOWN), None)
    return PieceTokenizer(tuple(symbols), tuple(_write_pieces(symbols, blank)), blank, unknown)


def parse_symbols(text: str) -> list[str]:
    r"""Parse the lines of a vocabulary.

    Args:
        text: content of the file.

    Returns:
        The symbols by id.

    Raises:
        ValueError: no line, or ids that are not one for each symbol.

    Examples:
        >>> parse_symbols("<blk> 0\nA 2\nB 1\n"), parse_symbols("A\n<blk>\n")
        (['<blk>', 'B', 'A'], ['A', '<blk>'])
    """
    lines = [line for line in text.split("\n") if line.strip("\r")]
    split = [re.fullmatch(r"(.*?)[ \t]+(\d+)\s*", line) for line in lines]
    if not lines or not all(split):
        if not lines or any(split):
            raise ValueError("expected a symbol and its id in every line, or a symbol alone in every line")
        return [line.rstrip("\r") for line in lines]
    by_id: dict[int, str] = {}
    for match in split:
        assert match is not None
        symbol, index = match[1] or _SPACE, int(match[2])
        if index > _HIGHEST_ID or by_id.setdefault(index, symbol) != symbol:
            raise ValueError(f"the id {index} of {quote(symbol)} is too large, or another symbol's too")
    return [by_id.get(index, name_unused(index)) for index in range(max(by_id) + 1)]


def _find_blank(symbols: Sequence[str]) -> int:
    small = [symbol.lower() for symbol in symbols]
    named = next((small.index(name) for name in _BLANKS if name in small), None)
    if named is not None:
        return named
    if small[0] in _PADDING:
        return 0
    padded = next((small.index(name) for name in _PADDING[:2] if name in small), None)
    if padded is None:
        raise ValueError(f"none of its symbols is CTC's blank by name ({', '.join([*_BLANKS, *_PADDING[:2]])})")
    return padded


def _write_pieces(symbols: Sequence[str], blank: int) -> list[str]:
    """What each symbol adds to a text."""
    marked = any(_SPACE in symbol or symbol == " " for symbol in symbols)
    found = []
    for index, symbol in enumerate(symbols):
        text = "" if index == blank or is_special(symbol) else symbol.replace(_SPACE, " ")
        # Letters with | between words, where nothing else is a space.
        found.append(" " if text == "|" and not marked else text)
    return found
