"""One writer at a time: real processes, kills, and file systems without record locks."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from bigfoot.errors import OutputError
from bigfoot.storage import lock
from bigfoot.storage.lock import locked
from bigfoot.storage.processes import Process, started_at
from tests.refusals import refused

HOLD = """
import sys, time
from bigfoot.storage import lock
if sys.argv[2] == "names":
    lock.fcntl = None
with lock.locked(sys.argv[1], inside=len(sys.argv) > 3):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["records", "names"])
def kind(request, monkeypatch):
    """With record locks, and on a file system that has none."""
    if request.param == "names":

        def refuse(*_):
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr(fcntl, "lockf", refuse)
    return request.param


@pytest.fixture
def hold(kind):
    children = []

    def start(output, *more):
        child = subprocess.Popen([sys.executable, "-c", HOLD, str(output), kind, *more], stdout=subprocess.PIPE)
        children.append(child)
        assert child.stdout.readline() == b"held\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_the_second_process_says_who_writes_and_a_kill_frees(hold, tmp_path):
    out = tmp_path / "out"
    child = hold(out)
    before = os.listdir(tmp_path)
    for written in (out, f"{tmp_path}/./x/../out", f"{out}/"):
        with refused(OutputError, child.pid), locked(written):
            pass
    assert os.listdir(tmp_path) == before
    child.send_signal(signal.SIGKILL)
    child.wait()
    with locked(out):
        assert json.loads((tmp_path / ".out.bigfoot-lock").read_text())["pid"] == os.getpid()
    assert not os.listdir(tmp_path)


def test_a_second_process_may_wait(hold, tmp_path):
    child, reported = hold(tmp_path / "out"), []
    threading.Timer(0.4, child.kill).start()
    threading.Timer(0.5, child.wait).start()
    with locked(tmp_path / "out", wait=20, on_wait=reported.append):
        pass
    assert len(reported) == 1 and str(child.pid) in reported[0]


def test_a_folder_that_grows_has_its_lock_inside_under_any_name(hold, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "run")
    hold(tmp_path / "run", "inside")
    for name in ("run", "link"):
        with pytest.raises(OutputError), locked(tmp_path / name, inside=True):
            pass


def test_one_process_takes_it_again(kind, tmp_path):
    with locked(tmp_path / "out"), locked(tmp_path / "out"):
        with locked(tmp_path / "out"):
            pass
        assert os.listdir(tmp_path) == [".out.bigfoot-lock"]
    assert not os.listdir(tmp_path)


def test_another_thread_does_not_have_it(kind, tmp_path):
    refused = []

    def try_it():
        try:
            with locked(tmp_path / "out"):
                pass
        except OutputError as error:
            refused.append(error)

    with locked(tmp_path / "out"):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_a_number_that_was_given_again_is_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    path, me = tmp_path / ".out.bigfoot-lock", Process.current()
    stale = {**me.to_dict(), "path": str(path)}
    path.write_text(json.dumps({**stale, "started": "long ago"}))
    with locked(tmp_path / "out"):
        pass
    path.write_text(json.dumps({**stale, "host": "elsewhere"}))
    with refused(OutputError, "elsewhere"), locked(tmp_path / "out"):
        pass
    path.write_text(json.dumps(stale | {"path": "/copied/from"}))
    with locked(tmp_path / "out"):
        pass


@pytest.mark.parametrize("content", [b"", b"[1", b"\xff", b"[" * 100_000, b'{"pid": "x"}'])
def test_damaged_lock_files(kind, tmp_path, content):
    path = tmp_path / ".out.bigfoot-lock"
    path.write_bytes(content)
    os.utime(path, (1, 1))
    with locked(tmp_path / "out"):
        pass
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_of_many_processes_one_has_it(tmp_path, kind):
    count = """
import sys, time
from pathlib import Path
from bigfoot.storage import lock
if sys.argv[2] == "names":
    lock.fcntl = None
for _ in range(15):
    with lock.locked(sys.argv[1] + "/out", wait=60):
        file = Path(sys.argv[1]) / "count"
        seen = int(file.read_text())
        time.sleep(0.001)
        file.write_text(str(seen + 1))
"""
    (tmp_path / "count").write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", count, tmp_path, kind]) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert (tmp_path / "count").read_text() == "60" and os.listdir(tmp_path) == ["count"]


def test_a_fork_neither_has_nor_frees_it(tmp_path):
    with locked(tmp_path / "out"):
        child = os.fork()
        if not child:
            try:
                with locked(tmp_path / "out"):
                    os._exit(1)
            except OutputError:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert os.listdir(tmp_path) == [".out.bigfoot-lock"]


def test_starts_of_processes():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    began = started_at(child.pid)
    assert began and began == started_at(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and not asked about yet
    assert started_at(child.pid) is None
    child.wait()
    assert started_at(child.pid) is None
    ended = Process.from_dict({**Process.current().to_dict(), "pid": child.pid})
    assert ended.has_ended() and not Process.current().has_ended()


def test_a_handle_that_another_machine_made_stale_is_opened_again(tmp_path, monkeypatch):
    """Over NFS, the file of a lock that was given back elsewhere is stale, not gone."""
    calls, lockf = [], fcntl.lockf

    def stale_once(file, how):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / lock.own_name("out", "lock")).unlink()
            raise OSError(errno.ESTALE, "stale file handle")
        return lockf(file, how)

    monkeypatch.setattr(fcntl, "lockf", stale_once)
    with locked(tmp_path / "out"):
        assert len(calls) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file", "file/run", os.devnull])
def test_what_is_no_folder_is_named(place, tmp_path):
    (tmp_path / "file").touch()
    with refused(OutputError, tmp_path / place), locked(tmp_path / place, inside=True):
        pass


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("place", ["/proc/x", "/proc/x/y", "/sys/x", "n" * 300 + "/run"])
def test_a_place_where_nothing_can_be_written_is_named(place, inside, tmp_path):
    with refused(OutputError, tmp_path / place), locked(tmp_path / place, inside=inside):
        pass
