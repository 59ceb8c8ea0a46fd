"""A run's folder belongs to one start, and what somebody else put there stays."""

import os
import signal
import subprocess
import sys

import pytest

from bigfoot.errors import OutputError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.pipeline.run import run_pipeline
from bigfoot.pipeline.run_folder import save_run_config, sole_run
from bigfoot.pipeline.settings import load_config
from tests.refusals import refused

HOLD = """
import sys, time
from pathlib import Path
from bigfoot.pipeline.run_folder import sole_run
with sole_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path):
    return load_config("demo_config.yaml", [f"run_dir={tmp_path / 'run'}"])


@pytest.mark.slow
def test_a_second_start_says_who_runs_and_changes_nothing(settings, tmp_path):
    child = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"held\n"
        before = os.listdir(tmp_path / "run")
        (tmp_path / "other").symlink_to(tmp_path / "run")
        for name in ("run", "other", "run/../run"):
            settings.run_dir = str(tmp_path / name)
            with refused(OutputError, f"process {child.pid}", tmp_path / name):
                run_pipeline(settings)
        assert os.listdir(tmp_path / "run") == before
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    with sole_run(tmp_path / "run"), sole_run(tmp_path / "run"):
        pass
    assert os.listdir(tmp_path / "run") == []


@pytest.mark.parametrize("name", ["config.yaml", "log.txt"])
def test_files_of_somebody_else_stay(settings, tmp_path, name):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / name
    file.write_text("seed: 7\n")
    with refused(OutputError, file):
        run_pipeline(settings)
    assert file.read_text() == "seed: 7\n"
    file.unlink()
    file.mkdir()
    with refused(OutputError, file):
        run_pipeline(settings)


@pytest.mark.slow
def test_a_run_does_not_replace_the_models_that_it_reads(settings, tmp_path):
    place = tmp_path / "run" / "student" / "model"
    loaded = load_model("tiny_teacher")
    save_model(loaded.model, loaded.processor, place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    settings.teacher.path = str(place)
    with refused(OutputError, place):
        run_pipeline(settings)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


@pytest.mark.slow
def test_a_configuration_that_is_read_is_not_written_over(settings, tmp_path):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "config.yaml"
    save_run_config(settings, tmp_path / "run", None)
    whole = file.read_text()
    save_run_config(settings, tmp_path / "run", str(file))
    assert file.read_text() == whole
    file.write_text(whole + "# a remark\n")
    with refused(OutputError, file):
        save_run_config(settings, tmp_path / "run", str(file))
    assert file.read_text().endswith("# a remark\n")
    save_run_config(settings, tmp_path / "run", None)
    assert file.read_text() == whole
