import os

import pytest
import torch

from bigfoot.measure import speed
from bigfoot.measure.speed import count_all_threads, measure_speed, torch_threads


def test_a_model_is_as_fast_as_itself(build_model):
    model = build_model()
    found = measure_speed({"teacher": model, "again": model}, rounds=5, seconds=0.5)
    assert list(found) == ["teacher", "again"]
    assert found["teacher"].speedup == found["teacher"].speedup_low == found["teacher"].speedup_high == 1.0
    assert 0.3 < found["again"].speedup < 3
    for one in found.values():
        assert one.real_time_factor == pytest.approx(one.median_seconds / 0.5)
        assert one.median_seconds > 0
        assert one.speedup_low <= one.speedup <= one.speedup_high


def test_rounds_are_interleaved_and_the_first_is_not_counted(build_model, monkeypatch):
    first, second = build_model(), build_model()
    passes = []
    # Every pass of the second is twice as fast; the whole machine slows down from round to round.
    monkeypatch.setattr(
        speed, "_time_pass", lambda model, samples: passes.append((model, tuple(samples.shape))) or _cost(model)
    )
    rounds = iter([100.0, 1.0, 2.0, 4.0])
    state = {}

    def _cost(model):
        if model is first:
            state["load"] = next(rounds)
        return state["load"] * (2.0 if model is first else 1.0)

    found = measure_speed({"a": first, "b": second}, rounds=3, seconds=2.0)
    assert [model for model, _ in passes] == [first, second] * 4
    assert {shape for _, shape in passes} == {(1, 32_000)}
    assert found["b"].speedup == found["b"].speedup_low == found["b"].speedup_high == 2.0
    assert (found["a"].median_seconds, found["b"].median_seconds) == (4.0, 2.0)
    assert found["b"].real_time_factor == 1.0


def test_quartiles_of_the_ratios():
    found = speed._summarize([4.0, 2.0, 6.0, 8.0, 10.0], [2.0, 2.0, 2.0, 2.0, 2.0], 1.0)
    assert (found.speedup_low, found.speedup, found.speedup_high) == (2.0, 3.0, 4.0)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_set_inside_and_restored(build_model, monkeypatch, threads):
    seen, before = [], torch.get_num_threads()
    original = speed._time_pass
    monkeypatch.setattr(
        speed, "_time_pass", lambda *args: seen.append(torch.get_num_threads()) or original(*args)
    )
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
