"""A server's process, and what clients send to it."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

PATH = "/v1/audio/transcriptions"
# The command as a process, which tells at its end which modules it loaded.
COMMAND = """
import atexit, pathlib, sys
from bigfoot.cli import main
atexit.register(lambda: pathlib.Path(sys.argv[1]).write_text("\\n".join(sys.modules)))
main(["serve", *sys.argv[2:]])
"""


@contextmanager
def serving(folder, *options):
    """A server's process and its address; it leaves nothing behind."""
    temporary = Path(tempfile.mkdtemp(dir=folder))
    model, modules = folder / "student.onnx", temporary / "modules.txt"
    command = [sys.executable, "-c", COMMAND, modules, model, "--port", "0", "--threads", "1"]
    process = subprocess.Popen(
        [*command, *options], stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(temporary)}
    )
    try:
        line = process.stderr.readline()
        yield process, re.search(r"http://\S+", line).group()
    finally:
        process.terminate()
        rest = process.stderr.read()
        assert process.wait(60) == 0 and "Traceback" not in rest, rest
    assert list(temporary.glob("bigfoot*")) == []
    loaded = {name.partition(".")[0] for name in modules.read_text().split()}
    assert "onnxruntime" in loaded and not loaded & {"torch", "transformers", "lhotse", "matplotlib"}


def form(content, name="a.wav", **fields):
    """A form as clients send it; its body and headers."""
    fields = {"model": "student"} | fields
    parts = [f'--XX\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n' for key, text in fields.items()]
    head = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return "".join(parts).encode() + head.encode() + content + b"\r\n--XX--\r\n"


def send(address, body, kind="multipart/form-data; boundary=XX", path=PATH):
    """Status, headers and body of an answer."""
    request = urllib.request.Request(address + path, body, {"Content-Type": kind} if body is not None else {})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def measured(address, name):
    text = send(address, None, path="/metrics")[2]
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(\{{|\s)", line))


def wait_until(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


@contextmanager
def serving_in_thread(models, limits, grace=30.0):
    """A server of this process, and its address."""
    from bigfoot.serve.application import build_app
    from bigfoot.serve.server import GracefulServer

    server = GracefulServer(build_app(models, limits), grace)
    with socket.create_server(("127.0.0.1", 0)) as opened:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield server, f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
