"""A search for hyper-parameters: chosen, pruned, failed and killed trials, its table and its plot."""

import json

import pytest

from bigfoot.errors import ConfigError, OutputError, TrainingError
from bigfoot.pipeline.settings import read_config
from bigfoot.study import tune as tuning
from bigfoot.study.space import Dimension, read_space
from bigfoot.study.tune import TuneRequest, tune
from bigfoot.study.tuned import best_so_far, render_tuned, save_tuned
from bigfoot.training.observing import report_dev

optuna = pytest.importorskip("optuna", reason="optuna is not installed")
SPACE = """
startup_trials: 2
space:
  distill.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}
  distill.warmup_steps: {low: 1, high: 3}
  distill.losses.logit_kl.temperature: {choices: [1.0, 2.0]}
"""


class Runs:
    """Stands in for runs: the errors on dev follow from the number of the trial."""

    def __init__(self, monkeypatch, errors):
        self.errors, self.configs = errors, []
        monkeypatch.setattr(tuning, "run_pipeline", self)
        monkeypatch.setattr(tuning, "read_dev_error", lambda turn, folder: self.errors[int(folder.name)][-1])

    def __call__(self, config, until, config_path):
        self.configs.append(config)
        for step, error in enumerate(self.errors[int(config.run_dir[-4:])], start=1):
            if isinstance(error, BaseException):
                raise error
            report_dev(until, step, error)


@pytest.fixture
def request_of(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)

    def make(name, trials, *overrides):
        steps = ["steps=[student,distill]", "distill.max_steps=3", "distill.warmup_steps=1", *overrides]
        return TuneRequest("demo_config.yaml", [*steps, f"run_dir={tmp_path / name}"], trials, tmp_path / "space.yaml")

    return make


def chosen(tuned):
    return [(trial.number, trial.state, trial.error, trial.values) for trial in tuned.trials]


@pytest.mark.slow
def test_a_search_that_is_stopped_ends_as_if_it_were_not(request_of, monkeypatch, tmp_path):
    """Trials that fail are counted, bad ones pruned; the one under way is taken up with its values."""
    failed = [ValueError("no memory")]
    errors = {0: [0.5, 0.4], 1: [0.3, 0.2], 2: [0.9, 0.1], 3: failed, 4: [0.25, 0.15], 5: [0.3, 0.18]}
    whole = Runs(monkeypatch, errors)
    lines = []
    expected = tune(request_of("whole", 6), lines.append)
    states = [trial.state for trial in expected.trials]
    assert states == ["complete", "complete", "pruned", "fail", "complete", "complete"]
    assert expected.best.number == 4 and "no memory" in expected.trials[3].reason and len(lines) == 6
    assert expected.trials[2].dev == {1: 0.9}
    config = whole.configs[4]
    assert expected.trials[4].values == {
        "distill.learning_rate": config.distill.learning_rate, "distill.losses.logit_kl.temperature":
        config.distill.losses.logit_kl.temperature,
    }  # fmt: skip
    stopped = Runs(monkeypatch, errors | {4: [0.25, KeyboardInterrupt()]})
    with pytest.raises(KeyboardInterrupt):
        tune(request_of("stopped", 6), lines.append)
    stopped.errors = errors
    assert chosen(tune(request_of("stopped", 6), lines.append)) == chosen(expected)
    assert stopped.configs[-3].distill == stopped.configs[-2].distill
    assert len(tune(request_of("stopped", 6), lines.append).trials) == 6
    with pytest.raises(OutputError):
        tune(request_of("stopped", 7, "seed=8"))
    save_tuned(expected, tmp_path)
    written = json.loads((tmp_path / "tune.json").read_text())
    assert [trial["state"] for trial in written["trials"]] == [trial.state for trial in expected.trials]
    assert (tmp_path / "tune.png").stat().st_size > 5000 and (tmp_path / "tune.csv").read_text().count("\n") == 7
    assert render_tuned(expected).index("| 4 |") < render_tuned(expected).index("| 1 |")
    assert best_so_far(expected.trials)[-1] == (5, 0.15)


