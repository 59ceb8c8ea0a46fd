"""Streams over a websocket: their text, their limits, and what is left of a client that goes away."""

import gc
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.runtime.stream_engine import StreamEngine
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.runtime.transcript import Transcript
from bigfoot.runtime.words import Word, join_words
from bigfoot.serve.limits import Limits
from bigfoot.serve.sessions import Resampler, UtteranceSession
from tests.runtime.tape import STRIDE, write_tape
from tests.runtime.test_streaming import TapeStream, say
from tests.serve.clients import measured, serving_in_thread, wait_until

pytestmark = pytest.mark.slow
websocket = pytest.importorskip("websocket")
pytest.importorskip("uvicorn")

KILLED = """
import sys, websocket
client = websocket.create_connection(sys.argv[1])
for _ in range(4):
    client.send_binary(bytes(64_000))
print(client.recv(), flush=True)
client.recv()
"""


@pytest.fixture(scope="module")
def transcriber(place):
    return Transcriber(place / "student.onnx", 1)


@pytest.fixture(scope="module")
def wave(place):
    """Six strings, a second of silence behind each."""
    silence = np.zeros(16_000, np.float32)
    waves = [soundfile.read(place / f"{index}.wav", dtype="float32")[0] for index in range(6)]
    return np.concatenate([part for wave in waves for part in (wave, silence)])


def connect(address, query="model=student"):
    return websocket.create_connection(f"{address.replace('http', 'ws')}/v1/audio/stream?{query}", timeout=30)


def read_all(client):
    """Messages until the server closes, and the code with which it does."""
    messages = []
    while True:
        opcode, content = client.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return messages, int.from_bytes(content[:2], "big")
        messages.append(json.loads(content))


def to_bytes(samples):
    return np.round(samples * 32_767).astype("<i2").tobytes()


def test_the_text_of_a_stream(server, transcriber, wave):
    content = to_bytes(wave)
    client = connect(server[1])
    for begin in range(0, len(content), 6_402):
        client.send_binary(content[begin : begin + 6_402])
    client.send('{"type": "end"}')
    messages, code = read_all(client)
    assert code == 1000 and messages[0] == {"type": "ready", "model": "student", "sample_rate": 16_000}
    assert messages[-1] == {"type": "end", "seconds": round(len(wave) / 16_000, 3)}
    finals = [each for each in messages if each["type"] == "final"]
    assert len(finals) > 2 and any(each["type"] == "partial" and each["text"] for each in messages)
    expected = transcriber.transcribe([wave])[0]
    assert " ".join(each["text"] for each in finals) == expected.text
    starts = [word["start"] for each in finals for word in each["words"]]
    assert np.allclose(starts, [word.start for word in expected.words], atol=0.1)
    wait_until(lambda: measured(server[1], "bigfoot_streams") == 0)


@given(cuts=st.lists(st.integers(1, 70_000), max_size=8))
@settings(max_examples=4)
def test_cuts_change_nothing(transcriber, wave, cuts):
    def words_of(places):
        session = UtteranceSession(transcriber)
        found = [session.feed(part) for part in np.split(wave[:80_000], places)]
        return join_words([word for update in [*found, session.finish()] for word in update.final])

    assert words_of(sorted(cuts)) == words_of([])


class Counting:
    """A model that finds a word in every second, and a gap behind every fifth."""

    def __init__(self, facts):
        self.facts, self.lengths = facts, []

    def transcribe(self, sources):
        self.lengths.append(len(sources[0]) / self.facts.sample_rate)
        ends = [0.5 if second % 5 == 4 else 0.9 for second in range(int(self.lengths[-1]))]
        return [Transcript("", words=tuple(Word("a", second + 0.1, second + end) for second, end in enumerate(ends)))]


def test_a_long_utterance_is_cut_between_words(transcriber):
    model = Counting(transcriber.facts)
    session = UtteranceSession(model)
    updates = [session.feed(np.zeros(16_000, np.float32)) for _ in range(60)]
    assert max(model.lengths) <= 21 and sum(len(update.final) for update in updates) >= 40


class Tapes(TapeStream, StreamEngine):
    """A model that was exported to stream, and reads tapes."""


