"""Audio that was concatenated, headed wrongly, cut, or recorded with an inverted channel."""

import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio.files import read_audio, read_blocks, read_header
from bigfoot.errors import AudioError
from tests.refusals import names, refused

KINDS = {
    "wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"), "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"), "rf64": ("RF64", "PCM_16"),
}  # fmt: skip


@pytest.fixture(scope="module")
def waves():
    """A longer and a shorter one, that no codec mistakes for each other."""
    time = np.arange(24000) / 16000
    return [np.sin(440 * 2 * np.pi * time) * 0.5, np.sin(880 * 2 * np.pi * time[:16000]) * 0.5]


@pytest.fixture(scope="module")
def contents(waves, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    found = {}
    for suffix, (kind, subtype) in KINDS.items():
        found[suffix] = []
        for number, wave in enumerate(waves):
            soundfile.write(folder / f"{number}.{suffix}", wave, 16000, format=kind, subtype=subtype)
            found[suffix].append((folder / f"{number}.{suffix}").read_bytes())
    return found


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 1, 1), (0, 1, 0)])
@pytest.mark.parametrize("suffix", KINDS)
def test_files_one_behind_the_other_are_read_whole(tmp_path, contents, suffix, order):
    path = tmp_path / f"a.{suffix}"
    parts = []
    for number in order:
        path.write_bytes(contents[suffix][number])
        parts.append(read_audio(path))
    path.write_bytes(b"".join(contents[suffix][number] for number in order))
    whole = np.concatenate(parts)
    assert read_header(path).num_frames == len(whole)
    np.testing.assert_array_equal(read_audio(path), whole)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, seconds=0.3))), whole)
    # Across the border.
    start = len(parts[0]) - 4000
    stretch = read_audio(path, offset=start / 16000, duration=0.5)
    np.testing.assert_allclose(stretch, whole[start : start + 8000], atol=1e-3)


def test_streams_of_different_kinds_are_refused(tmp_path, waves):
    soundfile.write(tmp_path / "a.flac", waves[0], 16000)
    soundfile.write(tmp_path / "b.flac", waves[1], 8000)
    (tmp_path / "c.flac").write_bytes((tmp_path / "a.flac").read_bytes() + (tmp_path / "b.flac").read_bytes())
    with refused(AudioError, "2"):
        read_audio(tmp_path / "c.flac")


def head(content, data=None, riff=None):
    """A WAV with other lengths in its header."""
    content, place = bytearray(content), content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", len(content) - place - 4 if data is None else data)
    content[4:8] = struct.pack("<I", len(content) - 8 if riff is None else riff)
    return bytes(content)


@pytest.mark.parametrize("data", [0, 2**32 - 1, 2**32 - 37, 2**31 - 1, 2**31 - 37, 2**31, 0x7FFFF000])
@pytest.mark.parametrize("riff", [None, 0, 2**32 - 1, 2**31 - 1])
def test_lengths_that_a_recorder_could_not_fill_in(tmp_path, contents, data, riff):
    (tmp_path / "a.wav").write_bytes(contents["wav"][0])
    (tmp_path / "b.wav").write_bytes(head(contents["wav"][0], data, riff))
    np.testing.assert_array_equal(read_audio(tmp_path / "b.wav"), read_audio(tmp_path / "a.wav"))


def test_a_length_below_what_the_file_holds(tmp_path, contents, caplog):
    (tmp_path / "a.wav").write_bytes(head(contents["wav"][0], data=1000))
    assert len(read_audio(tmp_path / "a.wav")) == 24000 and not caplog.messages
    # A header that agrees with itself is believed, and the rest is named.
    (tmp_path / "b.wav").write_bytes(head(contents["wav"][0], data=1000, riff=1036))
    assert len(read_audio(tmp_path / "b.wav")) == 500 and names(caplog.text, "47000")


def patched(content, place, value, kind):
    """A file with another number at a place."""
    content = bytearray(content)
    struct.pack_into(kind, content, place, value)
    return bytes(content)


def read_written(path, content):
    path.write_bytes(content)
    return read_audio(path)


@pytest.mark.parametrize("total", [1, 8000, 23_999])
def test_flac_whose_header_says_less_than_there_is(tmp_path, contents, total):
    content = contents["flac"][0]
    head = int.from_bytes(content[18:26], "big") & ~((1 << 36) - 1) | total
    whole = read_written(tmp_path / "a.flac", content)
    for tail in (b"", contents["flac"][1]):
        found = read_written(tmp_path / "b.flac", content[:18] + head.to_bytes(8, "big") + content[26:] + tail)
        assert len(found) == 24_000 + 16_000 * bool(tail)
        np.testing.assert_array_equal(found[:24_000], whole)


@pytest.mark.parametrize("field, factor", [(8, 0), (8, 0.01), (8, 0.5), (12, 0.25), (12, 0.5), (12, 3)])
def test_mp3_whose_header_says_less_than_there_is(tmp_path, contents, field, factor):
    content = contents["mp3"][0]
    place = content.index(b"Xing") + field
    (stated,) = struct.unpack_from(">I", content, place)
    whole = read_written(tmp_path / "a.mp3", content)
    wrong = patched(content, place, int(stated * factor), ">I")
    np.testing.assert_array_equal(read_written(tmp_path / "b.mp3", wrong), whole)
    both = read_written(tmp_path / "c.mp3", contents["mp3"][1] + wrong)
    np.testing.assert_array_equal(both[-len(whole) :], whole)