@pytest.mark.slow
def test_a_trial_whose_process_dies_again_and_again_is_given_up(request_of, monkeypatch):
    class Died(BaseException):
        pass

    runs = Runs(monkeypatch, {0: [Died()], 1: [0.5]})
    for _ in range(2):
        with pytest.raises(Died):
            tune(request_of("died", 2), print)
    assert [trial.state for trial in tune(request_of("died", 2), print).trials] == ["fail", "complete"]
    assert len(runs.configs) == 3


@pytest.mark.slow
def test_a_search_in_which_every_trial_fails_ends(request_of, monkeypatch):
    runs = Runs(monkeypatch, {number: [ValueError("no")] for number in range(9)})
    with pytest.raises(TrainingError):
        tune(request_of("failing", 9), print)
    assert len(runs.configs) == 2


@pytest.mark.parametrize(
    ("written", "key", "code"),
    [("{distill.learning_rat: {low: 1, high: 2}}", "distill.learning_rat", "unknown_key"),
     ("{distill.learning_rate: {low: -1.0, high: 2}}", "distill.learning_rate", "out_of_range"),
     ("{distill.learning_rate: {low: 3, high: 2}}", "space.distill.learning_rate", "bad_bounds"),
     ("{distill.learning_rate: {low: 0, high: 2, log: true}}", "space.distill.learning_rate", "bad_bounds"),
     ("{distill.learning_rate: {choices: []}}", "space.distill.learning_rate", "bad_bounds"),
     ("{distill.learning_rate: 3}", "space.distill.learning_rate", "wrong_type"),
     ("{finetune.learning_rate: {low: 1, high: 2}}", "space", "empty"),
     ("{seed: {choices: [1]}}", "space", "empty"), ("{}", "space", "empty")],
)  # fmt: skip
def test_a_space_that_cannot_be_searched_is_refused(written, key, code, tmp_path):
    (tmp_path / "space.yaml").write_text(f"space: {written}")
    overrides = ["steps=[student,distill]", "seed=3"]
    run, _ = read_config("demo_config.yaml", overrides)
    with pytest.raises(ConfigError) as caught:
        read_space(tmp_path / "space.yaml", "demo_config.yaml", overrides, run)
    assert {(problem.key, problem.code) for problem in caught.value.problems} == {(key, code)}


@pytest.mark.slow
def test_the_default_space_fits_the_demo():
    space = read_space(None, "demo_config.yaml", [], read_config("demo_config.yaml")[0])
    trial = optuna.create_study().ask()
    drawn = dict(each.split("=", 1) for each in space.suggest(trial))
    assert len(drawn) == 5 and read_config("demo_config.yaml", [f"{k}={v}" for k, v in drawn.items()])[1] == []
    assert isinstance(Dimension(2, 8, step=2).suggest(trial, "n"), int)


@pytest.mark.slow
def test_the_command_searches_and_writes(bigfoot, small_run, tmp_path):
    (tmp_path / "space.yaml").write_text("{pruner: none, space: {distill.learning_rate: {choices: [0.001, 0.002]}}}")
    settings = small_run(tmp_path / "search", "steps=[student,distill]", "distill.max_steps=3")
    given = ["--trials", "2", "--space", str(tmp_path / "space.yaml"), *settings]
    code, output, _ = bigfoot("tune", "--config", "demo_config.yaml", *given)
    assert code == 0 and str(tmp_path / "search" / "tune.md") in output
    found = json.loads((tmp_path / "search" / "tune.json").read_text())["trials"]
    assert [trial["state"] for trial in found] == ["complete"] * 2 and found[0]["dev"].keys() == {"3"}
    assert (tmp_path / "search/trials/0001/data").is_symlink()
    assert not list((tmp_path / "search").glob("trials/*/*/checkpoint"))
