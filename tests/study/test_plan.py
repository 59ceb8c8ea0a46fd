"""The runs of a comparison, before any of them is started."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.config import to_dict
from bigfoot.errors import ConfigError
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.inputs import needs_same_data
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.settings import Config
from bigfoot.study.plan import (
    CONTROLS,
    ComparisonConfig,
    known_methods,
    plan_runs,
    read_comparison,
    share_steps,
)

FILES = ["compare/fsdd.yaml", "compare/librispeech_mini.yaml", "compare/smoke.yaml"]


@cache
def planned(file, root=None):
    """All runs of a comparison; dozens of files are read for each."""
    return plan_runs(read_comparison(file), "runs/c", [f"data.root={root}"] if root else [], others=True)


def trained(config):
    return {step: getattr(config, step).max_steps * config.steps.count(step) for step in ("gates", "distill")
            if step in config.steps}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_every_method_can_be_run_and_all_are_treated_alike(file, real_corpora):
    corpus = "LibriSpeech" if "librispeech" in file else "fsdd"
    wanted, plan = read_comparison(file), planned(file, None if "smoke" in file else real_corpora / corpus)
    assert {run.name for run in plan} == {"teacher", *known_methods()}
    assert len({run.folder for run in plan}) == len({run.key for run in plan}) == len(plan)
    first = plan[0].config
    for run in plan:
        config = run.config
        assert list(find_problems(resolve_plan(config))) == [], run.label
        assert config.teacher.path == "tiny_teacher"
        if run.seed == first.seed:
            assert needs_same_data(run.config, first), run.label
        assert to_dict(config.finetune) == to_dict(first.finetune)
        assert config.distill.learning_rate == first.distill.learning_rate
        weights = {name: loss["weight"] for name, loss in to_dict(config.distill.losses).items()}
        assert weights["logit_kl"] == (run.name != "ctc_only")
        assert run.name != "ctc_only" or {name for name, weight in weights.items() if weight} == {"ctc"}
        steps = wanted.other_steps if run.other else wanted.steps
        if run.name != "teacher":
            assert steps - len(config.steps) < sum(trained(config).values()) <= steps, run.label


@pytest.mark.parametrize("file", FILES)
@pytest.mark.slow
def test_the_comparisons_settings_are_those_of_every_run(file, real_corpora):
    corpus = "LibriSpeech" if "librispeech" in file else "fsdd"
    wanted = read_comparison(file)
    for run in planned(file, None if "smoke" in file else real_corpora / corpus):
        config = to_dict(run.config)
        for key, value in wanted.settings["data"].items():
            assert config["data"][key] == value, run.label
        listed = ("train_splits", "dev_splits", "test_splits", "train_clean_100")
        assert all(key in wanted.settings["data"] or not config["data"][key] for key in listed), run.label


@pytest.mark.slow
def test_others_have_one_seed_and_fewer_steps():
    wanted = ComparisonConfig(["bigfoot"], [3, 4], steps=40, other_steps=20)
    plan = plan_runs(wanted, "runs/c", others=True)
    named = [(run.name, run.seed) for run in plan[:4]]
    assert named == [("teacher", 3), ("teacher", 4), ("bigfoot", 3), ("bigfoot", 4)]
    assert {run.seed for run in plan if run.other} == {3}
    assert {run.config.distill.max_steps for run in plan if run.name == "lowrank"} == {20}
    assert [run.name for run in plan if run.other] == [name for name in known_methods() if name != "bigfoot"]


@pytest.mark.slow
def test_controls_are_bigfoots_student_with_one_thing_changed():
    named = {run.name: to_dict(run.config) for run in plan_runs(ComparisonConfig(["bigfoot", *CONTROLS]), "runs/c")}
    plain, ctc_only, random = (named[name] for name in ("bigfoot", *CONTROLS))
    assert random["student"] == plain["student"] | {"weights": "random"}
    assert random["distill"] == plain["distill"] and ctc_only["student"] == plain["student"]
    weights = {name: loss["weight"] for name, loss in ctc_only["distill"]["losses"].items()}
    assert {name for name, weight in weights.items() if weight} == {"ctc"}
    assert named["teacher"]["steps"] == []


def test_what_the_user_sets_is_set_in_every_run():
    plan = plan_runs(ComparisonConfig(["lowrank"], settings={"threads": 1}), "runs/c", ["threads=2", "data.num_test=9"])
    assert {(run.config.threads, run.config.data.num_test) for run in plan} == {(2, 9)}


TURNS = st.lists(st.sampled_from(["gates", "prune", "distill"]), min_size=1)


@given(TURNS, st.integers(1, 500), st.integers(1, 90_000), st.integers(1, 90_000))
def test_steps_are_divided_as_the_file_divides_its_own(steps, total, gates, distill):
    config = Config(steps=["student", *steps, "finetune"])
    config.gates.max_steps, config.distill.max_steps = gates, distill
    counts = {step: steps.count(step) for step in ("gates", "distill") if step in steps}
    shares = share_steps(config, total)
    assert set(shares) == set(counts) and all(shares[step] >= 1 for step in shares)
    own = {"gates": gates, "distill": distill}
    whole = sum(own[step] * count for step, count in counts.items())
    for step, share in shares.items():
        assert share == 1 or abs(share - total * own[step] / whole) < 1
    if shares and all(share > 1 for share in shares.values()):
        assert total - sum(counts.values()) < sum(shares[step] * counts[step] for step in shares) <= total


@pytest.mark.parametrize(
    ("methods", "overrides", "found"),
    [
        (["bigfoot", "bigfood"], [], ("methods", "unknown_word")),
        (["bigfoot"], ["distil.max_steps=3"], ("distil.max_steps", "unknown_key")),
    ],
)
def test_what_is_wrong_is_found_before_anything_runs(methods, overrides, found):
    with pytest.raises(ConfigError) as caught:
        plan_runs(ComparisonConfig(methods), "runs/c", overrides)
    assert [(problem.key, problem.code) for problem in caught.value.problems] == [found]


WRONG = {"step: 3": "unknown_key", "steps: many": "wrong_type", "steps: 0": "out_of_range", "seeds: []": "empty"}


@pytest.mark.parametrize("content", WRONG)
def test_a_wrong_file_is_refused(content, tmp_path):
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_comparison(tmp_path / "c.yaml")
    (problem,) = caught.value.problems
    assert problem.code == WRONG[content] and problem.key.startswith(str(tmp_path / "c.yaml"))
