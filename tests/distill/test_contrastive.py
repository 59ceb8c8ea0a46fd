"""Contrastive losses against plain loops, and what they are for: speech finds its text."""

import math

import numpy as np
import pytest
import torch

from bigfoot.distill.contrastive import CONTRAST_LOSSES, info_nce, measure_retrieval
from bigfoot.models.fusion.fusion import Fusion, FusionShape
from bigfoot.models.fusion.streams import Frames, StreamShape

WORDS, SIZE = 12, 16


def similarity(one, other):
    return float(one @ other / one.norm() / other.norm())


def loop_info_nce(speech, text, temperature):
    total = 0.0
    for asking, asked in ((speech, text), (text, speech)):
        for number, one in enumerate(asking):
            scores = [similarity(one, other) / temperature for other in asked]
            total -= scores[number] - math.log(sum(math.exp(score) for score in scores))
    return total / 2 / len(speech)


def loop_cosine(speech, text, _temperature):
    count, total = len(speech), 0.0
    for i in range(count):
        for j in range(count):
            found = similarity(speech[i], text[j])
            total += (1 - found) / count if i == j else max(0.0, found) / (count * (count - 1))
    return total


def loop_cca(speech, text, temperature):
    size = speech.shape[1]
    both = np.corrcoef(speech.T.numpy(), text.T.numpy())[:size, size:]
    return sum((1 - both[i, i]) ** 2 if i == j else temperature * both[i, j] ** 2
               for i in range(size) for j in range(size)) / size  # fmt: skip


@pytest.mark.parametrize("loop", [loop_info_nce, loop_cosine, loop_cca])
def test_a_loss_is_that_of_a_plain_loop(loop):
    speech, text = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0)).double().unbind()
    compute = CONTRAST_LOSSES[loop.__name__.removeprefix("loop_")]
    for temperature in (0.1, 1.0):
        assert float(compute(speech, text, temperature)) == pytest.approx(loop(speech, text, temperature), abs=1e-5)


def make_pairs(count, seed):
    """Sentences of 3 to 6 words, and speech of 2 to 4 noisy frames a word, padded."""
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(WORDS, SIZE, generator=torch.Generator().manual_seed(9))
    texts = [torch.randint(WORDS, (3 + n % 4,), generator=generator) for n in range(count)]
    sounds = [codebook[words].repeat_interleave(2 + n % 3, 0) for n, words in enumerate(texts)]
    sounds = [sound + 0.3 * torch.randn(sound.shape, generator=generator) for sound in sounds]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    frames = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
    lengths = [torch.tensor([len(each) for each in some]) for some in (texts, sounds)]
    masks = [torch.arange(int(size.max())) < size[:, None] for size in lengths]
    return ids, masks[0], Frames(frames, masks[1])


@pytest.mark.slow
def test_retrieval_rises_from_chance_to_over_80_percent():
    torch.manual_seed(0)
    shape = FusionShape(24, 1, {"sound": StreamShape(SIZE, "conv")}, "concat", width=32, embedding_size=24, dropout=0.0)
    fusion, words = Fusion(shape), torch.nn.Embedding(WORDS, 24)
    optimizer = torch.optim.Adam([*fusion.parameters(), *words.parameters()], 3e-3)

    def embed(pairs):
        answers = fusion(Frames(words(pairs[0]), pairs[1]), {"sound": pairs[2]})
        return answers.speech, answers.text

    fresh = make_pairs(64, seed=1)
    assert measure_retrieval(*embed(fresh)) < 0.1
    for step in range(120):
        optimizer.zero_grad()
        info_nce(*embed(make_pairs(48, seed=100 + step)), 0.1).backward()
        optimizer.step()
    assert measure_retrieval(*embed(fresh)) > 0.8
