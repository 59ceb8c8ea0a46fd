import numpy as np
import pytest

from bigfoot.audio.chunking import Chunk
from bigfoot.audio.recording import cut_chunks, measure_moments, open_recording
from bigfoot.errors import AudioError


@pytest.mark.parametrize("sizes", [[5000], [1, 4999], [1000] * 5, [0, 2500, 0, 2500]])
def test_moments_are_those_of_the_whole(sizes):
    # Far from zero, where sums of squares would lose what matters.
    wave = (np.random.default_rng(0).normal(50, 0.1, 5000)).astype(np.float32)
    moments = measure_moments(np.split(wave, np.cumsum(sizes)[:-1]))
    assert moments.num_samples == 5000
    assert moments.mean == pytest.approx(wave.astype(np.float64).mean(), rel=1e-7)
    assert moments.variance == pytest.approx(wave.astype(np.float64).var(), rel=1e-5)


@pytest.mark.parametrize("size", [7, 100, 1000])
def test_chunks_are_what_slices_are(size):
    wave = np.arange(1000, dtype=np.float32)
    chunks = [Chunk(0, 300, 0), Chunk(200, 500, 1), Chunk(400, 1000, 2)]
    blocks = [wave[start : start + size] for start in range(0, 1000, size)]
    for chunk, found in zip(chunks, cut_chunks(blocks, chunks), strict=True):
        np.testing.assert_array_equal(found, wave[chunk.start : chunk.end])


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 100), np.float32), "float32 of shape (2, 100)"),
        (np.zeros(100, np.int16), "int16 of shape (100,)"),
        (np.zeros(0, np.float32), "holds no samples"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_arrays_that_are_no_audio(array, reason):
    with pytest.raises(AudioError) as caught:
        open_recording(array, 3, 16_000)
    assert caught.value.path == "array 3" and reason in caught.value.reason


def test_arrays_of_other_floats_are_taken():
    recording = open_recording(np.full(8000, 0.5), 0, 16_000)
    assert recording.load().dtype == np.float32 and recording.seconds == 0.5
    assert np.concatenate(list(recording.blocks())).tolist() == [0.5] * 8000
