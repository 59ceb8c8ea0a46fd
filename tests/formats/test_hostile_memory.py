"""The memory that hostile files take, as the system counts it: of a process that goes through all of them."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

MOST = 300 * 2**20


def load_neighbour(name):
    """Another file of tests: its hostile files."""
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_files(folder):
    """Every pickle of ``test_safe_pickle.py`` in both layouts, and those that hold as much as may be counted."""
    files = load_neighbour("test_safe_pickle")
    pickles = {name: data(folder / "marker") for name, data in files.ATTACKS.items()}
    pickles |= {name: data for name, (data, _) in files.TRICKS.items()}
    pickles |= {name: files.tensor(**changes) for name, (changes, _) in files.LIES.items()}
    for index, data in enumerate(pickles.values()):
        files.as_zip(data, folder / f"{index}.zip.pt")
        files.as_legacy(data, folder / f"{index}.old.pt")
    largest = {
        "sets": b"\x8f" * 10**6, "records": (files.ENUM + b")R") * 330_000,
        "text": (b"X" + (2**24).to_bytes(4, "little") + b"a" * 2**24) * 4,
    }  # fmt: skip
    for name, data in largest.items():
        files.as_zip(data, folder / f"{name}.pt")
    for index, entries in enumerate(files.BAD_ZIPS.values()):
        files.as_zip(files.tensor(), folder / f"bad{index}.pt", entries)


def write_folders(folder, build_huggingface, edit_json):
    """Every folder of ``test_hostile_folders.py``."""
    folders = load_neighbour("test_hostile_folders")
    build_huggingface().save_pretrained(folder / "good")
    for index, (changes, _) in enumerate(folders.ABSURD):
        shutil.copytree(folder / "good", folder / f"config{index}")
        edit_json(folder / f"config{index}" / "config.json", **changes)
    for index, header in enumerate(folders.HEADERS.values()):
        shutil.copytree(folder / "good", folder / f"header{index}")
        (folder / f"header{index}" / "model.safetensors").write_bytes(header)
    shutil.rmtree(folder / "good")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")
def test_no_hostile_file_takes_much_memory(build_huggingface, edit_json, launch, tmp_path):
    write_files(tmp_path)
    write_folders(tmp_path, build_huggingface, edit_json)
    given = sorted(path.name for path in tmp_path.iterdir())
    done = launch.run("tests/formats/hostile_memory.py", tmp_path, 2 * MOST)
    assert done.returncode == 0, done.stderr[-3000:]
    grown = dict(map(json.loads, done.stdout.splitlines()))
    # The same measure shows a block that is really there.
    assert grown.pop(f"a block of {2 * MOST}") > MOST
    assert sorted(grown) == given and len(given) > 150
    assert max(grown.values()) < MOST, sorted(grown.items(), key=lambda item: item[1])[-3:]
