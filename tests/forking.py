"""Python programs in processes forked from one that has imported everything: a start costs no seconds of imports.

Run as ``python -m tests.forking FD``, this module is that process: it forks one for each program that it reads from
the socket. Its processes share a hash seed; where that matters, one of them is compared with a process of its own.
"""

import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.search_path import search_path

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ("numpy", "bigfoot.cli", "bigfoot.pipeline.run", "bigfoot.pipeline.steps", "bigfoot.training.loop")
MOST_BYTES = 1 << 17


class Forked:
    """A process as ``subprocess.Popen`` has it."""

    def __init__(self, channel):
        self._channel = channel
        self.pid = int(channel.recv(64))
        self.returncode = None

    def poll(self):
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout=None):
        if self.returncode is None:
            self._channel.settimeout(timeout)
            try:
                status = self._channel.recv(64)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout) from None
            self.returncode = os.waitstatus_to_exitcode(int(status))
            self._channel.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that has imported everything, seen from outside."""

    def __init__(self):
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search_path(ROOT)}
        command = [sys.executable, "-m", "tests.forking", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()

    def close(self):
        self._control.close()
        self.process.wait()

    def start(self, *arguments, extra=None, stdout=None, stderr=None, most_bytes=None):
        """Start a program, its output in files or nowhere; ``most_bytes`` is the limit of a file's size."""
        channel, theirs = socket.socketpair()
        ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path(ROOT), "COLUMNS": "200"}
        environment = {**os.environ, **ours, **(extra or {})}
        job = {"arguments": [*map(str, arguments)], "environment": environment, "most_bytes": most_bytes}
        with open(os.devnull, "w") as nowhere:
            files = [(file or nowhere).fileno() for file in (stdout, stderr)]
            socket.send_fds(self._control, [json.dumps(job).encode()], [theirs.fileno(), *files])
        theirs.close()
        return Forked(channel)

    def run(self, *arguments, **options):
        """The same to its end, with what it printed."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = self.start(*arguments, stdout=out, stderr=err, **options)
            try:
                code = process.wait(timeout=900)
            finally:
                process.kill()
            texts = [(file.seek(0), file.read())[1] for file in (out, err)]
        return subprocess.CompletedProcess(arguments, code, *texts)


def reap(*_):
    """Take note of processes that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def next_job(control):
    """In each forked process its job; the process that forks comes back from here at the end alone, with None."""
    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, files, _, _ = socket.recv_fds(control, MOST_BYTES, 3)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            channel = socket.socket(fileno=files[0])
            if (pid := os.fork()) == 0:
                channel.close()
                for descriptor, file in enumerate(files[1:], start=1):
                    os.dup2(file, descriptor)
                    os.close(file)
                return json.loads(message)
            channel.send(str(pid).encode())
            channel.send(str(os.waitpid(pid, 0)[1]).encode())
            os._exit(0)
        for file in files:
            os.close(file)


def run_job(arguments, environment, most_bytes):
    """Be ``python ARGUMENTS``."""
    import numpy

    numpy.random.seed()
    os.environ.clear()
    os.environ.update(environment)
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")


def main(descriptor):
    for name in PRELOADED:
        __import__(name)
    job = next_job(socket.socket(fileno=int(descriptor)))
    if job is not None:
        run_job(**job)


if __name__ == "__main__":
    main(sys.argv[1])
