"""Files are read once, and again where they changed."""

import gzip
import os
import shutil
import time

import pytest

from bigfoot.storage import digests as module
from bigfoot.storage.digests import FileDigests, describe_damage, digest_folder, find_damage
from bigfoot.storage.replace import replace_folder
from tests.refusals import names


@pytest.fixture
def looked(monkeypatch):
    """The files that were read."""
    read, ours = [], module._compute
    monkeypatch.setattr(module, "_compute", lambda path: (read.append(os.path.basename(path)), ours(path))[1])
    monkeypatch.setattr(module, "_YOUNG_NS", 0)
    return read


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    time.sleep(0.01)
    return tmp_path


def look(folder):
    memory = FileDigests(folder / "kept.jsonl.gz")
    found = {name: memory.digest(folder / name) for name in ("a", "b")}
    memory.save()
    return found


def test_what_has_not_changed_is_not_read_again(folder, looked):
    first = look(folder)
    assert look(folder) == first and looked == ["a", "b"]
    assert len(set(first.values())) == 2 and all(len(digest) == 64 for digest in first.values())


def test_a_touched_file_is_read_and_is_the_same(folder, looked):
    first = look(folder)
    os.utime(folder / "a", (1, 1))
    time.sleep(0.01)
    assert look(folder) == first and looked == ["a", "b", "a"]
    assert look(folder) == first and len(looked) == 3


@pytest.mark.parametrize("content", [b"c" * 1000, b"short"])
def test_another_content_is_noticed_even_with_the_old_times(folder, looked, content):
    first, times = look(folder), (folder / "a").stat()
    (folder / "a").write_bytes(content)
    os.utime(folder / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    second = look(folder)
    assert second["a"] != first["a"] and second["b"] == first["b"]


def test_young_files_and_those_of_the_future_are_read_every_time(folder, looked, monkeypatch):
    monkeypatch.setattr(module, "_YOUNG_NS", 60 * 10**9)
    look(folder)
    look(folder)
    assert looked == ["a", "b", "a", "b"]
    monkeypatch.setattr(module, "_YOUNG_NS", 0)
    os.utime(folder / "a", (2**33, 2**33))
    time.sleep(0.01)
    look(folder)
    look(folder)
    assert looked[4:] == ["a", "b", "a"]


def test_a_moved_folder_keeps_what_lies_in_it(folder, looked, tmp_path_factory):
    first, there = look(folder), tmp_path_factory.mktemp("other") / "moved"
    folder.rename(there)
    assert look(there) == first and looked == ["a", "b"]


DAMAGED = [b"", b"\x1f\x8b", b"noise", gzip.compress(b"7\n", mtime=0), gzip.compress(b'1\n["a", 1]\n', mtime=0)]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_memory_costs_reading_alone(folder, looked, content):
    first = look(folder)
    (folder / "kept.jsonl.gz").write_bytes(content)
    assert look(folder) == first and len(looked) == 4


def test_what_is_no_file_has_no_digest(folder):
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "nowhere")
    memory = FileDigests(folder / "kept.jsonl.gz")
    assert [memory.digest(folder / name) for name in ("pipe", "link", ".", "nothing")] == [""] * 4


def test_damage_of_a_folder_is_named(folder, tmp_path_factory):
    found = digest_folder(folder)
    (folder / "new").write_text("a model's card")
    assert describe_damage(folder, found) == ""
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "model")
    (copy / "b").write_bytes(b"b" * 999 + b"c")
    damaged = describe_damage(copy, found)
    (copy / "b").unlink()
    gone = describe_damage(copy, found)
    assert names(damaged, "b") and names(gone, "b") and damaged != gone
    assert describe_damage(copy / ("x" * 300), found) and describe_damage(copy, {"x" * 300: "1", "a\0b": "2"})


@pytest.fixture
def written(tmp_path):
    def write(beside):
        (beside / "deep").mkdir()
        for name in ("a.json", "deep/b.bin"):
            (beside / name).write_bytes(name.encode() * 100)

    replace_folder(tmp_path / "folder", write)
    return tmp_path / "folder"


def flip(file, at):
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1
    file.write_bytes(content)


def test_a_folder_as_it_was_written_has_no_damage(written):
    assert find_damage(written) == ""
    assert find_damage(shutil.copytree(written, written.with_name("copy"))) == ""
    assert find_damage(written / "deep") != ""


@pytest.mark.parametrize("name", ["a.json", "deep/b.bin", ".bigfoot"])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "flipped"])
def test_any_damage_of_a_written_folder_is_found(written, name, damage):
    copy = shutil.copytree(written, written.with_name("copy"))
    file = copy / name
    {"cut": lambda: os.truncate(file, file.stat().st_size // 2), "empty": lambda: os.truncate(file, 0),
     "gone": file.unlink, "flipped": lambda: flip(file, -4)}[damage]()  # fmt: skip
    assert find_damage(copy)
