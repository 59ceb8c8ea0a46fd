"""A step of a user's own: one file with settings, check, work and row, and one line that registers it."""

import importlib.util
import json
import sys

import pytest

from bigfoot.errors import BigfootError
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.registry import STEPS, register_step
from bigfoot.pipeline.settings import load_config, read_config
from tests.pipeline.problems import codes, problems_of

TOY = '''
from collections.abc import Iterator
from dataclasses import dataclass

from bigfoot.config import Problem, share
from bigfoot.formats.folder import load_model
from bigfoot.pipeline.registry import register_step
from bigfoot.pipeline.steps.saving import save_step
from bigfoot.pipeline.steps.step import Step


@dataclass
class ShrinkConfig:
    """Bring all weights of the head nearer to 0."""

    factor: float = share(0.5)
    """What they are multiplied with."""


class ShrinkStep(Step):
    row = "shrunk_head"
    repeats = True

    def check(self, plan) -> Iterator[Problem]:
        if plan.models is not None and not plan.models.source.config.ctc_head:
            yield Problem("shrink", "no_head", "there is no head to shrink")

    def describe(self, config, precision):
        return f"head times {config.shrink.factor}, CTC"

    def run(self, result, before, context, *, control):
        loaded = load_model(before.folder)
        loaded.model.head.weight.data *= context.config.shrink.factor
        result.changes = [f"shrink: the head times {context.config.shrink.factor}"]
        save_step(result, loaded.model, loaded)


register_step("shrink", ShrinkConfig, ShrinkStep)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The module of a user, imported; its step is forgotten after the test."""
    for known in ("_entries", "_origins"):
        monkeypatch.setattr(STEPS, known, dict(getattr(STEPS, known)))
    (tmp_path / "toy.py").write_text(TOY)
    spec = importlib.util.spec_from_file_location("toy_step", tmp_path / "toy.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "toy_step", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.usefixtures("toy", "quick_memory")
def test_it_is_run_reported_skipped_and_run_again(small_run, tmp_path, capsys):
    overrides = small_run(tmp_path / "run", "steps=[student,shrink]", "shrink.factor=0.25")
    run_pipeline(load_config(None, overrides))
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["teacher", "student_init", "shrunk_head"]
    assert report["rows"][2]["protocol"].startswith("head times 0.25, CTC")
    assert report["config"]["shrink"] == {"factor": 0.25} and "shrink: the head times 0.25" in report["changes"]
    made = tmp_path / "run" / "shrink" / "facts.json"
    before = made.stat().st_mtime_ns
    run_pipeline(load_config(tmp_path / "run" / "config.yaml"))
    assert made.stat().st_mtime_ns == before
    run_pipeline(load_config(None, [*overrides, "shrink.factor=0.5"]), until="shrink")
    assert made.stat().st_mtime_ns != before


@pytest.mark.usefixtures("toy")
def test_it_is_checked_like_all_others(small_run, other_teachers, tmp_path):
    headless = (f"teacher.path={other_teachers['headless']}", "steps=[shrink]")
    assert codes(problems_of(small_run(tmp_path, *headless))) == [("shrink", "no_head")]
    assert codes(read_config(None, ["shrink.factor=2", "shrink.fcator=1"])[1]) == [
        ("shrink.fcator", "unknown_key"), ("shrink.factor", "out_of_range")
    ]  # fmt: skip
    assert codes(read_config(None, ["steps=[shrunk]"])[1]) == [("steps", "unknown_word")]


@pytest.mark.usefixtures("toy")
def test_bigfoot_compress_stops_after_it(bigfoot, small_run, tmp_path):
    overrides = small_run(tmp_path / "run", "steps=[student,shrink,distill]")
    code, _, _ = bigfoot("compress", "--config", "demo_config.yaml", "--until", "shrink", *overrides)
    assert code == 0 and (tmp_path / "run" / "shrink" / "model").is_dir()
    assert not (tmp_path / "run" / "distill").exists()


def test_without_the_module_the_name_is_unknown():
    assert ("shrink.factor", "unknown_key") in codes(read_config(None, ["shrink.factor=1"])[1])
    assert codes(read_config(None, ["steps=[shrink]"])[1]) == [("steps", "unknown_word")]


def test_a_name_is_not_taken_twice(toy, monkeypatch):
    with pytest.raises(BigfootError):
        register_step("distill", toy.ShrinkConfig, toy.ShrinkStep)
    register_step("shrink", toy.ShrinkConfig, toy.ShrinkStep)  # a module that is loaded again
    register_step("data", toy.ShrinkConfig, toy.ShrinkStep)
    with pytest.raises(BigfootError):
        load_config(None)
