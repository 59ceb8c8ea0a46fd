"""The sequential test of a rise: its rates of error, by simulation, and what it asks for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.measure.sequential import judge_counts, judge_rise

MARGIN, WORDS, RECORDINGS, TRIALS = 0.005, 5, 3000, 200


def outcomes(up, down, clump, seed=0):
    """Share of trials by outcome, where words go wrong and right at these rates, ``clump`` of them in a recording."""
    rng = np.random.default_rng(seed)
    wrong, right = (rng.random((TRIALS, RECORDINGS)) < rate * WORDS / clump for rate in (up, down))
    found = [judge_counts(row, [WORDS] * RECORDINGS, MARGIN).outcome for row in clump * (wrong * 1 - right * 1)]
    return {outcome: found.count(outcome) / TRIALS for outcome in ("accepted", "refused", "undecided")}


@pytest.mark.parametrize("clump", [1, 2])
@pytest.mark.parametrize("both", [0.0, 0.001, 0.005, 0.01])
def test_errors_are_as_rare_as_promised(both, clump):
    """5 % are promised; of 200 trials, 8.5 % is two standard deviations above that."""
    assert outcomes(both, both, clump)["refused"] <= 0.085
    assert outcomes(both + MARGIN, both, clump)["accepted"] <= 0.085


def test_it_has_power():
    assert outcomes(0.001, 0.001, 1)["accepted"] > 0.95 and outcomes(0.006, 0.001, 1)["refused"] > 0.9
    assert outcomes(0.02, 0.0, 1)["refused"] == 1.0
    # Half of all words wrong: a hundred words are enough.
    assert judge_counts([2, 3] * 30, [5] * 60).words <= 100


@settings(max_examples=40)
@given(
    added=st.lists(st.integers(-2, 3), min_size=1, max_size=60), words=st.integers(1, 12), margin=st.floats(0.01, 0.1)
)
def test_the_words_asked_for_decide_it_where_no_more_go_wrong(added, words, margin):
    first = judge_counts(added, [words] * len(added), margin)
    if first.outcome != "undecided":
        # More audio behind what decided changes nothing.
        assert judge_counts([*added, 5, -5], [words] * (len(added) + 2), margin) == first
        return
    # With as many errors that come as go, in the share seen until now.
    more = -(-first.words_missing // words) + 1
    quiet = judge_counts([*added, *[0] * more], [words] * (len(added) + more), margin)
    assert quiet.outcome == "accepted"


def test_texts_are_counted_by_recording():
    references = ["one two three"] * 40
    assert judge_rise(references, references, references).outcome == "undecided"
    worse = judge_rise(references, references, ["one"] * 40)
    assert worse.outcome == "refused" and worse.words % 3 == 0
    assert judge_rise(references, ["one"] * 40, references).outcome == "accepted"
    assert judge_rise(["", ""], ["a", ""], ["", "a b"]).words == 0
    with pytest.raises(ValueError):
        judge_rise(references, references, references, 0.0)
