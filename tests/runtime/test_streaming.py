"""A stream becomes text: segments end in planted silence, and neither cuts nor bad samples change them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.audio.files import write_audio
from bigfoot.errors import AudioError, ModelError
from bigfoot.runtime.arguments import STDIN, Argument
from bigfoot.runtime.frame_stream import FrameStream, StreamFacts
from bigfoot.runtime.live import json_writer, read_cuts, stream_problems, text_writer, write_stream
from bigfoot.runtime.metadata import read_facts, read_streaming
from bigfoot.runtime.streaming import StreamingTranscriber
from tests.refusals import refused
from tests.runtime.tape import FIELD, METADATA, STRIDE, VOCABULARY, TapeEngine, write_tape

FRAME = STRIDE / 16_000
FACTS = {"runtime": "streaming", "streaming": '{"chunk": 4, "left": 2, "state": 1}'}


class TapeStream:
    """Read tapes chunk by chunk; the state counts the frames."""

    def __init__(self):
        self.facts, self.stream = TapeEngine().facts, StreamFacts(chunk=4, left=2, state=1)
        self.sizes = []

    def open_stream(self):
        return FrameStream(self.step, self.facts, self.stream)

    def step(self, samples, state):
        # The first samples of a frame are those that it shares with the one before.
        values = samples.reshape(len(samples), -1, STRIDE)[:, :, 0]
        self.sizes.append(values.shape[1])
        logits = -np.square(100 * values[..., None] - np.arange(len(VOCABULARY), dtype=np.float32))
        return logits, state + values.shape[1]


@pytest.fixture
def transcriber():
    return StreamingTranscriber(TapeStream(), pause=0.4, longest=2.0)


def say(text, silence=0):
    """Frames of a text, each letter with a blank behind it, and of silence."""
    return [each for letter in text for each in (VOCABULARY.index(letter), 0)] + [0] * silence


def run(transcriber, samples, cuts=()):
    updates = [transcriber.feed(part) for part in np.split(samples, cuts)]
    last = transcriber.flush()
    return [segment for update in [*updates, last] for segment in update.final], updates


@settings(max_examples=40, deadline=None)
@given(places=st.lists(st.floats(0, 1), max_size=12), lead=st.integers(0, 120))
def test_segments_end_in_silence_whatever_the_cuts(places, lead):
    tape = write_tape([0] * lead + say("AB|", 30) + say("C|D", 15) + say("|E"))
    cuts = sorted(int(place * len(tape)) for place in places)
    found, _ = run(StreamingTranscriber(TapeStream(), pause=0.4, longest=2.0), tape, cuts)
    assert [segment.text for segment in found] == ["AB", "C D E"]
    first = lead * FRAME
    assert first - 0.5 <= found[0].start <= first + 0.03
    second = (lead + 6 + 30) * FRAME
    assert found[0].end <= second and second - 0.5 <= found[1].start <= second + 0.03
    assert found[1].end <= len(tape) / 16_000


def test_text_is_shown_with_the_chunk_of_its_frame(transcriber):
    tape = write_tape(say("A", 2) + say("B", 8))
    _, updates = run(transcriber, tape, range(STRIDE, len(tape), STRIDE))
    behind = FIELD - STRIDE
    for index, update in enumerate(updates):
        given_samples = min(len(tape), (index + 1) * STRIDE)
        frames = max(0, given_samples - behind) // STRIDE // 4 * 4
        assert update.partial == ("" if frames == 0 else "A" if frames == 4 else "AB")
    assert transcriber.delay == pytest.approx(4 * FRAME + FIELD / 16_000)


def test_speech_without_a_pause_ends_at_a_gap_and_no_token_is_written_twice(transcriber):
    letters = "ABCDEFGH" * 20
    found, _ = run(transcriber, write_tape(say(letters)))
    assert len(found) > 1 and "".join(segment.text for segment in found) == letters
    held = [VOCABULARY.index("A")] * 450  # one letter for 9 seconds
    found, _ = run(transcriber, write_tape([*held, *say("B")]))
    assert "".join(segment.text for segment in found) == "AB"


def test_silence_fills_no_memory(transcriber):
    for _ in range(50):
        transcriber.feed(np.zeros(16_000, np.float32))
    assert len(transcriber._audio) < 4 * 16_000
    assert transcriber.flush() == ("", ())


@pytest.mark.parametrize("bad", [np.float32([0.1, np.nan]), np.zeros((2, 400), np.float32), np.zeros(9, np.int16)])
def test_bad_samples_are_refused_and_the_stream_goes_on(transcriber, bad):
    tape = write_tape(say("AB", 4))
    transcriber.feed(tape[:1000])
    with pytest.raises(AudioError):
        transcriber.feed(bad)
    partial, final = transcriber.feed(tape[1000:])
    assert (partial, final) == ("AB", ())


def test_the_end_of_a_stream_is_the_start_of_another(transcriber):
    tape = write_tape(say("CAB"))
    found = [run(transcriber, tape)[0] for _ in range(2)]
    assert found[0] == found[1] and found[0][0].text == "CAB"
    assert transcriber.engine.sizes == [4, 2, 4, 2]
    assert run(transcriber, tape[: FIELD - 1])[0] == [] == run(transcriber, tape[:0])[0]


@pytest.mark.parametrize("bare", [True, False])
def test_a_pipe_of_samples_is_the_file(bare, transcriber, tmp_path):
    tape = write_tape(say("AB", 30) + say("C"))
    write_audio(tmp_path / "a.wav", tape)
    content = (tmp_path / "a.wav").read_bytes()
    pipe = io.BytesIO(content[content.index(b"data") + 8 :] if bare else content)
    lines = []
    for path in (Path(STDIN), tmp_path / "a.wav"):
        out = io.StringIO()
        write_stream(transcriber, Argument(path, "x", path), text_writer(out, None), pipe)
        lines.append(out.getvalue())
    assert lines == ["AB\nC\n"] * 2


def test_a_pipe_of_another_rate_is_refused(tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(900, np.float32), 8000)
    pipe = io.BytesIO((tmp_path / "a.wav").read_bytes())
    with refused(AudioError, 16_000, 8000):
        list(read_cuts(Argument(Path(STDIN), "x", Path("x")), 16_000, pipe))


def test_lines_of_json_and_what_may_still_change(transcriber):
    out, shown, kept = io.StringIO(), io.StringIO(), io.StringIO()
    tape = write_tape(say("A", 2) + say("B", 30))
    write, beside = json_writer(out), text_writer(kept, shown)
    for part in (tape[:1400], tape[1400:2700], tape[2700:]):
        update = transcriber.feed(part)
        write(update)
        beside(update)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line.get("partial", line.get("text")) for line in lines] == ["A", "AB", "AB", ""]
    assert [word["text"] for word in lines[2]["words"]] == ["AB"]
    assert kept.getvalue() == "AB\n" and "AB" in shown.getvalue()


def test_what_does_not_go_with_a_stream_is_named():
    found = [(each.key, each.code) for each in stream_problems(1, "txt", {"--output": "x", "--hotword": None})]
    assert found == [("--output", "not_with_stream")]


def test_metadata_of_either_form():
    audio, stream = read_streaming(METADATA | FACTS, "a.onnx")
    assert (audio.stride, stream) == (STRIDE, StreamFacts(4, 2, 1))
    for read, metadata in ((read_facts, METADATA | FACTS), (read_streaming, METADATA),
                           (read_streaming, METADATA | FACTS | {"streaming": '{"chunk": 4}'})):  # fmt: skip
        with refused(ModelError, "a.onnx"):
            read(metadata, "a.onnx")


@pytest.mark.parametrize("pause", [0.0, 3.0, float("nan")])
def test_durations_that_make_no_sense_are_refused(pause):
    with refused(ValueError, "pause"):
        StreamingTranscriber(TapeStream(), pause=pause, longest=2.0)
