import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio.files import normalize_waveform, read_audio
from bigfoot.audio.pauses import cut_at_pauses, plan_pieces
from bigfoot.audio.recording import Recording, normalize_part, open_recording

RATE = 16_000


@pytest.mark.slow
@given(
    num_samples=st.integers(1, 40_000), step=st.integers(1, 50), steps=st.integers(8, 60), tail=st.integers(0, 30),
    seed=st.integers(0, 9), silent=st.booleans(),
)  # fmt: skip
def test_pieces_hold_every_sample_once_and_are_neither_too_long_nor_too_short(
    num_samples, step, steps, tail, seed, silent
):
    loudness = np.random.default_rng(seed).random(num_samples // step) * (not silent)
    longest = step * steps
    pieces = plan_pieces(num_samples, loudness, step, longest, pause=3, tail=tail)
    starts = [piece.start for piece in pieces]
    ends = [*starts[1:], num_samples]
    assert starts[0] == 0 and all(piece.start == step * piece.start_frame for piece in pieces)
    for piece, end in zip(pieces, ends, strict=True):
        assert piece.end == min(end + tail, num_samples)
        assert end - piece.start <= longest
    if len(pieces) > 1:
        assert all(end - start >= longest // 2 - step for start, end in zip(starts[:-1], ends, strict=False))
        assert ends[-1] - starts[-1] >= longest // 4


@pytest.fixture(scope="module")
def talk():
    """Bursts of noise of two seconds with pauses of half a second, not quite silent, on a constant offset."""
    rng = np.random.default_rng(0)
    burst, pause = 2 * RATE, RATE // 2
    parts = [rng.standard_normal(n) * loud for _ in range(12) for n, loud in ((burst, 0.1), (pause, 0.001))]
    return (np.concatenate(parts) + 0.2).astype(np.float32)


def test_cuts_lie_in_pauses(talk):
    pieces = list(cut_at_pauses(Recording("talk", len(talk), RATE, talk), longest=7))
    assert len(pieces) >= 4
    for piece in pieces[1:]:
        place = piece.chunk.start / RATE % 2.5
        assert 2.0 <= place <= 2.5, place


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_pieces_of_a_file_are_the_recording_normalized_as_a_whole(talk, rate, tmp_path):
    path = tmp_path / "talk.wav"
    soundfile.write(path, talk, rate, subtype="FLOAT")
    whole = read_audio(path)
    scaled = normalize_waveform(whole)
    pieces = list(cut_at_pauses(open_recording(path, 0, RATE), longest=4, tail=80))
    assert [piece.index for piece in pieces] == list(range(pieces[0].count))
    assert pieces[-1].until == len(whole)
    for piece in pieces:
        stretch = slice(piece.chunk.start, piece.chunk.end)
        np.testing.assert_allclose(piece.samples, whole[stretch], atol=1e-5)
        np.testing.assert_allclose(normalize_part(piece.samples, piece.moments), scaled[stretch], atol=1e-3)
    rest = list(cut_at_pauses(open_recording(path, 0, RATE), longest=4, tail=80, skip=2))
    assert [piece.index for piece in rest] == list(range(2, pieces[0].count))
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(rest, pieces[2:], strict=True))


def test_what_is_short_is_left_as_it_is(talk, tmp_path):
    path = tmp_path / "talk.wav"
    soundfile.write(path, talk, 44_100, subtype="FLOAT")
    (piece,) = cut_at_pauses(open_recording(path, 0, RATE))
    assert np.array_equal(piece.samples, read_audio(path)) and piece.count == 1
    assert np.array_equal(normalize_part(piece.samples, piece.moments), normalize_waveform(read_audio(path)))
    assert list(cut_at_pauses(open_recording(path, 0, RATE), skip=1)) == []


def test_a_stretch_of_a_file(talk, tmp_path):
    path = tmp_path / "talk.wav"
    soundfile.write(path, talk, RATE, subtype="FLOAT")
    stretch = Recording(str(path), 15 * RATE, RATE, offset=3.0, duration=15.0)
    pieces = list(cut_at_pauses(stretch, longest=4))
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), talk[3 * RATE : 18 * RATE])
    assert np.array_equal(stretch.load(), talk[3 * RATE : 18 * RATE])
