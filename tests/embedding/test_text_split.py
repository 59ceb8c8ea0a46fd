from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.embedding.text_split import TextSplitter
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizers import CharTokenizer
from tests.refusals import refused

LETTERS = "ABCDE"
TOKENIZER = CharTokenizer(("<pad>", "|", *LETTERS))


def say(words, rng, noise=0.0, tokenizer=TOKENIZER):
    """Frames that say words, each letter over one or two, and the frame in whose middle each word lies."""
    path, middles = [0], []
    for word in words:
        begin = len(path)
        for letter in tokenizer.encode(word):
            path += [letter] * rng.integers(1, 3) + [0]
        middles.append((begin + len(path)) / 2)
        path += [1, *[0] * rng.integers(1, 4)]
    logits = 6 * np.eye(len(tokenizer))[path] + noise * rng.standard_normal((len(path), len(tokenizer)))
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), middles


def split(text, log_probs, cuts):
    splitter = TextSplitter(text, TOKENIZER)
    pieces = np.split(log_probs, cuts)
    return [splitter.take(piece, after).text for piece, after in zip(pieces, [*pieces[1:], None], strict=True)]


@pytest.mark.slow
@settings(max_examples=20)
@given(seed=st.integers(0, 40), noise=st.sampled_from([0.0, 1.5]))
def test_words_go_where_they_were_spoken(seed, noise):
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS), rng.integers(1, 6))) for _ in range(30)]
    log_probs, middles = say(words, rng, noise)
    # Between words, as pauses are, two and more words apart.
    numbers = sorted(rng.choice(range(2, 29), 4, replace=False))
    cuts = [int((middles[n - 1] + middles[n]) // 2) for n in numbers]
    found = split(" ".join(words), log_probs, cuts)
    assert " ".join(found).split() == words
    if noise == 0:
        bounds = [0, *numbers, 30]
        assert [piece.split() for piece in found] == [words[a:b] for a, b in pairwise(bounds)]


def test_what_cannot_be_tokenized_stays_with_its_words():
    log_probs, middles = say(["AB", "CD", "E"], np.random.default_rng(0))
    found = split("  3 ab, - Cd! 12 e.  ", log_probs, [int(middles[1] + 3)])
    assert found == ["3 ab, - Cd! 12", "e."]


def test_silence_takes_no_words():
    log_probs, _ = say(["AB", "CD"], np.random.default_rng(0))
    silence = np.log(np.full((20, len(TOKENIZER)), 0.01) + 0.93 * np.eye(len(TOKENIZER))[[0] * 20])
    assert split("AB CD", np.concatenate([silence, log_probs, silence]), [20, 20 + len(log_probs)]) == ["", "AB CD", ""]
    assert split("", log_probs, [5]) == ["", ""]


def test_a_later_process_goes_on():
    log_probs, middles = say(["AB", "CD", "EA"], np.random.default_rng(0))
    splitter = TextSplitter("AB - CD EA", TOKENIZER)
    splitter.skip("AB -")
    assert splitter.words_left == 2 and splitter.take(log_probs[int(middles[0] + 4) :], None).text == "CD EA"


def test_pieces_of_words_are_kept_together():
    class Spelling(PieceTokenizer):
        def encode(self, text):
            return [index for word in text.split() for index in ([1, 2] if word == "ONE" else [3])]

        characters = frozenset("ONETW ")

    tokenizer = Spelling(("<pad>", "_ON", "E", "_TWO"), ("", " ON", "E", " TWO"), 0)
    log_probs = np.log(np.full((9, 4), 0.02) + 0.92 * np.eye(4)[[0, 1, 2, 0, 3, 0, 1, 0, 2]])
    splitter = TextSplitter("one TWO, one", tokenizer)
    found = splitter.take(log_probs[:4], log_probs[4:]), splitter.take(log_probs[4:], None)
    assert [one.text for one in found] == ["one", "TWO, one"]
    assert [round(one.confidence, 6) for one in found] == [0.94, 0.94]


def test_what_cannot_be_split():
    with pytest.raises(ValueError):
        TextSplitter("12 34", TOKENIZER)
    with refused(ValueError, "3", "2"):
        TextSplitter("ABC", TOKENIZER).take(np.zeros((2, len(TOKENIZER))), None)
    with pytest.raises(ValueError):
        TextSplitter("A", PieceTokenizer(("<pad>", "A"), ("", "A"), 0))
