"""Paths that are no files, names of any bytes, and samples that are no audio: each costs itself."""

import os
import socket

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio.files import LOUDEST, normalize_waveform, read_audio, read_blocks, read_header
from bigfoot.audio.folders import find_audio, walk_files
from bigfoot.audio.recording import open_recording
from bigfoot.errors import AudioError
from bigfoot.paths import file_problem, is_utf8, printable
from tests.refusals import refused


@pytest.fixture(scope="module")
def speech():
    return np.random.default_rng(0).standard_normal(8000).astype(np.float32) * np.float32(0.1)


@pytest.mark.slow
@given(st.text(st.characters(codec=None, categories=None)) | st.binary().map(os.fsdecode))
def test_printable_names_are_one_line_of_utf8(name):
    shown = printable(name)
    assert is_utf8(shown) and len(shown.splitlines()) <= 1 and "\0" not in shown
    assert printable(shown) == shown


@pytest.mark.parametrize("name", ["naïve (1).wav", "नमस्ते\u200dक.wav", "back\\slash.wav", "emoji \U0001f9b6.wav"])
def test_names_that_can_be_printed_stay(name):
    assert printable(name) == name


@pytest.mark.parametrize("value", [3e38, -3e38, 1e30, 1e18, 1e12, np.inf, -np.inf, np.nan])
def test_samples_that_are_no_audio_are_refused_by_every_reader(tmp_path, speech, value):
    spoiled = speech.copy()
    spoiled[5000] = value
    soundfile.write(tmp_path / "a.wav", spoiled, 16000, subtype="FLOAT")
    # The mean of two channels may be finite, or even silent.
    soundfile.write(tmp_path / "b.wav", np.stack([spoiled, -spoiled], axis=1), 16000, subtype="DOUBLE")
    for path in (tmp_path / "a.wav", tmp_path / "b.wav"):
        for read in (read_audio, lambda path: list(read_blocks(path, seconds=0.1))):
            with pytest.raises(AudioError):
                read(path)
    with pytest.raises(AudioError):
        open_recording(spoiled, 0, 16000)
    with pytest.raises(AudioError):
        open_recording(np.where(np.arange(8000) == 7, value * 1e10, speech.astype(np.float64)), 0, 16000)


@pytest.mark.parametrize("scale", [2.0**15, 2.0**23, 2.0**31])
def test_floats_in_the_scale_of_integers_are_audio(tmp_path, speech, scale):
    scaled = np.clip(speech, -1, 1) * np.float32(scale)
    soundfile.write(tmp_path / "a.wav", scaled, 16000, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(samples, scaled)
    assert abs(samples).max() <= LOUDEST
    np.testing.assert_allclose(normalize_waveform(samples), (speech - speech.mean()) / speech.std(), atol=1e-4)


def test_a_name_that_is_not_utf8_is_read(tmp_path, speech):
    soundfile.write(tmp_path / "a.flac", speech, 16000)
    odd = os.fsencode(tmp_path) + b"/caf\xe9\n.flac"
    try:
        os.rename(tmp_path / "a.flac", odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    (path,) = find_audio(tmp_path)
    assert len(read_audio(path)) == len(speech) and read_header(path).num_frames == len(speech)
    os.truncate(odd, 50)
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert is_utf8(str(caught.value)) and "\n" not in str(caught.value)


def test_what_is_no_file_ends_in_words_and_never_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "nowhere.wav").symlink_to("gone")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket.wav"))
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 6 and all(file_problem(path) for path in paths)
    for path in [*paths, tmp_path / "a\0.wav", tmp_path / ("a" * 300), tmp_path / "pipe.wav" / "a.wav"]:
        for read in (read_header, read_audio, lambda path: list(read_blocks(path))):
            with pytest.raises(AudioError):
                read(path)
    problems = []
    assert {path.name for path in walk_files(tmp_path, problems)} == {p.name for p in paths} - {"folder.wav"}
    assert [error.path for error in problems] == [str(tmp_path / "folder.wav")]


def test_folders_that_lead_nowhere_are_named_and_those_with_files_are_not(tmp_path, speech):
    (tmp_path / "a.wav" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "a.wav" / "deep" / "b.wav", speech, 16000)
    (tmp_path / "speaker").symlink_to("gone")
    problems = []
    assert [path.name for path in find_audio(tmp_path, problems)] == ["b.wav"]
    assert [error.path for error in problems] == [str(tmp_path / "speaker")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    (tmp_path / "a").mkdir(mode=0)
    problems = []
    assert walk_files(tmp_path, problems) == [] and len(problems) == 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1a\x45\xdf\xa3" + bytes(99), "WebM"), (bytes(4) + b"ftypM4A " + bytes(99), "M4A"),
        (b"\xff\xf1\x50\x80" + bytes(99), "AAC"), (b"<!DOCTYPE html>" + bytes(99), "HTML"),
        (b"\x1f\x8b" + bytes(99), "gzip"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac"])
def test_files_of_another_kind_are_named(content, kind, suffix, tmp_path):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with refused(AudioError, kind):
        read_audio(tmp_path / f"a.{suffix}")
