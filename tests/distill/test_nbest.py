"""The teacher's texts as targets: the loss by a plain loop, the texts in the student's characters."""

import math

import numpy as np
import pytest
import torch

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.nbest import find_nbest
from bigfoot.distill import LogitKLLoss, LossesConfig, NBestLoss
from bigfoot.distill.losses import expected_ctc
from bigfoot.distill.objective import Objective
from bigfoot.text.fitting import fit_text
from bigfoot.text.tokenizers import CharTokenizer, Processor

CAPITALS = CharTokenizer(("<pad>", "|", "A", "B"))
MIXED = CharTokenizer(("<pad>", "|", "a", "A", "b", "?"))


def loop_over_texts(logits, frames, texts, scores):
    """Share by share, with PyTorch's loss of one text at a time."""
    total, count = 0.0, 0
    for row, (length, own) in enumerate(zip(frames, texts, strict=True)):
        weights = [math.exp(score) for score in scores[row][: len(own)]]
        count += bool(own)
        for labels, weight in zip(own, weights, strict=True):
            loss = torch.nn.functional.ctc_loss(
                logits[row, :length].log_softmax(-1)[:, None], torch.tensor([labels]), torch.tensor([length]),
                torch.tensor([len(labels)]), reduction="sum", zero_infinity=True,
            )  # fmt: skip
            total += weight / sum(weights) * float(loss) / len(labels)
    return total, count


def test_the_loss_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    logits, frames = torch.randn(3, 9, 5), [9, 6, 7]
    texts = [[[1, 2, 3], [1, 3]], [[4, 4, 4, 4]], []]
    scores = [[-1.0, -2.5], [-3.0], []]
    labels, log_probs = torch.full((3, 2, 4), -100), torch.full((3, 2), -torch.inf)
    for row, own in enumerate(texts):
        for at, each in enumerate(own):
            labels[row, at, : len(each)] = torch.tensor(each)
            log_probs[row, at] = scores[row][at]
    mask = torch.arange(9) < torch.tensor(frames)[:, None]
    hostile = logits.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    found = expected_ctc(hostile, mask, labels, log_probs, 0)
    total, count = loop_over_texts(logits, frames, texts, scores)
    assert float(found.total.detach()) == pytest.approx(total, rel=1e-5) and int(found.count) == count == 2
    found.mean().backward()
    assert torch.isfinite(hostile.grad).all()


class Fixed(torch.nn.Module):
    """A model whose logits are its samples."""

    device = torch.device("cpu")

    def forward(self, input_values, attention_mask):
        from bigfoot.models.ctc import CTCOutput

        size = len(MIXED)
        return CTCOutput(logits=input_values.unflatten(1, (-1, size)), frame_mask=attention_mask[:, ::size])


def test_texts_that_become_one_are_added_up():
    rng = np.random.default_rng(1)
    waves = [rng.standard_normal(len(MIXED) * frames).astype(np.float32) for frames in (4, 3, 3)]
    waves[2].reshape(3, -1)[:, MIXED.blank_id] += 8.0
    items = [LoadedUtterance(f"u{place}", "s", "", wave) for place, wave in enumerate(waves)]
    batches = [collate(items, Processor(do_normalize=False))]
    found = list(find_nbest(Fixed(), batches, MIXED, CAPITALS, beam_size=500, size=3))
    for item, best in zip(items, found, strict=True):
        log_probs = torch.from_numpy(item.samples).view(-1, len(MIXED)).log_softmax(-1).numpy()
        expected = {}
        for each in PrefixBeamSearch(MIXED, 500).search(log_probs):
            text = fit_text(each.text, CAPITALS.characters).text
            expected[text] = expected.get(text, 0.0) + math.exp(each.acoustic)
        empty = expected.pop("")
        order = sorted(expected, key=lambda text: -expected[text])[:3]
        # Where the teacher most likely writes nothing, what is left are shares of next to nothing.
        order = [] if empty > expected[order[0]] else order
        assert list(best.texts) == order and best.id == item.id
        assert [math.exp(score) for score in best.log_probs] == pytest.approx([expected[text] for text in order])
    assert [len(best.texts) for best in found] == [3, 3, 0]


def test_without_a_text_an_utterance_teaches_nothing(build_model):
    student = build_model("base", seed=2, num_hidden_layers=1, vocab_size=len(CAPITALS))
    losses = LossesConfig(LogitKLLoss(weight=0.0), nbest=NBestLoss(1.0, size=2))
    wave = np.random.default_rng(0).standard_normal(6000).astype(np.float32)
    texts = (("AB A", -1.0), ("AB", -1.5), ("B", -9.0))
    known, unknown = (LoadedUtterance(name, "s", "", wave, hypotheses=own) for name, own in (("a", texts), ("b", ())))
    objective = Objective(losses, student, student)
    terms = []
    for items in ([known], [known, unknown]):
        batch = collate(items, Processor(CAPITALS))
        assert objective.count_units(batch) == {"nbest": 1}
        terms.append(float(objective.eval()(batch, {})["nbest"].total.detach()))
    assert terms[1] == pytest.approx(terms[0], rel=1e-4)
