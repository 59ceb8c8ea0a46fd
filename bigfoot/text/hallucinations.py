"""Texts that a sequence-to-sequence model wrote without having them in its audio, by simple signs."""

from __future__ import annotations

import zlib

import numpy as np

from bigfoot.types import Samples

SILENCE, REPETITION, RATE = "silence", "repetition", "rate"
"""Signs: text where there is no sound, a phrase again and again, and more text than anyone can pronounce."""
QUIETEST = 10 ** (-60 / 20)
"""Of full scale: the loudest 20 ms of a silent recording are quieter."""
_COMPRESSION = 2.4
_REPEATS = 4
_FASTEST = 30.0
_FRAME = 320


def find_hallucination(text: str, samples: Samples, sample_rate: int = 16_000) -> str | None:
    """Name the sign of a hallucination in a text; None where there is none.

    The bound of compressibility is Whisper's own (Radford et al., 2022, section 4.5).

    Args:
        text: of the whole recording.
        samples: (N,) of it, not normalized.
        sample_rate: of it in Hz.

    Examples:
        >>> noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) / 9
        >>> find_hallucination("one two", noise), find_hallucination("so " * 40, noise)
        (None, 'repetition')
        >>> find_hallucination("Thank you for watching.", np.zeros(32_000, np.float32))
        'silence'
    """
    if not text:
        return None
    if loudest(samples) < QUIETEST:
        return SILENCE
    if _repeats(text):
        return REPETITION
    return RATE if len(text) > _FASTEST * max(len(samples) / sample_rate, 0.5) else None


def loudest(samples: Samples) -> float:
    """Return the root mean square of the loudest 20 ms at 16 kHz; 0 for an empty recording."""
    whole = np.asarray(samples, dtype=np.float64)
    padded = np.pad(whole, (0, -len(whole) % _FRAME)).reshape(-1, _FRAME)
    return float(np.sqrt(np.square(padded).mean(-1).max())) if len(padded) else 0.0


def _repeats(text: str) -> bool:
    encoded = text.encode()
    # Short texts do not compress, and long ones of four equal phrases may.
    if len(encoded) > 100 and len(encoded) / len(zlib.compress(encoded)) > _COMPRESSION:
        return True
    words = text.split()
    # Digits and letters by name repeat: only phrases of several words, or one word very often.
    for size in range(1, len(words) // _REPEATS + 1):
        least = _REPEATS if size > 1 else 2 * _REPEATS
        for start in range(len(words) - size * least + 1):
            if words[start : start + size] * least == words[start : start + size * least]:
                return True
    return False
