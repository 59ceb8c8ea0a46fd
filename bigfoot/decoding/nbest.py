"""The most probable texts of utterances, with their log probabilities under CTC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from bigfoot.data.batches import Batch
from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.greedy import decode_greedy
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.fitting import fit_text
from bigfoot.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class NBest:
    """Hypotheses of an utterance.

    Args:
        id: its name.
        texts: the most probable first, none of them empty or twice.
        log_probs: of each, in nats, summed over alignments, and over texts that became one.
        confidence: see ``GreedyResult``.
    """

    id: str
    texts: tuple[str, ...]
    log_probs: tuple[float, ...]
    confidence: float


@torch.no_grad()
def find_nbest(
    model: BigfootForCTC, batches: Iterable[Batch], tokenizer: Tokenizer, written: Tokenizer, beam_size: int, size: int
) -> Iterator[NBest]:
    """Find the most probable texts of each utterance by prefix beam search.

    Args:
        model: with a CTC head, in eval mode.
        batches: without pieces: one row is one utterance.
        tokenizer: of the head.
        written: in whose characters texts are wanted; those that become one there are added up.
        beam_size: prefixes kept after every frame.
        size: most texts of an utterance.

    Yields:
        Utterances in order.
    """
    search = PrefixBeamSearch(tokenizer, beam_size)
    for batch in batches:
        batch = batch.to(model.device)
        output = model(batch.input_values, batch.attention_mask)
        sure = decode_greedy(output.logits, output.frame_mask, tokenizer).confidences
        lengths = output.frame_mask.sum(-1).tolist()
        for name, row, length, confidence in zip(batch.ids, output.logits, lengths, sure, strict=True):
            found: dict[str, float] = {}
            for each in search.search(row[:length].float().log_softmax(-1).cpu().numpy()):
                text = each.text if written == tokenizer else fit_text(each.text, written.characters).text
                found[text] = float(np.logaddexp(found.get(text, -np.inf), each.acoustic))
            empty = found.pop("", -np.inf)
            best = sorted(found.items(), key=lambda item: -item[1])[:size]
            if best and empty > best[0][1]:
                # The teacher writes nothing: what is left would be shares of next to nothing.
                best = []
            yield NBest(name, tuple(text for text, _ in best), tuple(score for _, score in best), confidence)