def test_mp3_of_any_bit_rates_without_a_header_is_read_whole(tmp_path, waves):
    """Its first frame alone says nothing of the length of the others."""
    wave = np.concatenate([np.zeros(16_000), *waves, *waves])
    path = tmp_path / "a.mp3"
    soundfile.write(path, wave, 16_000, format="MP3", bitrate_mode="VARIABLE")
    content = path.read_bytes()
    place = content.index(b"Xing")
    for tag in (b"", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)):
        samples = read_written(path, tag + content[:place] + bytes(4) + content[place + 4 :])
        assert len(wave) <= len(samples) <= len(wave) + 4000
        assert abs(samples[-20_000:]).max() > 0.4 and read_header(path).num_frames == len(samples)


@pytest.mark.parametrize("suffix", ["ogg", "opus"])
@pytest.mark.parametrize("how", ["a bit", "a page", "an earlier time"])
def test_ogg_with_a_page_that_is_damaged_or_gone(tmp_path, waves, suffix, how):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).standard_normal(16_000 * 8) * 0.1
    soundfile.write(path, noise, 16_000, format="OGG", subtype=KINDS[suffix][1])
    content = path.read_bytes()
    pages = [place for place in range(len(content)) if content.startswith(b"OggS\0", place)]
    middle, behind = pages[len(pages) // 2 : len(pages) // 2 + 2]
    if how == "a bit":
        content = patched(content, middle + 100, content[middle + 100] ^ 1, "B")
    elif how == "a page":
        content = content[:middle] + content[behind:]
    else:
        last = patched(patched(content[pages[-1] :], 6, 9, "<q"), 22, 0, "<I")
        content = content[: pages[-1]] + patched(last, 22, plain_checksum(last), "<I")
    with pytest.raises(AudioError):
        read_written(path, content)
    with pytest.raises(AudioError):
        read_header(path)


def plain_checksum(content):
    """RFC 3533, bit by bit."""
    value = 0
    for byte in content:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 1 << 31 else value << 1) & 0xFFFFFFFF
    return value


def test_aiff_with_a_length_below_what_it_holds(tmp_path, contents):
    content = contents["aiff"][0]
    place = content.index(b"SSND") + 4
    for length in (0, 8, 1008):
        assert len(read_written(tmp_path / "a.aiff", patched(content, place, length, ">I"))) == 24_000


@pytest.mark.parametrize(
    "suffix, name, offset, kind, length",
    [("au", b".snd", 8, ">I", 1000), ("caf", b"data", 4, ">q", 1004), ("rf64", b"ds64", 16, "<Q", 1000)],
)
def test_what_is_behind_a_length_that_nothing_contradicts_is_named(
    tmp_path, contents, caplog, suffix, name, offset, kind, length
):
    content = contents[suffix][0]
    place = content.index(name) + offset
    assert len(read_written(tmp_path / f"a.{suffix}", patched(content, place, length, kind))) == 500
    assert names(caplog.text, "47000")


def test_chunks_behind_the_audio_are_none(tmp_path, contents):
    chunk = b"LIST" + struct.pack("<I", 4000) + b"x" * 4000
    (tmp_path / "a.wav").write_bytes(head(contents["wav"][0] + chunk, data=48000))
    assert len(read_audio(tmp_path / "a.wav")) == 24000
    (tmp_path / "b.wav").write_bytes(head(contents["wav"][0][:44] + chunk, data=0))
    with pytest.raises(AudioError):
        read_audio(tmp_path / "b.wav")


@pytest.mark.slow
@given(
    st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, 1), min_size=1, max_size=3), st.integers(0, 60_000),
    st.binary(max_size=40),
)  # fmt: skip
def test_what_is_cut_is_never_read_as_if_it_were_whole(tmp_path_factory, contents, waves, suffix, order, cut, tail):
    """Cut anywhere, with anything behind it: an error, or all the samples of the files that are whole."""
    content = b"".join(contents[suffix][number] for number in order)
    path = tmp_path_factory.getbasetemp() / f"cut.{suffix}"
    path.write_bytes(content[: max(0, len(content) - cut)] + tail)
    try:
        samples, frames = read_audio(path), read_header(path).num_frames
    except AudioError:
        return
    # A tenth of a second is what lengths of stretches are rounded by.
    assert frames - 1600 <= len(samples) <= frames and np.isfinite(samples).all()
    if cut == 0 and suffix != "w64":  # libsndfile takes what is behind a w64 for audio.
        assert len(samples) >= 0.99 * sum(len(waves[number]) for number in order)


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 60), st.binary(min_size=1, max_size=8))
def test_any_header_is_read_or_refused(tmp_path_factory, contents, suffix, place, patch):
    content = bytearray(contents[suffix][1])
    content[place : place + len(patch)] = patch
    path = tmp_path_factory.getbasetemp() / f"headed.{suffix}"
    path.write_bytes(content)
    try:
        samples = read_audio(path)
    except AudioError:
        return
    assert 0 < len(samples) <= 60 * 16000 and np.isfinite(samples).all()


