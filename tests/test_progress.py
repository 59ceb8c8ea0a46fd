"""Progress of long work: bars on a terminal, whole lines elsewhere, one mechanism for all commands."""

import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bigfoot import progress
from bigfoot.progress import AUDIO, Work, show_work, track
from tests.search_path import search_path

ROOT = Path(__file__).resolve().parent.parent
NESTED = """
import logging, sys, time
from rich.logging import RichHandler
from bigfoot.progress import AUDIO, show_work, track
logging.basicConfig(level=20, handlers=[RichHandler(show_path=False)], format="%(message)s")
with show_work("outer", 3, "steps") as work:
    for _ in range(3):
        for _ in track([1.0, 2.0], "inner", 3.0, AUDIO, lambda seconds: seconds):
            time.sleep(0.15)
        logging.info("logged [bold]")
        work.advance(note="loss [1.0]")
print("printed")
FAIL
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    hands = type("Clock", (), {"now": 0.0, "monotonic": lambda self: self.now})()
    monkeypatch.setattr(progress, "time", hands)
    return hands


def test_amount_rate_and_time_left(clock):
    work = Work("reading", total=100, unit=AUDIO, done=40)
    clock.now = 4.0
    work.advance(20, note="loss 1")
    assert work.describe() == "60/100 s of audio, 5 s of audio/s, 0:08 left  loss 1"
    work.advance(40)
    assert work.describe() == "100/100 s of audio, 15 s of audio/s  loss 1"


def test_lines_in_a_log_are_whole_and_rare(clock, capsys):
    with show_work("reading", total=36_000, unit="files") as work:
        for _ in range(36_000):
            clock.now += 0.125
            work.advance()
    written = capsys.readouterr()
    lines = written.err.splitlines()
    assert not written.out and "\r" not in written.err and "\x1b" not in written.err
    assert 20 < len(lines) < 100 and all(line.startswith("reading: ") for line in lines)
    assert lines[0] == "reading: 80/36,000 files, 8/s, 1:14:50 left"


def test_a_long_step_shows_that_it_still_runs(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_FIRST_LINE", 0.05)
    with show_work("building"):
        time.sleep(0.4)
    after = capsys.readouterr().err.splitlines()
    assert after and all(line.startswith("building: 0:00") for line in after)
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_quick_work_prints_nothing(capsys):
    assert list(track("abc", "reading")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_only_the_first_process_shows_progress(clock, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with show_work("reading") as work:
        clock.now = 1000.0
        work.advance()
    assert capsys.readouterr().err == ""


def test_a_total_that_takes_time_is_not_computed_for_a_log():
    with show_work("reading", lambda: pytest.fail("computed")) as work:
        work.advance()


def test_threads_may_advance_together():
    with show_work("reading") as work:
        threads = [threading.Thread(target=lambda: [work.advance() for _ in range(1000)]) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert work.done == 4000


def on_terminal(code, stdout=None):
    """Run code with a terminal of its own; what the terminal got, and what a pipe in place of stdout did."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": search_path(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=stdout or theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(ours)
    piped = child.stdout.read().decode() if child.stdout else ""
    child.wait()
    return shown.decode(), piped


@pytest.mark.slow
def test_a_terminal_shows_bars_and_log_lines_above_them():
    shown, _ = on_terminal(NESTED.replace("FAIL", ""))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert "outer" in plain and "inner" in plain and "s of audio/s" in plain and "loss [1.0]" in plain
    # Every line of the log is one line of the terminal, with no remains of a bar.
    logged = [line.strip("\r").split("\r")[-1].strip() for line in plain.split("\n") if "logged" in line]
    assert len(logged) == 3 and all(line.endswith("logged [bold]") for line in logged)
    assert plain.rstrip().endswith("printed")
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0, "the cursor is back"


@pytest.mark.slow
def test_a_pipe_beside_a_terminal_gets_the_output_alone():
    shown, piped = on_terminal(NESTED.replace("FAIL", ""), stdout=subprocess.PIPE)
    assert piped.endswith("printed\n") and "\x1b" not in piped and "\r" not in piped
    assert "inner" in shown


@pytest.mark.slow
def test_an_error_leaves_no_bar_behind():
    code = NESTED.replace("FAIL", "t = track([1, 2], 'left'); next(t); raise SystemExit('failed')")
    shown, _ = on_terminal(code)
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l") >= 0
