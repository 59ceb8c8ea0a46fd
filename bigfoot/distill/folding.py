"""A teacher of fewer tokens: its probabilities of the others, marginalized into the blank's.

A path of CTC in which a token becomes the blank is read as the same text without that token. So the sum over all paths
is, text by text, the teacher's distribution over its texts after the other characters are deleted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bigfoot.models.ctc import BigfootForCTC, CTCOutput
from bigfoot.models.reshape import reshape_config


def fold_logits(logits: Tensor, kept: Sequence[int], blank: int) -> Tensor:
    """Marginalize tokens into the blank.

    Args:
        logits: (..., V).
        kept: K tokens that stay, in their new order, the blank among them.
        blank: its id among the V.

    Returns:
        (..., K), whose softmax has the sum over all other tokens' probabilities in the blank's.

    Examples:
        >>> fold_logits(torch.tensor([0.1, 0.2, 0.3, 0.4]).log(), [0, 2], 0).softmax(-1)
        tensor([0.7000, 0.3000])
    """
    rest = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    rest[list(kept)] = False
    rest[blank] = True
    folded = logits[..., list(kept)].float()
    folded[..., list(kept).index(blank)] = logits[..., rest].float().logsumexp(-1)
    return folded.to(logits.dtype)


def fold_vocabulary_(teacher: BigfootForCTC, kept: Sequence[int]) -> None:
    """Make the outputs of a teacher's CTC head those of fewer tokens; its weights stay.

    Args:
        teacher: changed in place: its logits are (B, T, K) from now on, and its configuration has their number.
        kept: see ``fold_logits``; the blank is the one of its configuration.
    """
    blank = teacher.config.pad_token_id or 0

    def fold(_module: nn.Module, _inputs: object, output: CTCOutput) -> CTCOutput:
        if output.logits is not None:
            output["logits"] = fold_logits(output.logits, kept, blank)
        return output

    teacher.register_forward_hook(fold)
    teacher.config = reshape_config(teacher.config, vocab_size=len(kept), pad_token_id=list(kept).index(blank))
