import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.runtime.batching import pad_batch, plan_batches
from bigfoot.runtime.transcriber import BATCH_SECONDS


def waste(lengths, batches):
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)
    return 1 - sum(lengths) / padded


@given(st.lists(st.integers(1, 500_000), max_size=80), st.integers(0, 2_000_000))
def test_every_utterance_once_and_little_padding(lengths, most):
    batches = plan_batches(lengths, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= most
        assert waste([lengths[index] for index in batch], [range(len(batch))]) < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_padding_of_64_mixed_utterances_is_below_a_tenth(seed):
    seconds = np.random.default_rng(seed).uniform(1, 20, 64)
    lengths = (seconds * 16_000).astype(int).tolist()
    batches = plan_batches(lengths, round(BATCH_SECONDS * 16_000))
    assert waste(lengths, batches) < 0.1
    assert len(batches) < 64


def test_one_at_a_time_where_a_batch_changes_the_answer():
    assert plan_batches([5, 5, 7], 0) == [[2], [0], [1]]


def test_zeros_behind_the_end():
    values, lengths = pad_batch([np.ones(2, np.float32), np.ones(4, np.float32)])
    assert values.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]] and lengths.tolist() == [2, 4]
    assert (values.dtype, lengths.dtype) == (np.float32, np.int64)
