import functools
import itertools
import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.measure import speed
from bigfoot.measure.speed import (
    compute_spread,
    count_all_threads,
    measure_speed,
    summarize_times,
    time_rounds,
    torch_threads,
)


def test_figures_agree_with_each_other(build_model):
    model = build_model()
    found = measure_speed({"teacher": model, "again": model}, rounds=5, seconds=0.5)
    assert list(found) == ["teacher", "again"]
    assert found["teacher"].speedup == found["teacher"].speedup_low == found["teacher"].speedup_high == 1.0
    for one in found.values():
        assert one.real_time_factor == pytest.approx(one.median_seconds / 0.5)
        assert one.median_seconds > 0
        assert one.speedup_low <= one.speedup <= one.speedup_high


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    hands = SimpleNamespace(now=0.0)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: hands.now))
    return hands


def test_rounds_are_interleaved_and_the_first_is_not_counted(build_model, monkeypatch, clock):
    first, second = build_model(), build_model()
    passes = []
    # Every pass of the second is twice as fast; the whole machine slows down from round to round.
    load = [100.0, 1.0, 2.0, 4.0]

    def run(model, samples):
        clock.now += load[len(passes) // 2] * (2.0 if model is first else 1.0)
        passes.append((model, tuple(samples.shape)))

    monkeypatch.setattr(speed, "run_pass", run)
    found = measure_speed({"a": first, "b": second}, rounds=3, seconds=2.0, batch=2)
    assert [{model for model, _ in passes[i : i + 2]} for i in range(0, 8, 2)] == [{first, second}] * 4
    assert {shape for _, shape in passes} == {(2, 32_000)}
    assert found["b"].speedup == found["b"].speedup_low == found["b"].speedup_high == 2.0
    assert (found["a"].median_seconds, found["b"].median_seconds) == (4.0, 2.0)
    assert found["b"].real_time_factor == 0.5, "of all audio in the batch"


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_no_place_in_a_round_belongs_to_one(count):
    names, turn, rounds = [f"m{i}" for i in range(count)], [], []
    passes = {name: functools.partial(turn.append, name) for name in names}
    times = time_rounds(passes, 2 * count - 1, lambda: rounds.append(turn.copy()) or turn.clear())
    assert [sorted(one) for one in rounds] == [names] * (2 * count)
    for place in range(count):
        assert Counter(one[place] for one in rounds) == dict.fromkeys(names, 2)
    if count > 1:
        followers = Counter(pair for one in rounds for pair in itertools.pairwise(one))
        assert all(followers[a, b] == followers[b, a] for a, b in followers), "nobody only ever comes after another"
    assert {name: len(own) for name, own in times.items()} == dict.fromkeys(names, 2 * count - 1)


def test_quartiles_of_the_ratios():
    found = summarize_times([4.0, 2.0, 6.0, 8.0, 10.0], [2.0, 2.0, 2.0, 2.0, 2.0], 1.0)
    assert (found.speedup_low, found.speedup, found.speedup_high) == (2.0, 3.0, 4.0)


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20))
def test_spread_is_numpys(values):
    found = compute_spread(values)
    assert [found.low, found.median, found.high] == pytest.approx(list(np.quantile(values, [0.25, 0.5, 0.75])))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_set_inside_and_restored(build_model, monkeypatch, threads):
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(speed, "run_pass", lambda *_: seen.append(torch.get_num_threads()))
    measure_speed({"a": build_model()}, rounds=1, seconds=0.1, threads=threads)
    assert seen == [threads] * 2
    assert torch.get_num_threads() == before


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def test_no_gradients_and_eval_mode(build_model):
    model = build_model(hidden_dropout=0.5).train()
    modes = []
    model.register_forward_hook(lambda m, _, output: modes.append((m.training, output.logits.requires_grad)))
    measure_speed({"a": model}, rounds=1, seconds=0.1)
    assert modes == [(False, False)] * 2
    assert model.training, "put back as it was"


def test_all_threads():
    assert 1 <= count_all_threads() <= (os.cpu_count() or 1)
