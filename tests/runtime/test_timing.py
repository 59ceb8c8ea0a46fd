"""Times of words against espeak-ng's own events, and where loudness shows nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio.files import resample
from bigfoot.audio.loudness import LoudnessMeter, measure_loudness
from bigfoot.data.utterance import add_noise, digits_to_text, silence
from bigfoot.espeak import Voice, speak_with_times
from bigfoot.runtime.timing import Clock, read_words, time_words
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.runtime.words import join_words
from bigfoot.text.tokenizers import CharTokenizer
from bigfoot.text.words import PlacedText

VOICES = ("en-us+f3", "en+Mike", "en-us+linda", "en-gb-scotland+edward", "en-us+m6", "en-029+grandpa")


@pytest.fixture(scope="module")
def transcriber():
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.formats.folder import load_model

    return Transcriber(TorchEngine(load_model("tiny_teacher"), threads=1))


def speak_digits(count, seed):
    """Strings by voices that nobody trained on, half of them without gaps, and the times of their words."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        text = digits_to_text(rng.integers(0, 10, size=6).tolist())
        voice = Voice(VOICES[index % len(VOICES)], rate=int(rng.integers(120, 190)), word_gap=index % 2 * 5)
        samples, rate, words = speak_with_times(text.lower(), voice)
        before = silence(rng, 0.2)
        samples = np.concatenate([before, resample(samples, rate, 16_000), silence(rng, 0.2)])
        samples = add_noise(samples, rng, snr_db=30.0)
        yield text, samples, np.array([(word.start, word.end) for word in words]) + len(before) / 16_000


@pytest.mark.slow
def test_words_start_and_end_where_they_are_spoken(transcriber):
    errors, strings = [], list(speak_digits(12, seed=0))
    results = transcriber.transcribe([samples for _, samples, _ in strings])
    for (text, _, times), result in zip(strings, results, strict=True):
        if result.text == text:
            errors.append(np.array([(word.start, word.end) for word in result.words]) - times)
    assert len(errors) >= 8
    starts, ends = np.concatenate(errors).T
    assert np.median(np.abs(starts)) < 0.03 and np.median(np.abs(ends)) < 0.03
    assert abs(np.median(starts)) < 0.02 and abs(np.median(ends)) < 0.02
    assert np.quantile(np.abs(starts), 0.8) < 0.12 and np.quantile(np.abs(ends), 0.8) < 0.12


@pytest.mark.slow
@given(st.lists(st.integers(0, 3), max_size=80), st.integers(0, 2**32 - 1), st.sampled_from([320, 640]))
def test_words_are_in_order_and_within_the_recording(ids, seed, stride):
    tokenizer = CharTokenizer(("<pad>", "|", "A", "我"))
    seconds = (len(ids) * stride + 80) / 16_000
    loudness = np.random.default_rng(seed).uniform(-90, 0, int(seconds * 100)).astype(np.float32)
    for shown in (loudness, loudness * 0, loudness[:0]):
        words = read_words(ids, tokenizer, Clock(stride / 16_000, seconds, shown))
        assert join_words(words) == tokenizer.decode_ctc(ids)
        edges = [0.0, *(time for word in words for time in (word.start, word.end)), seconds]
        assert edges == sorted(edges)
        assert all(word.end - word.start >= stride / 16_000 / 2 - 1e-9 for word in words)


def test_words_of_one_token_share_its_time():
    words = time_words([PlacedText("我", 10, 12), PlacedText("有", 10, 12, True)], Clock(0.02, 1.0, np.zeros(0)))
    lengths = [word.end - word.start for word in words]
    assert words[0].end == words[1].start and lengths[0] == pytest.approx(lengths[1])


def test_a_word_does_not_reach_over_noise_that_follows():
    loudness = np.full(1000, -20, np.float32)
    loudness[:100] = -70
    word, other = time_words([PlacedText("A", 52, 60), PlacedText("B", 450, 455)], Clock(0.02, 10.0, loudness))
    assert word.start == pytest.approx(1.0, abs=0.011) and word.end == pytest.approx(1.7)
    assert other.start == pytest.approx(8.5) and other.end <= 9.6


def test_loudness_is_the_same_in_blocks():
    wave = np.random.default_rng(0).normal(0, 0.1, 16_123).astype(np.float32)
    wave[5000:9000] *= 0.01
    meter = LoudnessMeter(16_000)
    assert np.concatenate(list(meter.tap(np.split(wave, [1, 7, 700, 701, 8000])))).tolist() == wave.tolist()
    np.testing.assert_allclose(meter.decibels(), measure_loudness(wave, 16_000), atol=1e-4)
    np.testing.assert_allclose(measure_loudness(wave + 0.5, 16_000), meter.decibels(), atol=0.1)
    assert len(measure_loudness(wave[:0], 16_000)) == 0 and len(measure_loudness(wave[:200], 16_000)) == 1


@pytest.mark.parametrize("level", [0.0, 0.003])
def test_long_silences_move_no_word(level):
    """Digital silence and noise: words before end at once, words behind start no sooner."""
    parts, words, times, place = [], [], [], 0.0
    for text, samples, spoken in speak_digits(4, seed=1):
        parts += [np.zeros(8 * 16_000, np.float32), samples]
        times += [(start + place + 8, end + place + 8) for start, end in spoken]
        place += 8 + len(samples) / 16_000
        words += text.split()
    wave = np.concatenate([*parts, np.zeros(48_000, np.float32)])
    wave += np.random.default_rng(1).normal(0, level, len(wave)).astype(np.float32)
    # Tokens as CTC places them: late at the start, early at the end.
    placed = [
        PlacedText(word, round((start + 0.08) / 0.02), round(max(end - 0.1, start + 0.1) / 0.02))
        for word, (start, end) in zip(words, times, strict=True)
    ]
    found = time_words(placed, Clock(0.02, len(wave) / 16_000, measure_loudness(wave, 16_000)))
    errors = np.abs(np.array([(word.start, word.end) for word in found]) - times)
    assert errors.max() < 0.3 and np.median(errors) < 0.03
