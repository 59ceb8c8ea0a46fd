"""Symbols of a vocabulary for runtimes that join them to a text: a line each, and tokens that are one to a text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bigfoot.errors import ModelError
from bigfoot.text.tokenizer import Tokenizer, name_unused

BLANK = "<blk>"
WORD_START = "\u2581"
_PLAIN = re.compile(rf" ?[^\s{WORD_START}]*")


@dataclass(frozen=True)
class Symbols:
    """What a runtime writes for each token.

    Args:
        names: symbol by id, with ``\u2581`` for the space in front.
        blank: id of CTC's blank.
        merged: sets of ids that are one token to a text, the one that is written first.
    """

    names: tuple[str, ...]
    blank: int
    merged: tuple[tuple[int, ...], ...]

    def to_lines(self) -> bytes:
        """Return the content of a file with ``symbol id`` a line.

        Examples:
            >>> Symbols(("<blk>", "\u2581", "A"), 0, ()).to_lines().decode().splitlines()
            ['<blk> 0', '\u2581 1', 'A 2']
        """
        return "".join(f"{name} {index}\n" for index, name in enumerate(self.names)).encode("utf-8")


def read_symbols(tokenizer: Tokenizer, model: str) -> Symbols:
    """Write a vocabulary as symbols whose sum is the decoded text.

    Args:
        tokenizer: of the CTC head.
        model: for messages.

    Returns:
        Tokens that add no text are merged with the blank, ids that are read as the unknown token with that one.

    Raises:
        ModelError: decoding does more than to join the pieces of tokens.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> read_symbols(CharTokenizer(("<pad>", "|", "A", "<unused3>")), "m")
        Symbols(names=('<blk>', '\u2581', 'A', '<none3>'), blank=0, merged=((0, 3),))
    """
    if problem := _find_problem(tokenizer):
        raise ModelError(f"{model}: {problem}, which this runtime does not do; --to onnx keeps it")
    pieces, blank, unknown = tokenizer.pieces, tokenizer.blank_id, tokenizer.unknown_id
    written: dict[int, list[int]] = {blank: [blank]}
    names = []
    for index, token in enumerate(tokenizer.vocabulary):
        settled = unknown if unknown is not None and token == name_unused(index) else index
        target = settled if pieces[settled] and settled != blank else blank
        written.setdefault(target, [target])
        if index != target:
            written[target].append(index)
        names.append(pieces[index].replace(" ", WORD_START) if index == target else f"<none{index}>")
    names[blank] = BLANK
    return Symbols(tuple(names), blank, tuple(tuple(ids) for ids in written.values() if len(ids) > 1))


def _find_problem(tokenizer: Tokenizer) -> str | None:
    if tokenizer.cleans_up:
        return "its tokenizer drops the space before punctuation (clean_up_tokenization_spaces)"
    if tokenizer.final_sigma:
        return "its tokenizer writes the final sigma of Greek words"
    odd = [piece for piece in tokenizer.pieces if not _PLAIN.fullmatch(piece)]
    return f"its tokens have spaces inside or behind them ({odd[0]!r})" if odd else None
