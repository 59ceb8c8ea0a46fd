"""Changes to waveforms and masks over features, each drawn from a generator of its own.

The generator is seeded by what is changed (seed, epoch, batch, utterance), never taken from a process or a worker, so
that a resumed run and another number of workers hear the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bigfoot.audio.files import resample
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import AugmentConfig, SpecAugmentConfig
from bigfoot.data.utterance import add_noise, mix_noise
from bigfoot.types import SAMPLE_RATE, Samples


def stable_seed(*parts: object) -> int:
    """Fold anything printable into a seed that is the same in every process and on every machine.

    Python's ``hash`` is salted per process, hence a digest.

    Args:
        parts: such as a seed, an epoch and an utterance's id.

    Returns:
        A number of 63 bits.

    Examples:
        >>> stable_seed(7, 0, "a") == stable_seed(7, 0, "a") != stable_seed(7, 1, "a")
        True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def augment_waveform(
    samples: Samples, config: AugmentConfig, rng: np.random.Generator, noise: NoiseFolder | None = None
) -> Samples:
    """Change speed, add noise, change loudness, in this order.

    Args:
        samples: (N,) at 16 kHz.
        config: ranges and probabilities; its defaults change nothing.
        rng: source of every draw.
        noise: recordings to cut noise from (``noise_folder``); without them it is generated.

    Returns:
        (N / speed,) float32.

    Raises:
        DataError: no recording of noise can be read.

    Examples:
        >>> augment_waveform(np.ones(16000, np.float32), AugmentConfig(speed=[2.0, 2.0]), np.random.default_rng(0)).size
        8000
    """
    slowest, fastest = config.speed
    speed = rng.uniform(slowest, fastest)
    if speed != 1.0:
        # Played at another rate, pitch and speed move together, as in Kaldi's three-way perturbation.
        samples = resample(samples, round(SAMPLE_RATE * speed))
    if rng.random() < config.noise_probability:
        loudest, faintest = config.noise_snr_db
        snr_db = rng.uniform(loudest, faintest)
        if noise is None:
            samples = add_noise(samples, rng, snr_db)
        else:
            samples = mix_noise(samples, noise.cut(len(samples), rng), snr_db)
    lowest, highest = config.gain_db
    gain_db = rng.uniform(lowest, highest)
    return samples if gain_db == 0.0 else samples * np.float32(10 ** (gain_db / 20))


def spec_augment_masks(
    frame_lengths: Sequence[int], num_channels: int, config: SpecAugmentConfig, seed: int, keys: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Draw SpecAugment's masks (Park et al., 2019, section 2), for every utterance from its own key.

    Unlike Hugging Face's, the spans of one utterance never overlap, so that the expected share that is covered is the
    configured one, and the number of spans of one utterance does not depend on the others of its batch.

    Args:
        frame_lengths: B numbers of real frames; masks stay within them.
        num_channels: C, feature channels.
        config: shares and lengths of the spans.
        seed: of the run.
        keys: B words, each unique to an utterance and a step.

    Returns:
        Time masks (B, T) with T the longest of the lengths, and feature masks (B, C); True is masked.

    Raises:
        ValueError: not as many keys as lengths.

    Examples:
        >>> time, feature = spec_augment_masks([40, 9], 4, SpecAugmentConfig(mask_time_prob=0.5), 7, ["0/a", "0/b"])
        >>> time.shape, int(time[0].sum()), bool(time[1, 9:].any()), bool(feature.any())
        ((2, 40), 20, False, False)
    """
    if len(keys) != len(frame_lengths):
        raise ValueError(f"expected one key an utterance, got {len(keys)} for {len(frame_lengths)}")
    time_mask = np.zeros((len(keys), max(frame_lengths, default=0)), dtype=np.bool_)
    feature_mask = np.zeros((len(keys), num_channels), dtype=np.bool_)
    for row, (key, length) in enumerate(zip(keys, frame_lengths, strict=True)):
        rng = np.random.default_rng(stable_seed(seed, "spec_augment", key))
        time_mask[row, :length] = span_mask(length, config.mask_time_prob, config.mask_time_length, rng)
        feature_mask[row] = span_mask(num_channels, config.mask_feature_prob, config.mask_feature_length, rng)
    return time_mask, feature_mask


def span_mask(length: int, probability: float, span: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Cover a share of a row with spans that do not overlap.

    Args:
        length: of the row, 0 or more.
        probability: expected share covered, 0 to 1.
        span: length of a span; clipped to the row's.
        rng: source of number and places.

    Returns:
        (length,) True where covered.

    Examples:
        >>> int(span_mask(100, 0.2, 5, np.random.default_rng(0)).sum())
        20
    """
    mask = np.zeros(length, dtype=np.bool_)
    span = min(span, length)
    if span <= 0 or probability <= 0:
        return mask
    # Rounding up or down by chance keeps the expected share exact for utterances shorter than span / probability.
    count = min(int(probability * length / span + rng.random()), length // span)
    # Shrink every span to one frame, place those without repeats, and widen them again: uniform, never overlapping.
    places = np.sort(rng.choice(length - count * (span - 1), size=count, replace=False))
    starts = places + np.arange(count) * (span - 1)
    mask[(starts[:, None] + np.arange(span)).ravel()] = True
    return mask
