"""Greedy CTC decoding: the best token of every frame, repeats and blanks taken out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.decoding.hypotheses import Search
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.tokenizer import Tokenizer


@dataclass
class GreedyResult:
    """What greedy decoding finds.

    Args:
        texts: one an utterance.
        blank_rate: share of real frames whose best token is the blank, 0 to 1; 1 where there is no frame.
        margins: smallest difference between the two best logits over an utterance's frames, (B,); infinity without
            frames. Two batches may only disagree on an utterance whose margin is within rounding.
        confidences: mean probability of the best token over the frames where that is not the blank, (B,), 0 to 1; 0
            where there is no such frame.
    """

    texts: list[str]
    blank_rate: float
    margins: list[float]
    confidences: list[float]


@torch.no_grad()
def decode_greedy(logits: Tensor, frame_mask: Tensor | None, tokenizer: Tokenizer) -> GreedyResult:
    """Decode a batch.

    Args:
        logits: (B, T, V).
        frame_mask: (B, T), True = real; None where all are.
        tokenizer: turns tokens into text and knows the blank.

    Returns:
        See ``GreedyResult``.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> tokenizer = CharTokenizer(("<pad>", "|", "A", "B"))
        >>> logits = torch.nn.functional.one_hot(torch.tensor([[2, 2, 0, 2, 3, 1]]), 4).float()
        >>> decode_greedy(logits, None, tokenizer).texts
        ['AAB']
    """
    mask = torch.ones(logits.shape[:2], dtype=torch.bool) if frame_mask is None else frame_mask.cpu()
    best = logits.argmax(-1).cpu()
    logits = logits.float()
    top = logits.topk(2, dim=-1).values.cpu()
    gaps = (top[..., 0] - top[..., 1]).where(mask, torch.inf)  # (B, T)
    margins = gaps.amin(-1) if logits.shape[1] else torch.full(logits.shape[:1], torch.inf)
    blanks = ((best == tokenizer.blank_id) & mask).sum()
    spoken = mask & (best != tokenizer.blank_id)
    probabilities = (top[..., 0] - logits.logsumexp(-1).cpu()).exp()  # of the best token, (B, T)
    confidences = probabilities.where(spoken, 0.0).sum(-1) / spoken.sum(-1).clamp(min=1)
    texts = [tokenizer.decode_ctc(row[real].tolist()) for row, real in zip(best, mask, strict=True)]
    frames = int(mask.sum())
    return GreedyResult(texts, float(blanks) / frames if frames else 1.0, margins.tolist(), confidences.tolist())


@dataclass
class Transcripts:
    """What a model heard in a split; lists of equal length, in the order of the batches.

    Args:
        ids: utterances by name.
        speakers: who spoke.
        references: what was said, in the tokenizer's units.
        hypotheses: what the model heard.
        greedy: the same by greedy decoding.
        margins: see ``GreedyResult``.
        confidences: see ``GreedyResult``.
        blank_rate: share of real frames whose best token is the blank.
        num_cut: texts that went in circles and were cut, of a decoder.
    """

    ids: list[str] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    hypotheses: list[str] = field(default_factory=list)
    greedy: list[str] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    blank_rate: float = 1.0
    num_cut: int = 0


def join_pieces(found: Transcripts) -> Transcripts:
    """Make one entry of those that stand one behind the other under one id: what was heard in a recording's pieces.

    Args:
        found: of ``evaluation_batches``, whose ids are unique but for pieces.

    Returns:
        The same where there are none. Texts are joined by spaces; the reference is the first piece's, the margin the
        smallest, the confidence the mean.

    Examples:
        >>> row = Transcripts(["a", "a"], ["s", "s"], ["X Y", ""], ["X", "Y"], ["X", ""], [1.0, 0.5], [1.0, 0.5])
        >>> joined = join_pieces(row)
        >>> joined.ids, joined.hypotheses, joined.greedy, joined.references, joined.margins, joined.confidences
        (['a'], ['X Y'], ['X'], ['X Y'], [0.5], [0.75])
    """
    starts = [row for row, name in enumerate(found.ids) if row == 0 or name != found.ids[row - 1]]
    spans = [slice(begin, end) for begin, end in pairwise([*starts, len(found.ids)])]
    return replace(
        found,
        ids=[found.ids[row] for row in starts],
        speakers=[found.speakers[row] for row in starts],
        references=[found.references[row] for row in starts],
        hypotheses=[" ".join(filter(None, found.hypotheses[span])) for span in spans],
        greedy=[" ".join(filter(None, found.greedy[span])) for span in spans],
        margins=[min(found.margins[span]) for span in spans],
        confidences=[fmean(found.confidences[span]) for span in spans],
    )


@torch.no_grad()
def transcribe_batches(
    model: BigfootForCTC, batches: Iterable[Batch], tokenizer: Tokenizer, search: Search | None = None
) -> Transcripts:
    """Decode batches.

    Args:
        model: with a CTC head; put in eval mode for the time, then back as it was.
        batches: see ``bigfoot.data.batches``.
        tokenizer: of the head.
        search: what finds the hypotheses; None decodes greedily.

    Returns:
        See ``Transcripts``.
    """
    was_training, found = model.training, Transcripts()
    model.eval()
    blanks = frames = 0.0
    for batch in batches:
        batch = batch.to(model.device)
        output = model(batch.input_values, batch.attention_mask)
        result = decode_greedy(output.logits, output.frame_mask, tokenizer)
        real = float(output.frame_mask.sum())
        blanks, frames = blanks + result.blank_rate * real, frames + real
        found.ids += batch.ids
        found.speakers += batch.speakers
        found.references += [tokenizer.to_judged(text) for text in batch.texts]
        found.greedy += result.texts
        found.hypotheses += result.texts if search is None else _search_batch(search, output.logits, output.frame_mask)
        found.margins += result.margins
        found.confidences += result.confidences
    model.train(was_training)
    found.blank_rate = blanks / frames if frames else 1.0
    return join_pieces(found)


def _search_batch(search: Search, logits: Tensor, frame_mask: Tensor) -> list[str]:
    # One by one: a search goes from frame to frame, and padding is not even seen.
    log_probs, lengths = logits.float().log_softmax(-1).cpu().numpy(), frame_mask.sum(-1).tolist()
    return [search.search(row[:length])[0].text for row, length in zip(log_probs, lengths, strict=True)]
