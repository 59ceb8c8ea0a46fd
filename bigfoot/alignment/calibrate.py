"""Measure a model's lag on speech whose times are known: espeak-ng's, with its own events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bigfoot.alignment.aligner import Aligner
from bigfoot.alignment.lag import Lag
from bigfoot.audio.files import resample
from bigfoot.data.synthetic import ACCENTS, VARIANTS
from bigfoot.data.utterance import add_noise, digits_to_text, silence
from bigfoot.errors import DataError
from bigfoot.espeak import Voice, speak_with_times
from bigfoot.types import Hertz, Samples, Seconds

SENTENCES = (
    "the quick brown fox jumps over the lazy dog", "a large size in stockings is hard to sell",
    "please bring my best jacket from the van", "we could not quite judge her very good voice",
    "every zebra knows how to cross under water", "few people guess what keeps old houses warm",
    "just open that box and give the queen her yellow kite", "I think it is unusual for them to leave so early",
)  # fmt: skip
"""Spoken beside strings of digits: all letters of English, most of them at starts and ends of words."""
STRINGS = 120
_CONFIDENT = 0.6
_FEWEST_WORDS = 20
_FEWEST_OF_A_TOKEN = 8


@dataclass(frozen=True)
class Calibration:
    """A lag and what it was measured on.

    Args:
        lag: of the model.
        words: how many counted.
        spread: mean absolute deviation of starts once the lag is taken off.
    """

    lag: Lag
    words: int
    spread: Seconds


@dataclass(frozen=True)
class SpokenText:
    """A text, its sound, and when its words are spoken.

    Args:
        text: its words.
        samples: (N,).
        times: (W, 2) starts and ends in seconds.
    """

    text: str
    samples: Samples
    times: np.ndarray


def speak_texts(
    sample_rate: Hertz, sentences: Sequence[str] = (), voice: str | None = None, seed: int = 0
) -> Iterator[SpokenText]:
    """Synthesize texts by many voices, half of them without gaps between words.

    Args:
        sample_rate: in Hz.
        sentences: to speak; English digits and sentences by default.
        voice: espeak-ng voice of their language; English accents by default.
        seed: of voices and noise.

    Yields:
        Texts with their sound, in order.

    Raises:
        MissingExtraError: the extra ``[synthetic]`` is not installed.
    """
    accents, variants = ACCENTS if voice is None else (voice,), VARIANTS["train"]
    for index in range(STRINGS if not sentences else max(STRINGS // 2, len(sentences))):
        rng = np.random.default_rng([seed, index])
        text = sentences[index % len(sentences)] if sentences else _choose_text(rng, index)
        yield speak_text(text, rng, accents, variants, sample_rate, gaps=bool(index % 2))


def speak_text(
    text: str, rng: np.random.Generator, accents: Sequence[str], variants: Sequence[str], rate: Hertz, *, gaps: bool
) -> SpokenText:
    """Synthesize a text by a voice that is drawn, with noise.

    Args:
        text: its words.
        rng: of voice and noise.
        accents: espeak-ng voices to draw from.
        variants: of a voice, to draw from.
        rate: in Hz.
        gaps: whether words may stand apart.
    """
    voice = Voice(
        f"{accents[int(rng.integers(len(accents)))]}+{variants[int(rng.integers(len(variants)))]}",
        int(rng.integers(110, 200)), int(rng.integers(25, 76)), int(rng.integers(20, 81)),
        int(rng.integers(0, 12)) if gaps else 0,
    )  # fmt: skip
    samples, spoken_rate, words = speak_with_times(text.lower(), voice)
    before = silence(rng, 0.25)
    samples = np.concatenate([before, resample(samples, spoken_rate, rate), silence(rng, 0.25)])
    samples = add_noise(samples * np.float32(0.4 / np.abs(samples).max()), rng, snr_db=rng.uniform(15.0, 40.0))
    times = np.array([(word.start, word.end) for word in words]).reshape(-1, 2)
    return SpokenText(text, samples, times + len(before) / rate)


def _choose_text(rng: np.random.Generator, index: int) -> str:
    if index % 3 == 2:
        return SENTENCES[index // 3 % len(SENTENCES)]
    return digits_to_text(rng.integers(0, 10, size=rng.integers(2, 9)).tolist())


def calibrate(
    aligner: Aligner, sentences: Sequence[str] = (), voice: str | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> Calibration:  # fmt: skip
    """Measure how late a model's tokens come.

    Words that the model hardly recognizes do not count, so that a model of digits is measured on digits.

    Args:
        aligner: the model; its own lag is not read.
        sentences: see ``speak_texts``.
        voice: see ``speak_texts``.
        on_progress: called after each text.

    Returns:
        Medians over all words, and over the words that start, or end, with each token.

    Raises:
        DataError: the model recognizes too few of the words.
        MissingExtraError: the extra ``[synthetic]`` is not installed.
    """
    starts: list[tuple[str, Seconds]] = []
    ends: list[tuple[str, Seconds]] = []
    for spoken in speak_texts(aligner.engine.facts.sample_rate, sentences, voice):
        on_progress()
        try:
            words = aligner.frame_words(spoken.samples, spoken.text)
        except DataError:
            continue
        if len(words) != len(spoken.times):
            continue
        for (begin, end, first, last, confidence), (start, stop) in zip(words, spoken.times.tolist(), strict=True):
            if confidence >= _CONFIDENT:
                starts.append((first, begin - start))
                ends.append((last, end - stop))
    if len(starts) < _FEWEST_WORDS:
        raise DataError(
            f"the model recognizes {len(starts)} words of espeak-ng's speech, and {_FEWEST_WORDS} are needed; give "
            "sentences of its language (--sentences) and the voice that speaks it (--voice)"
        )
    lag = Lag(_median(starts), _median(ends), _medians(starts), _medians(ends))
    spread = float(np.mean([abs(late - lag.before(token)) for token, late in starts]))
    return Calibration(lag, len(starts), spread)


def _median(found: Sequence[tuple[str, Seconds]]) -> Seconds:
    return float(np.median([late for _, late in found]))


def _medians(found: Sequence[tuple[str, Seconds]]) -> dict[str, Seconds]:
    by_token: dict[str, list[Seconds]] = {}
    for token, late in found:
        by_token.setdefault(token, []).append(late)
    return {token: float(np.median(late)) for token, late in by_token.items() if len(late) >= _FEWEST_OF_A_TOKEN}
