"""Configurations are found and described from anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bigfoot.config.files import CONFIG_FOLDER, describe_config, find_config, list_configs
from bigfoot.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("demo_config.yaml", "demo_config.yaml"),
        ("demo_config", "demo_config.yaml"),
        ("configs/demo_config.yaml", "demo_config.yaml"),
        ("methods/armhubert.yaml", "methods/armhubert.yaml"),
        ("configs/methods/armhubert", "methods/armhubert.yaml"),
        ("compare/fsdd.yaml", "compare/fsdd.yaml"),
        ("fsdd.yaml", "fsdd.yaml"),
    ],
)
def test_found_by_name_from_any_folder(name, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == CONFIG_FOLDER / found


@pytest.mark.parametrize("name", ["demo_config.yaml", "configs/mine.yaml", "methods/bigfoot.yaml", "mine"])
def test_a_file_as_given_goes_first(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("seed: 1")
    assert find_config(name).resolve() == file and find_config(file) == file


@pytest.mark.parametrize(
    "name", ["methods", "configs", ".", "", "demo", "methods/bigfot.yaml", "configs/configs/fsdd.yaml"]
)
def test_folders_and_unknown_names_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        find_config(name)
    (problem,) = error.value.problems
    assert (problem.key, problem.code) == ("--config", "no_file") and "demo_config.yaml" in problem.message
    assert ("methods/bigfoot.yaml" in problem.message) == (name == "methods/bigfot.yaml")


def test_the_documented_paths_lead_into_the_package():
    assert (ROOT / "configs" / "demo_config.yaml").samefile(CONFIG_FOLDER / "demo_config.yaml")
    assert (ROOT / "configs").resolve() == CONFIG_FOLDER


@pytest.mark.parametrize("name", list_configs())
def test_every_one_has_a_sentence(name):
    about = describe_config(CONFIG_FOLDER / name)
    assert len(about.split()) > 3 and "--config" not in about


@pytest.mark.parametrize("text", ["", "seed: 1\n", "# bigfoot compress\n", "# bigfoot compress\n#\nseed: 1\n"])
def test_a_file_without_a_sentence(text, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    assert describe_config(tmp_path / "c.yaml") == ""


def test_the_command_lists_and_prints(bigfoot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, _ = bigfoot("configs")
    lines = output.splitlines()
    assert code == 0 and [line.split()[0] for line in lines] == list_configs()
    assert all(len(line.split()) > 3 and len(line) <= 120 for line in lines)
    for name in ("methods/armhubert", "configs/methods/armhubert.yaml"):
        code, output, _ = bigfoot("configs", name)
        assert code == 0 and output == (CONFIG_FOLDER / "methods/armhubert.yaml").read_text(encoding="utf-8")
    code, _, errors = bigfoot("configs", "armhuber")
    assert code == 2 and "demo_config.yaml" in errors


@pytest.mark.slow
def test_a_list_into_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m bigfoot configs | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, env={**os.environ}
    )
    assert done.stdout.split()[0] == "demo_config.yaml" and "Traceback" not in done.stderr
