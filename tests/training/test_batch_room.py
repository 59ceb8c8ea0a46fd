"""Batches as large as memory has room for."""

import json
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.config import find_problems
from bigfoot.data.settings import DEFAULT_BATCH_SECONDS, DataConfig
from bigfoot.errors import TrainingError
from bigfoot.training import batch_room
from bigfoot.training.batch_room import FOUND_FILE, _Trial, find_batch_seconds, search
from bigfoot.training.loop import Trainer, train
from tests.training.test_loop import assert_equal, make_objective, make_run, weights  # noqa: F401 - fixtures

AUTO = DataConfig(batch_seconds="auto", num_buckets=2)


@given(st.integers(0, 500), st.integers(1, 400))
def test_a_search_comes_near_the_highest_number(highest, most):
    tried = []
    found = search(lambda number: tried.append(number) or number <= highest, most)
    best = min(highest, most)
    assert best - best // 8 - 1 <= found <= best and all(1 <= number <= most for number in tried)
    assert len(tried) <= 16


@pytest.mark.parametrize(("value", "codes"), [("auto", []), ("much", ["unknown_word"]), (0, ["out_of_range"]), (7, [])])
def test_words_and_numbers(value, codes):
    data = DataConfig(batch_seconds=value)
    assert [problem.code for problem in find_problems(data)] == codes
    assert data.known_batch_seconds == (7.0 if value == 7 else 0.0 if value == 0 else DEFAULT_BATCH_SECONDS)


@pytest.fixture
def limit(monkeypatch):
    """Bounds the memory that is there."""
    return lambda size: monkeypatch.setattr(batch_room, "available_memory", lambda: size)


@pytest.mark.slow
def test_memory_bounds_a_batch_and_nothing_else_changes(make_objective, make_run, limit, monkeypatch):  # noqa: F811
    objective, run = make_objective(hidden_dropout=0.1), make_run(data=AUTO)
    before, state = weights(objective), torch.get_rng_state()
    found = []
    for size in (10**8, 2 * 10**8, None):
        limit(size)
        run.folder /= "next"
        found.append(find_batch_seconds(objective, run, Accelerator()))
    assert found[0] < found[1] < found[2] <= 160
    assert found[1] == pytest.approx(2 * found[0], rel=0.35)
    assert_equal(before, weights(objective))
    assert torch.equal(state, torch.get_rng_state()) and all(p.grad is None for p in objective.parameters())
    limit(10)
    monkeypatch.setattr(run, "fingerprint", "another")
    with pytest.raises(TrainingError):
        find_batch_seconds(objective, run, Accelerator())


class Full:
    """Runs out of memory, as a GPU does, from some number of utterances on."""

    def __init__(self, most):
        self.most, self.asked = most, []

    def __call__(self, trial, times):
        self.asked.append(times)
        if times > self.most:
            raise torch.OutOfMemoryError
        return trial._one.input_values.sum().requires_grad_()


@pytest.mark.parametrize("most", [0, 3, 11])
def test_a_trial_ends_where_memory_runs_out(most, make_objective, make_run, monkeypatch):  # noqa: F811
    run, full = make_run(data=AUTO), Full(most)
    trial = _Trial(make_objective(), run, Accelerator(), batch_room._find_longest(run))
    monkeypatch.setattr(_Trial, "_forward", lambda self, times: full(self, times))
    assert search(trial.fits, 40) == most and max(full.asked) > most
    seconds = trial._one.seconds(16_000)
    assert seconds > 1.0 and len(trial._one) == 1


@pytest.mark.slow
def test_a_resumed_training_keeps_what_was_found(make_objective, make_run, tmp_path, monkeypatch, limit):  # noqa: F811
    def run(folder, data=AUTO):
        objective = make_objective()
        steps = {"max_steps": 2, "eval_every": 2, "checkpoint_every": 1}
        train(objective, make_run(folder=tmp_path / folder, data=data, fingerprint="one", masks=True, **steps))
        return weights(objective.student)

    limit(10**8)
    after = Trainer._after_step

    def die(self, *given):
        after(self, *given)
        if self.progress.step == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_after_step", die)
        run("stopped")
    limit(9 * 10**8)
    found = json.loads((tmp_path / "stopped" / FOUND_FILE).read_text())["batch_seconds"]
    expected = run("given", replace(AUTO, batch_seconds=found))
    assert_equal(run("stopped"), expected)
    (tmp_path / "stopped" / FOUND_FILE).write_text("{")
    assert batch_room._read(tmp_path / "stopped" / FOUND_FILE, "one") is None
