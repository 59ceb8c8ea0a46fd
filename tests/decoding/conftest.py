import itertools

import numpy as np
import pytest


@pytest.fixture(scope="session")
def sum_alignments():
    """Log probability of every text, by going through all V ** T alignments."""

    def add_up(log_probs, tokenizer):
        frames, size = log_probs.shape
        found = {}
        for alignment in itertools.product(range(size), repeat=frames):
            text = tokenizer.decode_ctc(alignment)
            score = sum(log_probs[frame, token] for frame, token in enumerate(alignment))
            found[text] = np.logaddexp(found.get(text, -np.inf), score)
        return found

    return add_up


@pytest.fixture(scope="session")
def draw_posteriors():
    """Log posteriors (T, V) of a seed; peaked where ``sharpness`` is high."""

    def draw(seed, frames, size, sharpness=2.0):
        scores = sharpness * np.random.default_rng(seed).standard_normal((frames, size))
        return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)

    return draw
