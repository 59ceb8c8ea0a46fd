"""A step of a user's own: one file with settings, check, work and row, and one line that registers it."""

import json
import sys

import pytest

from bigfoot.config.plugins import load_plugins
from bigfoot.errors import BigfootError
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.preset import summarize_preset
from bigfoot.pipeline.registry import STEPS, register_step
from bigfoot.pipeline.settings import load_config, read_config
from tests.codes import codes
from tests.pages import DOCS, write_files_of
from tests.pipeline.problems import problems_of
from tests.refusals import names

PLUGIN = "plugins=[my_steps]"


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The files of the page in the working directory; what they register is forgotten after the test."""
    for known in ("_entries", "_origins"):
        monkeypatch.setattr(STEPS, known, dict(getattr(STEPS, known)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert write_files_of(DOCS / "how-to" / "own-step.md", tmp_path) == ["my_steps.py", "my_steps.yaml"]
    yield tmp_path
    sys.modules.pop("my_steps", None)


@pytest.mark.slow
@pytest.mark.usefixtures("toy", "quick_report")
def test_it_is_run_reported_skipped_and_run_again(small_run, tmp_path, capsys):
    overrides = small_run(tmp_path / "run", PLUGIN, "steps=[student,shrink]", "shrink.factor=0.25")
    run_pipeline(load_config(None, overrides))
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert [row["name"] for row in report["rows"]] == ["teacher", "student_init", "shrunk_head"]
    assert report["rows"][2]["protocol"].startswith("head times 0.25")
    assert report["config"]["shrink"] == {"factor": 0.25}
    assert any(names(each, "shrink", 0.25) for each in report["changes"])
    made = tmp_path / "run" / "shrink" / "facts.json"
    before = made.stat().st_mtime_ns
    run_pipeline(load_config(tmp_path / "run" / "config.yaml"))
    assert made.stat().st_mtime_ns == before
    run_pipeline(load_config(None, [*overrides, "shrink.factor=0.5"]), until="shrink")
    assert made.stat().st_mtime_ns != before


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_it_is_checked_like_all_others(small_run, other_teachers, tmp_path):
    headless = (PLUGIN, f"teacher.path={other_teachers['headless']}", "steps=[shrink]")
    assert codes(problems_of(small_run(tmp_path, *headless))) == [("shrink", "no_head")]
    assert codes(read_config(None, [PLUGIN, "shrink.factor=2", "shrink.fcator=1"])[1]) == [
        ("shrink.fcator", "unknown_key"), ("shrink.factor", "out_of_range")
    ]  # fmt: skip
    assert codes(read_config(None, [PLUGIN, "steps=[shrunk]"])[1]) == [("steps", "unknown_word")]


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_bigfoot_compress_stops_after_it(bigfoot, small_run, tmp_path):
    overrides = small_run(tmp_path / "run", PLUGIN, "steps=[student,shrink,distill]")
    code, _, _ = bigfoot("compress", "--config", "demo_config.yaml", "--until", "shrink", *overrides)
    assert code == 0 and (tmp_path / "run" / "shrink" / "model").is_dir()
    assert not (tmp_path / "run" / "distill").exists()


def test_without_the_module_the_name_is_unknown():
    assert ("shrink.factor", "unknown_key") in codes(read_config(None, ["shrink.factor=1"])[1])
    assert codes(read_config(None, ["steps=[shrink]"])[1]) == [("steps", "unknown_word")]


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_its_configuration_is_read_and_summarized():
    config = load_config("my_steps.yaml")
    assert config.steps == ["student", "distill", "shrink"] and config.shrink.factor == 0.9
    assert summarize_preset("my_steps.yaml").num_params_deployed == summarize_preset(None).num_params_deployed


@pytest.mark.usefixtures("toy")
def test_a_name_is_not_taken_twice():
    load_plugins(["my_steps"])
    entry = STEPS["shrink"]
    with pytest.raises(BigfootError):
        register_step("distill", entry.settings, entry.made_by)
    with pytest.raises(BigfootError):
        register_step("distill", STEPS["distill"].settings, entry.made_by)
    register_step("shrink", entry.settings, entry.made_by)  # a module that is loaded again
    register_step("data", entry.settings, entry.made_by)
    with pytest.raises(BigfootError):
        load_config(None)
