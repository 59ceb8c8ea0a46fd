"""What was computed of a file is known until the file changes."""

import os
import time

import pytest

from bigfoot.storage.memory import FileMemory

HOUR = 3600


def make(path, content, age):
    path.write_bytes(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


@pytest.fixture
def later(monkeypatch):
    """A clock that is a minute ahead: times of entries cannot be set by hand."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)


def test_a_file_is_read_once(tmp_path, later):
    memory, path = FileMemory(), make(tmp_path / "a", b"1", HOUR)
    assert memory.get(path, "x", path.read_bytes) == b"1"
    assert memory.get(str(path), "x", lambda: b"never") == b"1"
    assert memory.get(path, "y", lambda: b"other") == b"other"


def test_a_changed_file_is_read_again_though_size_and_time_are_the_same(tmp_path, later):
    memory, path = FileMemory(), make(tmp_path / "a", b"1", HOUR)
    memory.get(path, "x", path.read_bytes)
    before = path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert memory.get(path, "x", path.read_bytes) == b"2"
    assert memory.get(path, "x", lambda: b"never") == b"2"


def test_a_young_file_a_folder_and_one_too_many_are_computed_each_time(tmp_path, monkeypatch):
    memory, path, count = FileMemory(most=1), make(tmp_path / "a", b"1", 0), iter(range(9))
    for place in (path, path, tmp_path, tmp_path, tmp_path / "none"):
        memory.get(place, "x", lambda: next(count))
    assert next(count) == 5
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 60 * 10**9)
    assert [memory.get(path, what, lambda: next(count)) for what in "xyyx"] == [6, 7, 8, 6]
