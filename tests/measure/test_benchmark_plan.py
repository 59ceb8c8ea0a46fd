import pytest

from bigfoot.errors import ConfigError
from bigfoot.measure import benchmark_plan
from bigfoot.measure.benchmark_plan import Setting, plan_warnings, read_plan


def test_every_combination_the_first_first():
    plan = read_plan(["a", "b"], threads="2, 1", seconds="0.5,10", batch="8", rounds=3)
    assert plan.settings == [Setting(2, 0.5, 8), Setting(2, 10.0, 8), Setting(1, 0.5, 8), Setting(1, 10.0, 8)]
    assert all(isinstance(setting.threads, int) for setting in plan.settings)
    assert plan.sources == ("a", "b") and plan.rounds == 3


def test_one_setting_is_the_default_and_it_is_the_reports():
    assert read_plan(["a"]).settings == [Setting(threads=1, seconds=10.0, batch=1)]


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        read_plan(["a", "transformers:"], threads="1,1,x", seconds="0,nan,-1,", batch="1.5", rounds=0)
    problems = caught.value.problems
    starts = ["'transformers:' names", "--rounds: 0", "--threads: 1 is given twice", "--threads: 'x'", "--batch: '1.5'"]
    starts += ["--seconds: '0'", "--seconds: 'nan'", "--seconds: '-1'", "--seconds: ''"]
    assert len(problems) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in problems), start
    with pytest.raises(ConfigError):
        read_plan([])


def test_more_threads_than_processors_is_a_warning(monkeypatch):
    monkeypatch.setattr(benchmark_plan, "count_all_threads", lambda: 4)
    assert plan_warnings(read_plan(["a"], threads="1,4")) == []
    (warning,) = plan_warnings(read_plan(["a"], threads="4,5"))
    assert warning.startswith("5 threads on a machine whose process may use 4")
