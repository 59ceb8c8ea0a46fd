"""The process that reads a foreign file first: killed where it hangs, unseen where all is well."""

import os
import pickle
import subprocess
import sys

import psutil
import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.formats import first_look
from bigfoot.formats.first_look import look_first, read_apart
from bigfoot.formats.folder import load_model
from bigfoot.formats.torch_file import open_torch_file
from tests.refusals import refused

LAYOUT = "bigfoot.formats.torch_layout.read_layout"


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def write_pickle(path, data):
    """A file of torch.save's, of before 1.6, with this where its content should be."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in head) + data)
    return path


def test_a_reader_that_hangs_is_killed(tmp_path):
    """A pipe that nobody writes to: no clock of the process itself would end the wait."""
    os.mkfifo(tmp_path / "model.pt")
    with refused(ModelError, "model.pt", "0.05"):
        read_apart(tmp_path / "model.pt", LAYOUT, 0.05)


@pytest.mark.slow
def test_a_file_that_takes_too_long_is_refused(tmp_path, monkeypatch):
    path = write_pickle(tmp_path / "model.pt", b"N0" * 450_000 + b"N.")
    monkeypatch.setattr(first_look, "MAX_SECONDS", 0.2)
    for read in (open_torch_file, load_model):
        with refused(ModelError, "0.2"):
            read(path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its address space")
def test_a_file_that_takes_too_much_memory_is_refused(tmp_path, monkeypatch):
    path = write_pickle(tmp_path / "model.pt", b"\x8f" * 900_000 + b".")
    monkeypatch.setattr(first_look, "MAX_MEMORY", 100 * 2**20)
    with refused(ModelError, "104857600"):
        look_first(path)


def test_a_good_file_is_examined_once(tmp_path, monkeypatch):
    asked, run = [], subprocess.run

    def count(command, **options):
        asked.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", count)
    torch.save({"a": torch.ones(2)}, tmp_path / "model.pt")
    for _ in range(2):
        assert open_torch_file(tmp_path / "model.pt").content.keys() == {"a"}
    assert len(asked) == 1
    torch.save({"b": torch.ones(3)}, tmp_path / "model.pt")
    assert open_torch_file(tmp_path / "model.pt").content.keys() == {"b"}
    assert len(asked) == 2


def test_the_same_reader_examines_both(tmp_path):
    """What the process runs is there and needs no torch, or it would say so instead of nothing."""
    torch.save({"a": torch.ones(2)}, tmp_path / "model.pt")
    read_apart(tmp_path / "model.pt", LAYOUT, 60)
    with refused(ModelError, "1", "torch"):
        read_apart(tmp_path / "model.pt", "bigfoot.formats.torch_file.read_state_dict", 60)


def test_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "model.pt")
    with pytest.raises(ModelError):
        open_torch_file(tmp_path / "model.pt")
    for path in (tmp_path, tmp_path / "model.pt"):
        with pytest.raises(ModelError):
            load_model(path)
