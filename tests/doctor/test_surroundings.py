import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from bigfoot.doctor import surroundings
from bigfoot.doctor.surroundings import GIGABYTE, look_around
from tests.refusals import names

Usage = namedtuple("Usage", "total used free")


def states():
    return {finding.name: finding for finding in look_around()}


@pytest.mark.parametrize(("free", "state"), [(0.5, "broken"), (5.0, "note"), (50.0, "ok")])
def test_room_on_the_disks(free, state, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(0, 0, int(free * GIGABYTE)))
    found = states()
    assert {found[name].state for name in ("disk for runs", "temporary disk")} == {state}
    assert names(found["disk for runs"].value, f"{free:.1f}", tmp_path)
    assert state == "ok" or ("run_dir" in found["disk for runs"].cure and "TMPDIR" in found["temporary disk"].cure)


def test_no_temporary_folder_and_no_right_to_write(monkeypatch):
    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    found = states()
    assert found["writing here"].state == found["temporary disk"].state == "broken"
    assert "run_dir" in found["writing here"].cure and "TMPDIR" in found["temporary disk"].cure


def test_examining_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert states()["writing here"].state == "ok" and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("folders", "state", "words"),
    [
        (["LibriSpeech", "fsdd"], "ok", "holds LibriSpeech, fsdd"),
        ([], "note", "holds no folder"),
        (None, "broken", "No"),
    ],
)
def test_where_the_corpora_lie(folders, state, words, monkeypatch, tmp_path):
    given = tmp_path / "data"
    monkeypatch.setenv("BIGFOOT_DATA", str(given))
    for name in folders or []:
        (given / name).mkdir(parents=True)
    if folders == []:
        given.mkdir()
    found = states()["BIGFOOT_DATA"]
    assert found.state == state and words in found.value
    monkeypatch.delenv("BIGFOOT_DATA")
    assert states()["BIGFOOT_DATA"].state == "ok"


def test_a_container_that_grants_less_time_than_processors(monkeypatch):
    monkeypatch.setattr(surroundings, "count_processors", lambda: 64)
    monkeypatch.setattr(surroundings, "_quota", lambda: 1.5)
    found = states()["processors"]
    assert found.state == "note" and names(found.value, "1.5") and "threads=1" in found.cure


def test_little_memory(monkeypatch):
    monkeypatch.setattr(surroundings, "available_memory", lambda: GIGABYTE)
    assert states()["memory"].state == "note"
    monkeypatch.setattr(surroundings, "available_memory", lambda: None)
    assert states()["memory"].state == "ok"


@pytest.mark.parametrize(("version", "state"), [((3, 9), "broken"), ((3, 11), "ok"), ((3, 14), "note")])
def test_pythons_without_packages(version, state, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert surroundings._python().state == state


def test_nothing_but_pythons_own_library_is_asked_for():
    code = (
        "import sys, bigfoot.doctor, bigfoot.doctor.probes; "
        "names = {name.partition('.')[0] for name in sys.modules}; "
        "print(*sorted(names & {'numpy', 'torch', 'typer', 'rich', 'omegaconf', 'soundfile', 'packaging'}))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == ""
