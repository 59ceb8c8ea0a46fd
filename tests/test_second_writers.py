"""Two writers of one output: of every command that writes, the second names the first and writes nothing."""

import os
import threading
from contextlib import contextmanager

import pytest

from bigfoot.report.rows import Report, Row
from bigfoot.report.writer import save_report
from bigfoot.storage.lock import locked
from tests.refusals import names

BESIDE = {
    "benchmark": ["tiny_teacher", "--seconds", "0.1", "--rounds", "1", "--out"],
    "align": ["tiny_teacher", "--calibrate", "--output"],
    "convert": ["tiny_teacher"],
    "quantize": ["tiny_teacher", "--precision", "float16"],
    "export": ["tiny_teacher"],
    "push": ["tiny_teacher", "me/model", "--dry-run"],
}
INSIDE = {
    "describe": ["--config", "demo_config.yaml", "--out"],
    "compare": ["run", "--out"],
    "train-text": ["csv=table.csv", "model=none"],
    "compress": ["--config", "demo_config.yaml"],
}


@contextmanager
def another_writes(place, inside):
    """Hold the lock in another thread, which is as good as another process."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with locked(place, inside=inside):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("command", [*BESIDE, *INSIDE])
def test_the_second_names_the_first_and_writes_nothing(command, bigfoot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_report(Report("run", [Row("teacher", "teacher", "test", wer=0.04)]), tmp_path / "run/report")
    out = "out.onnx" if command == "export" else "out"
    option = f"run_dir={out}" if command in ("train-text", "compress") else out
    with another_writes(out, command in INSIDE):
        before = sorted(path for path in tmp_path.rglob("*"))
        code, _, error = bigfoot(command, *(BESIDE | INSIDE)[command], option)
        assert code == 1 and names(error, os.getpid(), out)
        assert sorted(path for path in tmp_path.rglob("*")) == before
