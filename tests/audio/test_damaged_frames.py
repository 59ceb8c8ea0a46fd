"""Frames of MP3 that a decoder skips in silence: one changed, missing or added byte may cost one."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from bigfoot.audio.files import read_audio, read_header
from bigfoot.audio.mpeg import measure_frame
from bigfoot.audio.mpeg_count import mpeg_problem
from bigfoot.errors import AudioError

WAVE = np.sin(440 * 2 * np.pi * np.arange(24_000) / 16_000) * 0.3 + np.random.default_rng(0).normal(size=24_000) * 0.02
KINDS = [
    (16_000, 1, "VARIABLE", True), (44_100, 2, "VARIABLE", True), (16_000, 1, "CONSTANT", True),
    (16_000, 1, "CONSTANT", False), (44_100, 1, "CONSTANT", False), (8_000, 1, "CONSTANT", False),
]  # fmt: skip


def list_frames(content):
    places, place = [], 0
    while size := measure_frame(content[place : place + 4]):
        places.append(place)
        place += size
    assert place == len(content)
    return places


@lru_cache
def encoded(folder, kind):
    rate, channels, mode, tagged = kind
    path = folder / f"{rate}{channels}{mode}{tagged}.mp3"
    soundfile.write(path, np.stack([WAVE] * channels, axis=1), rate, format="MP3", bitrate_mode=mode)
    content = path.read_bytes()
    if not tagged:
        path.write_bytes(content := content[list_frames(content)[1] :])
    return content, list_frames(content), read_audio(path, sample_rate=rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


def read(folder, content, rate):
    (folder / "a.mp3").write_bytes(content)
    return read_audio(folder / "a.mp3", sample_rate=rate)


@pytest.mark.slow
@given(
    st.sampled_from(KINDS), st.integers(0, 99), st.integers(-1, 40) | st.integers(0, 2_000), st.integers(0, 255),
    st.sampled_from(["changed", "missing", "added"]),
)  # fmt: skip
@example(KINDS[0], 10, 2, 0x40, "changed")
@example(KINDS[3], 0, 0, 0x80, "changed")
@example(KINDS[3], 5, 2, 0x20, "changed")
@example(KINDS[4], 99, 100, 0, "missing")
@example(KINDS[1], 0, 33, 0x10, "changed")
@example(KINDS[1], 0, 36 + 141, 0x80, "changed")
def test_no_sample_is_lost_in_silence(folder, kind, frame, offset, value, how):
    content, frames, whole = encoded(folder, kind)
    place = min(max(0, frames[frame % len(frames)] + offset), len(content) - 1)
    new = {"changed": bytes([content[place] ^ value]), "missing": b"", "added": bytes([value]) + content[place:][:1]}
    try:
        samples = read(folder, content[:place] + new[how] + content[place + 1 :], kind[0])
    except AudioError:
        return
    assert len(samples) >= len(whole) and read_header(folder / "a.mp3").num_frames >= len(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_is_lost_is_reported(folder, kind):
    content, frames, _ = encoded(folder, kind)
    middle, behind, cut = frames[len(frames) // 2], frames[len(frames) // 2 + 1], len(content) - 1
    for lost in (
        content[: middle + 9] + content[middle + 10 :],
        content[:middle] + b"\xfe" + content[middle + 1 :],
        content[:middle] + bytes(behind - middle) + content[behind:],
        content[:cut],
    ):
        with pytest.raises(AudioError):
            read(folder, lost, kind[0])
        with pytest.raises(AudioError):
            read_header(folder / "a.mp3")


def make_tags():
    """Tags of every kind, each with a header of a frame in it."""
    text = b"\xff\xfb\x90\x64" * 40
    size = bytes((0, 0, len(text) >> 7, len(text) & 127))
    ape = b"APETAGEX" + struct.pack("<4I", 2000, len(text) + 32, 1, 0xA0000000) + bytes(8)
    foot = b"APETAGEX" + struct.pack("<4I", 2000, len(text) + 32, 1, 0x80000000) + bytes(8)
    old = b"APETAGEX" + struct.pack("<4I", 1000, len(text) + 32, 1, 0) + bytes(8)
    lyrics = b"LYRICSBEGIN" + b"IND0000200" + b"000021LYRICS200"
    front = [b"ID3\4\0\0" + size + text, b"ID3\4\0\x10" + size + text + b"3DI\4\0\x10" + size, ape + text + foot]
    back = [b"TAG" + bytes(125), ape + text + foot, text + old, lyrics + b"TAG" + b" " * 125]
    return [(head, b"") for head in front] + [(b"", tail) for tail in back] + [(front[0] * 2, back[1] + back[0])]


@pytest.mark.parametrize("kind", KINDS)
def test_tags_and_padding_are_no_damage(folder, kind):
    content, _, whole = encoded(folder, kind)
    for head, tail in make_tags():
        for padding in (b"", bytes(500)):
            if not (head.startswith(b"APE") and kind[3]):  # The decoder takes it for damage and loses the header.
                np.testing.assert_array_equal(read(folder, head + content + padding + tail, kind[0]), whole)


@pytest.mark.parametrize("counts_itself", [0, 1])
def test_encoders_may_count_the_frame_of_the_header(folder, counts_itself):
    content, frames, whole = encoded(folder, KINDS[0])
    place = content.index(b"Xing")
    plain = content[: place + 120] + b"OTHER" + content[place + 125 :]
    plain = plain[: place + 8] + struct.pack(">I", len(frames) - 1 + counts_itself) + plain[place + 12 :]
    assert len(read(folder, plain, 16_000)) >= len(whole)
    with pytest.raises(AudioError):
        read(folder, plain[: frames[-2]], 16_000)


def test_a_damaged_header_leaves_no_sample_out(folder):
    """The samples to cut at both ends stand in it; a checksum says whether they are right."""
    content, frames, whole = encoded(folder, KINDS[1])
    place = content.index(b"Xing") + 142
    damaged = read(folder, content[:place] + b"\xff" + content[place + 1 :], 44_100)
    # Of what frames hold only the decoder's own delay goes.
    assert len(damaged) == 1152 * (len(frames) - 1) - 529
    np.testing.assert_array_equal(damaged[576 : 576 + len(whole)], whole)


@pytest.mark.parametrize("how", ["changed", "missing", "cut"])
def test_alac_that_lost_a_packet_is_refused(folder, how):
    path = folder / "a.caf"
    soundfile.write(path, WAVE, 16_000, format="CAF", subtype="ALAC_16")
    content = path.read_bytes()
    assert len(read_audio(path)) == len(WAVE)
    place = content.index(b"pakt") + 12 + 15
    new = {
        "changed": content[:place] + b"\xff" + content[place + 1 :],
        "missing": content[:9_000] + content[9_001:],
        "cut": content[:-9_000],
    }
    path.write_bytes(new[how])
    with pytest.raises(AudioError):
        read_audio(path)


def test_frames_that_are_not_counted_are_reported(folder, caplog):
    """Of a free bit rate, which the header does not state."""
    content, places, _ = encoded(folder, KINDS[3])
    free = bytearray(content)
    for place in places:
        free[place + 2] &= 0x0F
    for name, made, count in (("counted", content, 0), ("free", free, 1)):
        (folder / f"{name}.mp3").write_bytes(made)
        assert mpeg_problem(folder / f"{name}.mp3") is None and len(caplog.records) == count
