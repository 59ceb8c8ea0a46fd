"""Noise from a folder: the ratio, the draws, and what a bad recording costs."""

import logging

import numpy as np
import pytest
import soundfile

from bigfoot.audio.files import read_audio
from bigfoot.data.augment import augment_waveform
from bigfoot.data.batches import Position, training_batches
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.data.utterance import add_noise, mix_noise
from bigfoot.errors import DataError
from bigfoot.text.tokenizers import Processor
from tests.refusals import refused

SPEECH = (np.sin(np.arange(16000) * 2 * np.pi * 200 / 16000) * 0.3).astype(np.float32)
ALWAYS = AugmentConfig(noise_probability=1.0, noise_snr_db=[10, 10])


@pytest.fixture
def folder(tmp_path):
    """A long recording at another rate, one shorter than any utterance, and what also lies in such folders."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.flac", 0.1 * rng.standard_normal(44100 * 3), 44100)
    (tmp_path / "below").mkdir()
    soundfile.write(tmp_path / "below" / "short.wav", 0.1 * rng.standard_normal(1000), 16000)
    (tmp_path / "ANNOTATIONS").write_text("no audio")
    return tmp_path


def mix(noise, seed=0, config=ALWAYS, samples=SPEECH):
    return augment_waveform(samples, config, np.random.default_rng(seed), noise)


def test_recordings_are_found_sorted(folder):
    assert [path.name for path in NoiseFolder.find(folder).files] == ["short.wav", "long.flac"]


def test_noise_has_the_ratio_asked_for_and_follows_the_generator(folder):
    noise = NoiseFolder.find(folder)
    for seed in range(6):
        added = mix(noise, seed) - SPEECH
        assert 10 * np.log10(np.mean(SPEECH**2) / np.mean(added**2)) == pytest.approx(10, abs=0.01)
        np.testing.assert_array_equal(mix(NoiseFolder.find(folder), seed), mix(noise, seed))
    assert len({mix(noise, seed).tobytes() for seed in range(6)}) == 6


@pytest.mark.slow
def test_a_long_recording_is_cut_and_a_short_one_repeated(folder):
    short, long = (NoiseFolder(folder, [path]) for path in NoiseFolder.find(folder).files)
    again = short.cut(5000, np.random.default_rng(1))
    np.testing.assert_array_equal(again[:4000], again[1000:])
    np.testing.assert_array_equal(np.sort(again[:1000]), np.sort(read_audio(short.files[0])))
    whole = read_audio(long.files[0])
    places = []
    for seed in range(20):
        piece = long.cut(8000, np.random.default_rng(seed))
        match = np.correlate(whole, piece, "valid")
        places.append(int(match.argmax()))
        # A stretch resampled alone lies up to half a sample off, which leaves white noise 2/pi of its correlation.
        assert match.max() > 0.6 * np.sum(piece**2)
    assert min(places) < 8000 and max(places) > 30000


def test_a_bad_recording_is_named_once_and_costs_itself_alone(folder, caplog):
    (folder / "a.wav").write_bytes(b"")
    whole = (folder / "long.flac").read_bytes()
    (folder / "b.flac").write_bytes(whole[: len(whole) // 2])
    noise = NoiseFolder.find(folder)
    assert len(noise.files) == 4
    with caplog.at_level(logging.WARNING, logger="bigfoot"):
        first = [mix(noise, seed) for seed in range(30)]
    assert [record.getMessage().count("a.wav") for record in caplog.records].count(1) == 1
    assert len(caplog.records) <= 2
    # What was met before does not decide what is drawn: a fresh worker draws the same.
    for seed in (3, 29):
        np.testing.assert_array_equal(mix(NoiseFolder.find(folder), seed), first[seed])
    for name in ("long.flac", "b.flac", "below/short.wav"):
        (folder / name).unlink()
    with refused(DataError, "1"):
        mix(NoiseFolder.find(folder))


def test_silence_gives_no_nan(folder):
    soundfile.write(folder / "silent.wav", np.zeros(16000), 16000)
    silent = NoiseFolder(folder, [folder / "silent.wav"])
    np.testing.assert_array_equal(mix(silent), SPEECH)
    nothing = np.zeros(16000, np.float32)
    assert not mix(NoiseFolder.find(folder), samples=nothing).any()
    assert not mix(None, samples=nothing).any()
    assert not mix_noise(nothing, nothing, 0.0).any()


def test_folders_that_cannot_be_used(tmp_path):
    with refused(DataError, "data.augment.noise_folder"):
        NoiseFolder.find(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("hum")
    with pytest.raises(DataError):
        NoiseFolder.find(tmp_path)


def test_generated_noise_is_what_it_was():
    """Bit for bit the formula from before there were folders, after the same draws."""
    rng = np.random.default_rng(5)
    rng.uniform(1.0, 1.0), rng.random()
    snr_db = rng.uniform(10, 10)
    noise = rng.standard_normal(len(SPEECH)).astype(np.float32)
    pole = rng.uniform(0.0, 0.9)
    noise[1:] += np.float32(pole) * noise[:-1]
    power = float(np.mean(SPEECH**2)) / float(np.mean(noise**2)) / 10 ** (snr_db / 10)
    expected = SPEECH + noise * np.float32(np.sqrt(power))
    np.testing.assert_array_equal(mix(None, seed=5), expected)
    np.testing.assert_array_equal(
        add_noise(SPEECH, np.random.default_rng(1), 3.0), add_noise(SPEECH, np.random.default_rng(1), 3.0)
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_and_resuming_get_the_same_noise(folder, digits, num_workers):
    (folder / "bad.wav").write_bytes(b"RIFF")
    augment = AugmentConfig(noise_probability=0.7, noise_snr_db=[0, 20], noise_folder=str(folder), speed=[0.9, 1.1])
    config = DataConfig(batch_seconds=12.0, augment=augment, num_workers=num_workers)

    def take(count, start):
        stream = training_batches(digits.manifests["train"], Processor(), config, seed=4, start=start)
        return [next(stream) for _ in range(count)]

    alone = DataConfig(batch_seconds=12.0, augment=augment)
    plain = training_batches(digits.manifests["train"], Processor(), alone, seed=4)
    expected = [next(plain) for _ in range(6)]
    for given, wanted in zip(take(6, Position()), expected, strict=True):
        assert given.ids == wanted.ids and given.input_values.equal(wanted.input_values)
    for given, wanted in zip(take(3, expected[2].position), expected[3:], strict=True):
        assert given.input_values.equal(wanted.input_values)
    quiet = training_batches(digits.manifests["train"], Processor(), DataConfig(batch_seconds=12.0), seed=4)
    assert not next(quiet).input_values.equal(expected[0].input_values)