def test_a_model_that_streams_computes_every_frame_once():
    tape = write_tape(say("AB|", 60) + say("C|D"))
    engine = Tapes()
    with serving_in_thread({"student": Transcriber(engine)}, Limits()) as (_, address):
        client = connect(address)
        for part in np.split(tape, range(5_000, len(tape), 5_000)):
            client.send_binary(to_bytes(part))
        client.send('{"type": "end"}')
        messages, code = read_all(client)
    assert code == 1000 and [each["text"] for each in messages if each["type"] == "final"] == ["AB", "C D"]
    assert {"type": "partial", "text": "AB"} in messages
    assert sum(engine.sizes) <= len(tape) // STRIDE


def test_resampled_in_pieces_as_in_one():
    content = to_bytes(np.sin(np.arange(44_100) / 9).astype(np.float32))
    whole, pieces = Resampler(44_100, 16_000), Resampler(44_100, 16_000)
    expected = np.concatenate([whole.feed(content), whole.finish()])
    found = [pieces.feed(content[begin : begin + 1_111]) for begin in range(0, len(content), 1_111)]
    assert np.allclose(np.concatenate([*found, pieces.finish()]), expected, atol=1e-6) and len(expected) == 16_000


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [("model=other", 404, "model_not_found"), ("", 404, "model_not_found"),
     ("model=student&sample_rate=9", 400, "invalid_rate"), ("model=student&sample_rate=1e4", 400, "invalid_rate")],
)  # fmt: skip
def test_refused_before_it_starts(server, query, status, code):
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(server[1], query)
    assert caught.value.status_code == status and json.loads(caught.value.resp_body)["error"]["code"] == code


class Broken:
    engine = None

    def __init__(self, facts):
        self.facts = facts

    def transcribe(self, sources):
        raise ModelError("it fails")


@pytest.fixture(scope="module")
def strict(transcriber):
    """A server of narrow limits: two streams, of three seconds, idle for no more than half a second."""
    limits = Limits(streams=2, idle=0.5, seconds=3.0)
    models = {"student": transcriber, "broken": Broken(transcriber.facts)}
    with serving_in_thread(models, limits) as (_, address):
        yield address


@pytest.mark.parametrize(
    ("sent", "code", "closed"),
    [([], "idle", 1008), (["{}"], "unknown_message", 1008), (["end"], "unknown_message", 1008),
     ([bytes(64_000), bytes(64_000)], "audio_too_long", 1008)],
)  # fmt: skip
def test_an_error_closes_the_stream(strict, sent, code, closed):
    client = connect(strict)
    for message in sent:
        (client.send if isinstance(message, str) else client.send_binary)(message)
    messages, found = read_all(client)
    assert (messages[-1]["error"]["code"], found) == (code, closed)
    wait_until(lambda: measured(strict, "bigfoot_streams") == 0)


def test_a_model_that_fails_costs_its_stream(strict):
    client = connect(strict, "model=broken")
    client.send_binary(bytes(40_000))
    messages, closed = read_all(client)
    assert (messages[-1]["error"]["code"], closed) == ("model_failed", 1011)


def test_a_message_that_is_too_large(server):
    client = connect(server[1])
    client.send_binary(bytes(1_100_000))
    assert read_all(client)[1] == 1009


def test_one_stream_too_many(strict):
    clients = [connect(strict) for _ in range(2)]
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(strict)
    assert caught.value.status_code == 429 and int(caught.value.resp_headers["retry-after"]) > 0
    for client in clients:
        client.close()
    wait_until(lambda: measured(strict, "bigfoot_streams") == 0)


def test_a_killed_client_leaves_nothing(strict):
    address = f"{strict.replace('http', 'ws')}/v1/audio/stream?model=student&sample_rate=64000"
    client = subprocess.Popen([sys.executable, "-c", KILLED, address], stdout=subprocess.PIPE, text=True)
    assert json.loads(client.stdout.readline())["type"] == "ready"
    wait_until(lambda: any(isinstance(each, UtteranceSession) for each in gc.get_objects()))
    client.kill()
    client.wait()
    wait_until(lambda: measured(strict, "bigfoot_streams") == 0)
    gc.collect()
    assert not any(isinstance(each, UtteranceSession | Resampler) for each in gc.get_objects())


def test_a_stop_ends_streams_with_their_text(transcriber, wave):
    with serving_in_thread({"student": transcriber}, Limits()) as (server, address):
        client = connect(address)
        client.send_binary(to_bytes(wave[:40_000]))
        wait_until(lambda: measured(address, "bigfoot_streams") == 1)
        server.should_exit = True
        messages, code = read_all(client)
        assert code == 1001 and [each["type"] for each in messages][-3:] == ["final", "partial", "end"]
