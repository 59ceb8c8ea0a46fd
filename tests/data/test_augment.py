import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.data.augment import augment_waveform, span_mask, spec_augment_masks, stable_seed
from bigfoot.data.settings import AugmentConfig, SpecAugmentConfig

SPEECH = (np.sin(np.arange(16000) * 2 * np.pi * 200 / 16000) * 0.3).astype(np.float32)


def test_defaults_change_nothing():
    assert augment_waveform(SPEECH, AugmentConfig(), np.random.default_rng(0)) is SPEECH


def test_speed_moves_length_and_pitch():
    faster = augment_waveform(SPEECH, AugmentConfig(speed=[1.25, 1.25]), np.random.default_rng(0))
    assert abs(len(faster) - 12800) <= 1
    assert abs(np.abs(np.fft.rfft(faster)).argmax() * 16000 / len(faster) - 250) < 2


def test_noise_has_the_ratio_asked_for():
    noisy = augment_waveform(
        SPEECH, AugmentConfig(noise_probability=1.0, noise_snr_db=[10, 10]), np.random.default_rng(0)
    )
    ratio = 10 * np.log10(np.mean(SPEECH**2) / np.mean((noisy - SPEECH) ** 2))
    assert ratio == pytest.approx(10, abs=0.1)


def test_gain_in_decibels():
    louder = augment_waveform(SPEECH, AugmentConfig(gain_db=[6.0206, 6.0206]), np.random.default_rng(0))
    np.testing.assert_allclose(louder, SPEECH * 2, rtol=1e-4)
    assert louder.dtype == np.float32


def test_same_generator_same_sound():
    config = AugmentConfig(speed=[0.9, 1.1], gain_db=[-6, 6], noise_probability=0.5)
    one, two, other = (augment_waveform(SPEECH, config, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert len(one) != len(other) or not np.array_equal(one, other)


def test_stable_seed_is_the_same_in_another_process():
    code = "from bigfoot.data.augment import stable_seed; print(stable_seed(7, 'a', 3))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == stable_seed(7, "a", 3) != stable_seed(7, "a3")


masks = st.builds(
    SpecAugmentConfig,
    mask_time_prob=st.floats(0, 1),
    mask_time_length=st.integers(1, 20),
    mask_feature_prob=st.floats(0, 1),
    mask_feature_length=st.integers(1, 20),
)
lengths = st.lists(st.integers(1, 120), min_size=1, max_size=5)


@pytest.mark.slow
@settings(deadline=None)
@given(lengths, masks, st.integers(0, 1000))
def test_masks_stay_on_real_frames_and_know_no_neighbours(frame_lengths, config, seed):
    keys = [f"0/{row}" for row in range(len(frame_lengths))]
    time, feature = spec_augment_masks(frame_lengths, 16, config, seed, keys)
    assert time.shape == (len(keys), max(frame_lengths)) and feature.shape == (len(keys), 16)
    for row, length in enumerate(frame_lengths):
        assert not time[row, length:].any()
        alone_time, alone_feature = spec_augment_masks([length], 16, config, seed, [keys[row]])
        np.testing.assert_array_equal(alone_time[0], time[row, :length])
        np.testing.assert_array_equal(alone_feature[0], feature[row])


@pytest.mark.parametrize("length", [23, 100, 500])
@pytest.mark.parametrize("probability", [0.05, 0.3, 0.65])
def test_the_expected_share_is_covered(length, probability):
    covered = [span_mask(length, probability, 5, np.random.default_rng(s)).mean() for s in range(400)]
    assert np.mean(covered) == pytest.approx(probability, abs=0.02)


@pytest.mark.slow
def test_spans_fall_everywhere():
    share = np.mean([span_mask(40, 0.25, 5, np.random.default_rng(s)) for s in range(4000)], axis=0)
    # Frames near the ends lie in fewer possible spans; none is left out.
    assert share.min() > 0.02 and share[10:30].min() > 0.2


def test_no_probability_no_mask():
    time, feature = spec_augment_masks([50, 3], 8, SpecAugmentConfig(mask_time_prob=0.0), 0, ["a", "b"])
    assert not time.any() and not feature.any()


def test_span_longer_than_the_utterance_covers_it_whole():
    assert span_mask(3, 1.0, 10, np.random.default_rng(0)).tolist() == [True, True, True]
    assert span_mask(0, 1.0, 10, np.random.default_rng(0)).tolist() == []


def test_one_key_an_utterance():
    with pytest.raises(ValueError):
        spec_augment_masks([5, 5], 4, SpecAugmentConfig(), 0, ["a"])
