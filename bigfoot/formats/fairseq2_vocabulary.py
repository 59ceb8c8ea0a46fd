"""fairseq2's vocabulary of a CTC head, sentencepiece's model of characters, and ours.

CTC's blank is the first piece there, whichever it is (Omnilingual ASR: ``<s>``); our blank is called ``<pad>``, and so
the two exchange names. A space is sentencepiece's mark there, and ``|`` here. Rows of the head stay where they are.
"""

from __future__ import annotations

from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.text.json_fields import quote
from bigfoot.text.sentencepiece_model import CONTROL, NORMAL, SPACE, UNKNOWN, Piece, read_pieces
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import CharTokenizer

_BLANK, _FIRST, _DELIMITER = "<pad>", "<s>", "|"


def find_vocabulary(checkpoint: Path, given: Path | None) -> CharTokenizer | None:
    """Find the vocabulary of a checkpoint: a given file, else the only ``.model`` beside it.

    Args:
        checkpoint: the file.
        given: sentencepiece's model, where one was named.

    Returns:
        The vocabulary; None where there is none to be found.

    Raises:
        ModelError: several beside it, or one that cannot be read or is not of characters.
    """
    found = [given] if given is not None else sorted(checkpoint.parent.glob("*.model"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ModelError(f"{checkpoint}: {len(found)} vocabularies beside it ({names}); name one with --dictionary")
    return _tokenizer(found[0]) if found else None


def _tokenizer(file: Path) -> CharTokenizer:
    pieces = read_pieces(file)
    texts = [piece.text for piece in pieces]
    written = [piece.text for piece in pieces if piece.kind not in (UNKNOWN, CONTROL)]
    long = [text for text in written if len(text) != 1 and not _is_bracketed(text)]
    if long:
        raise ModelError(
            f"{file}: pieces of several characters, such as {quote(long[0])}; CTC models of fairseq2 have characters"
        )
    unknown = next((piece.text for piece in pieces if piece.kind == UNKNOWN), "<unk>")
    if _BLANK in texts:
        texts[texts.index(_BLANK)] = texts[0]
    texts[0] = _BLANK
    if SPACE in texts and _DELIMITER not in texts:
        texts[texts.index(SPACE)] = _DELIMITER
    try:
        delimiter = _DELIMITER if SPACE not in texts else SPACE
        return CharTokenizer(tuple(texts), blank_token=_BLANK, word_delimiter=delimiter, unknown_token=unknown)
    except ValueError as error:
        raise ModelError(f"{file}: {error}") from error


def _is_bracketed(text: str) -> bool:
    return text.startswith("<") and text.endswith(">")


def order_for_fairseq2(tokenizer: Tokenizer) -> tuple[list[int | None], list[Piece]]:
    """Put a vocabulary into fairseq2's order: the blank first.

    Args:
        tokenizer: ours.

    Returns:
        For each row of fairseq2's, ours, or None for an unknown token that we lack; and its piece.

    Raises:
        ModelError: a vocabulary that a model of characters cannot express.

    Examples:
        >>> order, pieces = order_for_fairseq2(CharTokenizer(("A", "<pad>", "|")))
        >>> order, [piece.text for piece in pieces]
        ([1, 0, 2, None], ['<s>', 'A', '\u2581', '<unk>'])
    """
    if not isinstance(tokenizer, CharTokenizer):
        kind = tokenizer.describe()
        raise ModelError(f"fairseq2's CTC models have characters, not {kind}; keep the bigfoot format")
    if not tokenizer.is_plain:
        raise ModelError(
            "fairseq2's vocabularies cannot express texts in lower case (do_lower_case) or with another space "
            "(replace_word_delimiter_char); keep the bigfoot format"
        )
    order: list[int | None] = [tokenizer.blank_id]
    order += [index for index in range(len(tokenizer)) if index != tokenizer.blank_id]
    pieces = [_piece(tokenizer, tokenizer.vocabulary[index or 0], first=row == 0) for row, index in enumerate(order)]
    if not any(piece.kind == UNKNOWN for piece in pieces):
        order, pieces = [*order, None], [*pieces, Piece("<unk>", UNKNOWN)]
    return order, pieces


def _piece(tokenizer: CharTokenizer, token: str, *, first: bool) -> Piece:
    if first:
        return Piece(_FIRST, CONTROL)
    if token == tokenizer.word_delimiter:
        return Piece(SPACE)
    if token == tokenizer.unknown_token:
        return Piece(token, UNKNOWN)
    if token == _FIRST:
        # It has the blank's name there, and the blank its own.
        return Piece(_BLANK, CONTROL)
    if _is_bracketed(token) and len(token) > 2:
        return Piece(token, CONTROL)
    if len(token) != 1 or token == SPACE:
        have = f"fairseq2's vocabularies have single characters, and this one {quote(token)}"
        raise ModelError(f"{have}; keep the bigfoot format")
    return Piece(token, NORMAL)