# Channels.


@pytest.mark.parametrize("gain", [-1, -0.9, -1.1])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_channels_that_cancel_leave_the_louder(tmp_path, waves, gain, suffix, caplog):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([waves[0], gain * waves[0]], axis=1) * 0.8, 16000)
    louder = soundfile.read(path, dtype="float32")[0][:, int(abs(gain) > 1)]
    np.testing.assert_allclose(read_audio(path), louder, atol=0 if suffix != "ogg" else 1e-5)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, seconds=0.2))), read_audio(path))
    np.testing.assert_array_equal(read_audio(path, offset=0.5, duration=0.25), read_audio(path)[8000:12000])
    assert sum(str(path) in line for line in caplog.messages) == 1


def test_a_part_that_cancels_counts_and_silence_does_not(tmp_path, waves):
    silence = np.zeros(50_000)
    later = np.concatenate([silence, waves[0], waves[1]])
    signs = np.concatenate([silence, np.ones(24000), -np.ones(16000)])
    soundfile.write(tmp_path / "a.flac", np.stack([later, later * signs, later * 0], axis=1), 16000)
    assert abs(read_audio(tmp_path / "a.flac")[-16000:]).max() > 0.4


@pytest.mark.parametrize("start, end", [(0.95, 1.4), (0.3, 0.5), (1.2, 1.5)])
def test_a_moment_that_cancels_is_not_lost(tmp_path, start, end):
    noise = np.random.default_rng(0).standard_normal(24_000) * 0.1
    signs = np.where((np.arange(24_000) >= 16_000 * start) & (np.arange(24_000) < 16_000 * end), -1, 1)
    soundfile.write(tmp_path / "a.wav", np.stack([noise, noise * signs], axis=1), 16_000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), noise, atol=1e-4)


@pytest.mark.parametrize("gains", [(1, 1), (1, 0), (0, 1), (1, 0.5), (1, -0.3), (1, 1, 1, 1)])
def test_other_channels_are_averaged_to_the_bit(tmp_path, waves, gains):
    noise = np.random.default_rng(0).standard_normal((24000, len(gains))) * 0.05
    soundfile.write(tmp_path / "a.wav", waves[0][:, None] * gains + noise, 16000)
    channels = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), channels.mean(axis=1, dtype=np.float32))


def test_channels_without_anything_in_common_are_averaged(tmp_path):
    noise = np.random.default_rng(0).standard_normal((24000, 2)) * 0.1
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    channels = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), channels.mean(axis=1, dtype=np.float32))


@pytest.mark.grid
@pytest.mark.parametrize("suffix", KINDS)
def test_blocks_are_the_whole_in_every_kind(tmp_path, suffix):
    """A file of several of soundfile's blocks: seeking between them would cost mp3 a tenth of a second each."""
    path, (kind, subtype) = tmp_path / f"a.{suffix}", KINDS[suffix]
    time = np.arange(8000 * 125) / 8000
    soundfile.write(path, np.sin(440 * 2 * np.pi * time) * 0.5, 8000, format=kind, subtype=subtype)
    whole = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_allclose(read_audio(path, sample_rate=8000), whole, atol=1e-6)
    blocks = list(read_blocks(path, sample_rate=8000, seconds=7.3))
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-6)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_stretch_is_the_whole_cut_in_every_kind(tmp_path, waves, suffix):
    """Right behind a jump the decoder of mp3 gives a quarter of a second of silence."""
    path, (kind, subtype) = tmp_path / f"a.{suffix}", KINDS[suffix]
    soundfile.write(path, np.concatenate([*waves, *waves]), 16000, format=kind, subtype=subtype)
    whole = read_audio(path)
    for start in (0, 1, 3000, 9216, 9217, 24000, 51234, len(whole) - 700):
        stretch = read_audio(path, offset=start / 16000, duration=min(1.0, (len(whole) - start) / 16000))
        np.testing.assert_allclose(stretch, whole[start : start + 16000], atol=1e-3)


@pytest.mark.parametrize("kind", [("PCM_16", 1, 2), ("PCM_16", 2, 4), ("PCM_24", 1, 3), ("ULAW", 1, 1)])
def test_a_sphere_file_that_is_cut_is_refused(kind, tmp_path):
    subtype, channels, width = kind
    file = tmp_path / "a.sph"
    soundfile.write(file, np.full((5_000, channels), 0.25), 16_000, format="NIST", subtype=subtype)
    content = file.read_bytes()
    assert read_header(file).num_frames == len(read_audio(file)) == 5_000
    for lost in (1, width, 2_000 * width, 5_000 * width - 1):
        file.write_bytes(content[:-lost])
        with pytest.raises(AudioError):
            read_audio(file)
    file.write_bytes(content + bytes(100 * width))
    assert len(read_audio(file)) >= 5_000
