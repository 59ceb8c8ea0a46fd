"""What a server cannot finish in time is answered, and not computed on: slow uploads, slow models, and its own end."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bigfoot.runtime.transcript import Transcript
from tests.serve.clients import PATH, form, measured, send, serving_in_thread, wait_until

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from bigfoot.serve.limits import Limits


class Waiting:
    """A model that computes nothing until it may, a second of audio at a time."""

    def __init__(self):
        self.may, self.computed, self.stopped = threading.Event(), 0, threading.Event()

    def iterate(self, paths, on_error, on_progress):
        for path in paths:
            self.may.wait(10)
            try:
                on_progress(1.0)
            except Exception:
                self.stopped.set()
                raise
            self.computed += 1
            yield Transcript(path.name, 1.0)


@pytest.fixture(scope="module")
def wave(tmp_path_factory):
    import numpy as np
    import soundfile

    path = tmp_path_factory.mktemp("wave") / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    return path.read_bytes()


def code_of(text):
    return json.loads(text)["error"]["code"]


def test_a_slow_upload_is_408(wave):
    with serving_in_thread({"student": Waiting()}, Limits(timeout=0.2)) as (_, address):
        host, port = address.removeprefix("http://").split(":")
        body = form(wave)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            connection.sendall(body[:300])
            wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 1)
            # The rest has to come before the answer: a client reads none before it has sent all.
            wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 0)
            connection.sendall(body[300:])
            answer = connection.makefile("rb").read(2000).decode()
        assert answer.startswith("HTTP/1.1 408 ") and code_of(answer.partition("\r\n\r\n")[2]) == "slow_upload"


def test_a_model_that_takes_too_long_is_503_and_stops(wave):
    model = Waiting()
    with serving_in_thread({"student": model}, Limits(timeout=0.2)) as (_, address):
        status, headers, text = send(address, form(wave))
        assert (status, code_of(text)) == (503, "timeout") and int(headers["Retry-After"]) > 0
        assert measured(address, "bigfoot_requests_in_flight") == 0
        model.may.set()
        assert model.stopped.wait(10) and model.computed == 0
        assert send(address, form(wave))[0] == 200 and model.computed == 1


def test_what_is_beyond_the_grace_of_a_stop_is_503(wave):
    model = Waiting()
    with serving_in_thread({"student": model}, Limits(), 0.2) as (server, address), ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(send, address, form(wave)) for _ in range(2)]
        wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 2)
        server.should_exit = True
        for answer in answers:
            status, headers, text = answer.result()
            assert (status, code_of(text)) == (503, "stopping") and int(headers["Retry-After"]) > 0
        model.may.set()
        assert model.stopped.wait(10) and model.computed == 0


def test_a_client_that_leaves_frees_the_model(wave):
    model = Waiting()
    with serving_in_thread({"student": model}, Limits()) as (_, address):
        host, port = address.removeprefix("http://").split(":")
        body = form(wave)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_until(lambda: measured(address, "bigfoot_pass_recordings_count") == 1)
        wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 0)
        model.may.set()
        assert model.stopped.wait(10) and model.computed == 0
