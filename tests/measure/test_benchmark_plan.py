
from bigfoot.measure import benchmark_plan
from bigfoot.measure.benchmark_plan import Setting, plan_warnings, read_plan
from tests.codes import refusing
from tests.refusals import names


def test_every_combination_the_first_first():
    plan = read_plan(["a", "b"], threads="2, 1", seconds="0.5,10", batch="8", rounds=3)
    assert plan.settings == [Setting(2, 0.5, 8), Setting(2, 10.0, 8), Setting(1, 0.5, 8), Setting(1, 10.0, 8)]
    assert all(isinstance(setting.threads, int) for setting in plan.settings)
    assert plan.sources == ("a", "b") and plan.rounds == 3


def test_one_setting_is_the_default_and_it_is_the_reports():
    assert read_plan(["a"]).settings == [Setting(threads=1, seconds=10.0, batch=1)]


def test_all_that_is_wrong_is_reported_at_once():
    with refusing(
        ("MODEL", "no_name"), ("--rounds", "out_of_range"), ("--threads", "repeated"), ("--threads", "no_number"),
        ("--batch", "no_number"), *[("--seconds", "no_number")] * 4,
    ):  # fmt: skip
        read_plan(["a", "transformers:"], threads="1,1,x", seconds="0,nan,-1,", batch="1.5", rounds=0)
    with refusing(("MODEL", "missing")):
        read_plan([])


def test_more_threads_than_processors_is_a_warning(monkeypatch):
    monkeypatch.setattr(benchmark_plan, "count_all_threads", lambda: 4)
    assert plan_warnings(read_plan(["a"], threads="1,4")) == []
    (warning,) = plan_warnings(read_plan(["a"], threads="4,5"))
    assert names(warning, 5, 4)
