"""The server as a process: answers are the command line's, whatever is sent, under load, and until it is stopped."""

import io
import json
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile

from bigfoot.errors import ModelError
from bigfoot.runtime.formats import render_srt, render_vtt, to_dict
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.serve.batcher import Batcher
from tests.codes import refusing
from tests.serve.clients import PATH, form, measured, send, serving, wait_until

pytestmark = pytest.mark.slow
pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")


def render(kind, result):
    """What the command line's result is in a format of the server's."""
    found = to_dict(result)
    words = [{"word": word["text"], "start": word["start"], "end": word["end"]} for word in found["words"]]
    verbose = {"task": "transcribe", "language": "", "duration": found["seconds"], "text": result.text, "words": words}
    return {
        "json": json.dumps({"text": result.text}), "text": result.text + "\n", "srt": render_srt(result),
        "vtt": render_vtt(result), "verbose_json": json.dumps(verbose),
    }[kind]  # fmt: skip


def read(kind, text):
    return json.loads(text) if "json" in kind else text


def test_answers_under_load_are_the_command_lines(server, place):
    _, address = server
    files = [place / f"{index % 6}.wav" for index in range(15)] + [place / "long.flac"]
    expected = {result.source: result for result in Transcriber(place / "student.onnx", 1).transcribe(sorted({*files}))}
    formats = ["json", "text", "srt", "vtt", "verbose_json"]

    def ask(index):
        fields = {"response_format": formats[index % 5], "timestamp_granularities[]": "word"}
        return send(address, form(files[index].read_bytes(), **fields))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(len(files))))
    for index, (status, _, text) in enumerate(answers):
        result, kind = expected[str(files[index])], formats[index % 5]
        assert status == 200 and result.text
        assert read(kind, text) == read(kind, render(kind, result)), kind
    assert 0 < measured(address, "bigfoot_pass_recordings_count") < len(files), "some went together"
    assert measured(address, "bigfoot_requests_total") == len(files)
    assert json.loads(send(address, None, path="/v1/models")[2])["data"][0]["id"] == "student"


@pytest.mark.parametrize(
    ("length", "status"), [("many", 400), ("1e3", 400), ("-5", 400), ("", 400), ("9" * 5000, 413), ("9" * 12, 413)]
)
def test_a_length_that_is_none_is_refused(length, status):
    import asyncio

    from starlette.requests import Request

    from bigfoot.serve.limits import Limits, RefusedError
    from bigfoot.serve.uploads import receive_upload

    async def ask():
        headers = [(b"content-length", length.encode()), (b"content-type", b"multipart/form-data; boundary=XX")]
        async with receive_upload(Request({"type": "http", "headers": headers}), Limits(), Path()):
            pass

    with pytest.raises(RefusedError) as caught:
        asyncio.run(ask())
    assert caught.value.status == status


def test_openai_as_the_client(server, place):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=server[1] + "/v1", api_key="none", max_retries=0)
    expected = Transcriber(place / "student.onnx", 1).transcribe([place / "0.wav"])[0]
    with (place / "0.wav").open("rb") as file:
        assert client.audio.transcriptions.create(model="student", file=file).text == expected.text
    with (place / "0.wav").open("rb") as file:
        found = client.audio.transcriptions.create(model="student", file=file, response_format="verbose_json")
    assert [each.text for each in found.segments] == [each.text for each in expected.segments]
    with pytest.raises(openai.NotFoundError) as caught, (place / "0.wav").open("rb") as file:
        client.audio.transcriptions.create(model="other", file=file)
    assert caught.value.code == "model_not_found"


def silent(seconds):
    content = io.BytesIO()
    soundfile.write(content, [0.0] * int(8000 * seconds), 8000, format="FLAC")
    return content.getvalue()


def test_broken_uploads_cost_themselves(server, place):
    _, address = server
    wave = (place / "0.wav").read_bytes()
    cases = [
        (b"", "multipart/form-data; boundary=XX", 400, "missing_file"),
        (b"no form", "multipart/form-data", 400, "invalid_form"),
        (form(wave).replace(b"--XX", b"--YY"), "multipart/form-data; boundary=XX", 400, None),
        (form(wave)[:-900], "multipart/form-data; boundary=XX", 400, None),
        (b"{}", "application/json", 400, "missing_file"),
        (form(b""), None, 400, "invalid_audio"),
        (form(b"RIFF no audio" * 99), None, 400, "invalid_audio"),
        (form(wave, model="other"), None, 404, "model_not_found"),
        (form(wave, response_format="xml"), None, 400, "unknown_format"),
        (form(wave, stream="true"), None, 400, "no_stream"),
        (form(b"0" * 1_300_000), None, 413, "upload_too_large"),
        (form(silent(71)), None, 413, "audio_too_long"),
    ]
    for body, kind, status, code in cases:
        found = send(address, body, kind or "multipart/form-data; boundary=XX")
        assert found[0] == status, (code, found)
        assert code is None or json.loads(found[2])["error"]["code"] == code
    evil = place / "evil.wav"
    assert send(address, form(wave, name=f"../../..{evil}"))[0] == 200 and not evil.exists()
    assert measured(address, "bigfoot_requests_in_flight") == 0
    assert json.loads(send(address, None, path="/health")[2])["status"] == "ok"


def test_a_full_queue_says_when_to_come_again(server, place):
    _, address = server
    host, port = address.removeprefix("http://").split(":")
    body = form((place / "0.wav").read_bytes())
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n"
    half = [socket.create_connection((host, int(port))) for _ in range(24)]
    for connection in half:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:200])
    wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 24)
    status, headers, text = send(address, body)
    assert (status, json.loads(text)["error"]["code"]) == (429, "queue_full") and int(headers["Retry-After"]) >= 1
    half[0].sendall(body[200:])
    assert b" 200 " in half[0].recv(100)
    for connection in half:
        connection.close()
    wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 0)
    assert send(address, body)[0] == 200


def test_a_stop_answers_what_is_in_flight(place):
    body = form((place / "long.flac").read_bytes())
    with serving(place) as (process, address), ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(send, address, body) for _ in range(2)]
        wait_until(lambda: measured(address, "bigfoot_requests_in_flight") == 2)
        process.send_signal(signal.SIGTERM)
        assert [answer.result()[0] for answer in answers] == [200] * 2
        assert process.wait(60) == 0


class Failing:
    """A model that fails at one recording, together with others or alone."""

    def iterate(self, paths, on_error, on_progress):
        for path in paths:
            if path.stem == "bad":
                raise ModelError("it fails")
            yield path.stem


def test_a_recording_at_which_the_model_fails_costs_itself():
    sizes = []
    batcher = Batcher(Failing(), sizes.append)
    results = {name: batcher.submit(Path(name), 1.0) for name in ("a", "bad", "b", "c")}
    long = batcher.submit(Path("longer"), 50.0), batcher.submit(Path("long"), 50.0)
    batcher.close()
    assert isinstance(results.pop("bad").exception(), ModelError)
    assert {name: result.result() for name, result in results.items()} == {"a": "a", "b": "b", "c": "c"}
    assert [result.result() for result in long] == ["longer", "long"] and sizes.count(1) >= 2


def test_names_of_models():
    from bigfoot.cli.serve import name_models

    assert name_models(["a/b.onnx", "c=d=e/f", "g=h.xml", "runs/x.1"]) == {
        "b": "a/b.onnx", "c": "d=e/f", "g": "h.xml", "x.1": "runs/x.1"
    }  # fmt: skip
    with refusing(("MODEL", "same_name")):
        name_models(["a/b.onnx", "b"])
