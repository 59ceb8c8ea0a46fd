import threading
import time

import numpy as np
import pytest

from bigfoot.errors import AudioError, ModelError
from bigfoot.runtime.engine import EngineOutput
from bigfoot.runtime.transcriber import Transcriber
from tests.refusals import refused
from tests.runtime.tape import FIELD, STRIDE, TapeEngine, write_tape


def random_tapes(count, seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 10, rng.integers(1, 400)).tolist() for _ in range(count)]
    return [write_tape(row) for row in rows], [TapeEngine().facts.tokenizer.decode_ctc(row) for row in rows]


@pytest.mark.slow
def test_results_come_in_the_order_of_the_sources():
    waves, texts = random_tapes(150)
    engine = TapeEngine()
    assert [result.text for result in Transcriber(engine).transcribe(waves)] == texts
    assert len(engine.batches) < 130 and all(len(batch) * max(batch) <= 160_000 for batch in engine.batches)


def test_a_model_that_depends_on_padding_gets_one_utterance_at_a_time():
    waves, texts = random_tapes(20)
    engine = TapeEngine(batch_invariant=False)
    assert [result.text for result in Transcriber(engine).transcribe(waves)] == texts
    assert [len(batch) for batch in engine.batches] == [1] * 20


def test_times_go_halfway_into_the_blanks_where_loudness_shows_nothing():
    class Mute(TapeEngine):
        """Reads a tape by heart and gets noise of one loudness."""

        def run(self, input_values, lengths, alone=True):
            return super().run(write_tape([0] * 50 + [2, 2, 0, 3, 1, 0, 0, 0, 4, 0, 0])[None], lengths)

    noise = np.random.default_rng(0).normal(0, 0.1, 61 * STRIDE + FIELD - STRIDE).astype(np.float32)
    result = Transcriber(Mute()).transcribe([noise])[0]
    assert [(word.text, word.start, word.end) for word in result.words] == [
        ("AB", pytest.approx(1.0), pytest.approx(1.115)),
        ("C", pytest.approx(1.115), pytest.approx(1.18)),
    ]
    assert result.seconds == len(noise) / 16_000


@pytest.mark.parametrize("minutes", [0.4, 1, 3])
def test_a_long_recording_is_the_same_in_chunks(minutes):
    ids = np.random.default_rng(1).integers(0, 10, round(minutes * 3000)).tolist()
    engine = TapeEngine(deaf=20)
    result = Transcriber(engine, chunk_seconds=10).transcribe([write_tape(ids)])[0]
    whole = Transcriber(TapeEngine(), chunk_seconds=1000).transcribe([write_tape(ids)])[0]
    assert whole.text == engine.facts.tokenizer.decode_ctc(ids) and whole.seconds == result.seconds

    def inner(words):
        # Where the recording itself ends, nothing else covers it.
        return {word for word in words if word.start > 1.8 and word.end < whole.seconds - 1.8}

    assert inner(result.words) == inner(whole.words)
    assert len(engine.batches) > minutes * 6 and max(map(max, engine.batches)) <= 160_000


def test_long_recordings_are_as_loud_in_a_chunk_as_in_the_whole():
    inputs = []

    class Listener(TapeEngine):
        def run(self, input_values, lengths, alone=True):
            inputs.append(input_values.copy())
            return super().run(input_values, lengths)

    wave = np.random.default_rng(0).normal(3, 1, 25 * 16_000).astype(np.float32)
    wave[: 12 * 16_000] *= 0.01
    Transcriber(Listener(normalizes=True), chunk_seconds=10).transcribe([wave])
    whole = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
    assert len(inputs) > 2
    np.testing.assert_allclose(inputs[0][0], whole[: inputs[0].shape[1]], atol=1e-4)


def test_short_and_long_and_bad_together(tapes, tmp_path):
    (tmp_path / "bad.wav").write_text("no audio")
    long = [0] * 3000
    long[1500] = 5
    sources = [*tapes, tmp_path / "bad.wav", write_tape(long), np.zeros(100, np.float32), tmp_path / "gone.wav"]
    reported = []
    results = Transcriber(TapeEngine(), chunk_seconds=10).transcribe(sources, reported.append)
    assert [result.text for result in results] == [*tapes.values(), "", "D", "", ""]
    assert [result.error is None for result in results] == [True, True, True, False, True, True, False]
    assert [error.path for error in reported] == [str(tmp_path / "bad.wav"), str(tmp_path / "gone.wav")]
    assert results[0].source == str(next(iter(tapes))) and results[4].source == "array 4"


def test_without_anyone_to_tell_a_bad_file_is_an_error(tapes, tmp_path):
    with pytest.raises(AudioError):
        Transcriber(TapeEngine()).transcribe([*tapes, tmp_path / "gone.wav"])


def test_what_reading_alone_can_tell_costs_that_file_too(tapes, tmp_path):
    import soundfile

    for name, seconds in (("short.flac", 1), ("long.flac", 25)):
        soundfile.write(tmp_path / name, np.random.default_rng(0).normal(0, 0.1, seconds * 16_000), 16_000)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    sources = [tmp_path / "short.flac", *tapes, tmp_path / "long.flac"]
    results = Transcriber(TapeEngine(), chunk_seconds=10).transcribe(sources, lambda _: None)
    assert [result.text for result in results[1:-1]] == [*tapes.values()]
    assert results[0].error and results[-1].error


def test_progress_counts_all_seconds_once():
    waves, _ = random_tapes(9)
    waves.append(write_tape([0] * 2000))
    reported = []
    list(Transcriber(TapeEngine(), chunk_seconds=10).iterate(waves, on_progress=reported.append))
    assert sum(reported) == pytest.approx(sum(map(len, waves)) / 16_000)


def test_results_come_before_all_sources_were_read():
    waves, texts = random_tapes(3)
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield waves[0]

    assert next(Transcriber(TapeEngine()).iterate(endless())).text == texts[0]
    assert len(taken) <= 64


def test_a_model_without_numbers_is_named():
    class Broken(TapeEngine):
        def run(self, input_values, lengths, alone=True):
            logits, frames = super().run(input_values, lengths)
            return EngineOutput(logits * np.nan, frames)

    with pytest.raises(ModelError):
        Transcriber(Broken()).transcribe([write_tape([2])])


@pytest.mark.parametrize("arguments", [{"threads": 0}, {"chunk_seconds": 5}])
def test_numbers_that_make_no_sense(arguments):
    with refused(ValueError, *arguments):
        Transcriber(TapeEngine(), **arguments)


def test_nothing_to_transcribe():
    assert Transcriber(TapeEngine()).transcribe([]) == []


@pytest.mark.slow
def test_several_at_once_come_in_order_and_one_alone_has_all_threads():
    waves, texts = random_tapes(70)
    seen = []

    class Crowd(TapeEngine):
        def run(self, input_values, lengths, alone=True):
            seen.append((alone, threading.current_thread() is threading.main_thread()))
            time.sleep(0.001 * (len(seen) % 4))
            return super().run(input_values, lengths)

    transcriber = Transcriber(Crowd(lanes=3))
    assert [result.text for result in transcriber.transcribe(waves)] == texts
    assert set(seen) == {(False, False)}
    seen.clear()
    assert transcriber.transcribe(waves[:1])[0].text == texts[0]
    assert seen == [(True, True)]


def test_a_failure_in_a_lane_ends_it():
    class Broken(TapeEngine):
        def run(self, input_values, lengths, alone=True):
            raise ModelError("no more")

    with pytest.raises(ModelError):
        Transcriber(Broken(lanes=2)).transcribe(random_tapes(20)[0])
