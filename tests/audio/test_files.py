import os
import struct

import numpy as np
import pytest
import soundfile

from bigfoot.audio.files import normalize_waveform, read_audio, read_blocks, read_header, sum_seconds, write_audio
from bigfoot.errors import AudioError
from tests.refusals import refused


@pytest.fixture(scope="module")
def speech():
    return np.random.default_rng(0).standard_normal(32000).astype(np.float32) * np.float32(0.1)


def write_wav(path, speech, rate=16000):
    soundfile.write(path, speech, rate)
    return path


def patch_rate(path, rate):
    content = bytearray(path.read_bytes())
    content[24:32] = struct.pack("<II", rate, rate * 2)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_any_format_and_rate_becomes_16_khz(tmp_path, suffix, rate):
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32) * np.float32(0.5)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone, rate)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16000) <= 1
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(spectrum.argmax() * 16000 / len(samples) - 440) < 2
    header = read_header(path)
    assert (header.sample_rate, header.num_channels, header.seconds) == (rate, 1, pytest.approx(1.0, abs=1e-3))


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([np.full(100, 0.5), np.full(100, -0.25), np.full(100, 0.5)], axis=1), 16000)
    np.testing.assert_allclose(read_audio(path), 0.25, atol=1e-4)
    assert read_header(path).num_channels == 3


def test_a_stretch_is_the_same_as_the_whole_cut(tmp_path, speech):
    path = write_wav(tmp_path / "a.flac", speech)
    np.testing.assert_array_equal(read_audio(path, offset=0.5, duration=0.25), read_audio(path)[8000:12000])
    with pytest.raises(AudioError):
        read_audio(path, offset=1.5, duration=1.0)


def test_longer_than_a_block_is_read_whole(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.arange(8000 * 150, dtype=np.int16), 8000)
    assert len(read_audio(path, sample_rate=8000)) == 8000 * 150


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize("seconds", [0.01, 0.3, 100])
def test_blocks_are_the_whole(tmp_path, speech, rate, seconds):
    path = write_wav(tmp_path / "a.flac", np.stack([speech, -0.5 * speech], axis=1), rate)
    whole, blocks = read_audio(path), list(read_blocks(path, seconds=seconds))
    assert all(block.dtype == np.float32 for block in blocks)
    assert max(map(len, blocks)) <= 16_000 * seconds + 2000
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=0 if rate == 16000 else 1e-6)


@pytest.mark.parametrize("kind", ["missing", "cut flac", "NaN", "zero bytes"])
def test_blocks_of_bad_files_end_in_words(tmp_path, speech, kind):
    with pytest.raises(AudioError):
        list(read_blocks(broken(kind, tmp_path, speech)))


def test_seconds_of_headers_without_bad_ones(tmp_path, speech):
    paths = [write_wav(tmp_path / "a.wav", speech), tmp_path / "gone.wav", write_wav(tmp_path / "b.wav", speech, 8000)]
    assert sum_seconds(paths) == 6.0


def test_a_part_is_normalized_as_its_whole(speech):
    part = normalize_waveform(speech[1000:2000], np.mean(speech), np.var(speech))
    np.testing.assert_array_equal(part, normalize_waveform(speech)[1000:2000])


def test_sixteen_bits_survive_writing(tmp_path, speech):
    path = tmp_path / "new" / "a.flac"
    write_audio(path, speech)
    np.testing.assert_allclose(read_audio(path), speech, atol=1 / 32768)


def broken(kind, folder, speech):
    path = folder / ("a.flac" if "flac" in kind else "a.wav")
    if kind == "missing":
        return path
    if kind == "text":
        path.write_text("not a wav file at all")
        return path
    if kind == "folder":
        path.mkdir()
        return path
    if kind == "endless name":
        return folder / ("a" * 300 + ".wav")
    if kind.startswith("cut o"):
        path = folder / f"a.{kind[4:]}"
        soundfile.write(path, speech, 16000, format="OGG", subtype="OPUS" if kind == "cut opus" else "VORBIS")
        path.write_bytes(path.read_bytes()[:-300])
        return path
    write_wav(path, speech[:0] if kind == "no frames" else speech)
    content = path.read_bytes()
    if kind == "zero bytes":
        path.write_bytes(b"")
    elif kind in ("cut wav", "cut flac"):
        path.write_bytes(content[: len(content) // 2])
    elif kind == "1 Hz":
        patch_rate(path, 1)
    elif kind == "1e6 Hz":
        patch_rate(path, 1_000_000)
    elif kind == "NaN":
        soundfile.write(path, np.where(np.arange(len(speech)) == 5, np.nan, speech), 16000, subtype="FLOAT")
    elif kind == "endless flac":
        # As an encoder writes it that reads from a pipe: 36 bits of STREAMINFO's total samples are 0.
        content = bytearray(content)
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "header_knows"),
    [
        ("missing", True),
        ("zero bytes", True),
        ("text", True),
        ("no frames", True),
        ("cut wav", True),
        ("cut flac", False),
        ("1 Hz", True),
        ("1e6 Hz", True),
        ("NaN", False),
        ("endless flac", True),
        ("folder", True),
        ("endless name", True),
        ("cut ogg", True),
        ("cut opus", True),
    ],
)
def test_every_bad_file_is_refused_with_a_reason(tmp_path, speech, kind, header_knows):
    path = broken(kind, tmp_path, speech)
    rate = {"1 Hz": ["1"], "1e6 Hz": ["1000000"]}.get(kind, [])
    with refused(AudioError, path, *rate) as caught:
        read_audio(path)
    assert caught.value.path == str(path) and caught.value.reason
    if header_knows:
        with refused(AudioError, path, *rate) as known:
            read_header(path)
        assert known.value.reason == caught.value.reason
    else:
        assert read_header(path)


def test_a_wav_from_a_pipe_and_one_with_a_tail_are_whole(tmp_path, speech):
    path = write_wav(tmp_path / "a.wav", speech)
    content = path.read_bytes()
    data = content.index(b"data") + 4
    unknown = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(content[:4] + unknown + content[8:data] + unknown + content[data + 4 :])
    (tmp_path / "tail.wav").write_bytes(content + b"padding" * 99)
    for name in ("piped.wav", "tail.wav"):
        np.testing.assert_array_equal(read_audio(tmp_path / name), read_audio(path))


def test_ogg_with_a_tail_is_whole(tmp_path, speech):
    path = tmp_path / "a.ogg"
    soundfile.write(path, speech, 16000)
    whole = read_audio(path)
    path.write_bytes(path.read_bytes() + b"padding" * 9)
    np.testing.assert_array_equal(read_audio(path), whole)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_forbidden_files_and_folders_are_named(tmp_path, speech):
    path = write_wav(tmp_path / "a.wav", speech)
    path.chmod(0)
    with pytest.raises(AudioError):
        read_audio(path)
    (tmp_path / "b").mkdir(mode=0)
    with pytest.raises(AudioError):
        read_audio(tmp_path / "b" / "c.wav")
