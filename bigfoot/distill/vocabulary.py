"""Posteriors over one vocabulary as posteriors over another, by the characters that both write."""

from __future__ import annotations

import torch
from torch import Tensor

from bigfoot.distill.resampling import LEAST
from bigfoot.errors import ModelError
from bigfoot.text.normalize import normalize_text
from bigfoot.text.tokenizer import Tokenizer, is_special


def map_tokens(teacher: Tokenizer, student: Tokenizer) -> list[int]:
    """Find for each token of a teacher the token of the student that writes the same character.

    Case and Unicode form are the student's. What the student has no token for, such as punctuation, is its blank: a
    text without that character is what remains. Tokens that write nothing are the blank too.

    Args:
        teacher: whose tokens are single characters.
        student: the vocabulary that the posteriors are wanted over.

    Raises:
        ModelError: a token of the teacher's writes several characters, so that its frames are of no single one; or
            the student's do.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> capitals = CharTokenizer(("<pad>", "|", "A", "B"))
        >>> map_tokens(CharTokenizer(("b", "?", "a", "<pad>", "|")), capitals)
        [3, 0, 2, 0, 1]
    """
    theirs, mine = _written(teacher), _written(student)
    for name, pieces in (("teacher", theirs), ("student", mine)):
        if longer := [piece for piece in pieces if len(piece) > 1]:
            raise ModelError(
                f"the {name}'s vocabulary has pieces of several characters, such as {longer[0]!r}, and posteriors are "
                "compared by single ones; learn from its hypotheses: distill.losses.nbest, with logit_kl.weight 0"
            )
    ours = {piece: index for index, piece in reversed(list(enumerate(mine))) if piece}
    characters = frozenset(ours) | {" "}
    wanted = [piece if piece in ("", " ") else normalize_text(piece, characters) for piece in theirs]
    return [ours.get(piece, student.blank_id) for piece in wanted]


def _written(tokenizer: Tokenizer) -> list[str]:
    """What each token writes; nothing for the blank and other specials."""
    pairs = zip(tokenizer.vocabulary, tokenizer.pieces, strict=True)
    found = ["" if is_special(token) else piece for token, piece in pairs]
    found[tokenizer.blank_id] = ""
    return found


def map_log_probs(log_probs: Tensor, token_map: Tensor, vocab_size: int) -> Tensor:
    """Add up the posteriors of all tokens that become one.

    Args:
        log_probs: (B, T, V').
        token_map: (V',) the student's token of each of the teacher's.
        vocab_size: V.

    Returns:
        (B, T, V) log probabilities that sum to as much, none below ``LEAST``.

    Examples:
        >>> theirs = torch.tensor([[[0.5, 0.25, 0.25]]]).log()
        >>> map_log_probs(theirs, torch.tensor([0, 2, 0]), 3).exp().round(decimals=4)
        tensor([[[0.7500, 0.0000, 0.2500]]])
    """
    found = log_probs.new_zeros(*log_probs.shape[:2], vocab_size, dtype=torch.float32)
    found.index_add_(-1, token_map.to(log_probs.device), log_probs.float().exp())
    return found.clamp(min=LEAST).log()
