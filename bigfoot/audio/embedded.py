"""Recordings within a page: audio as an address that holds it."""

from __future__ import annotations

import base64
import io

import numpy as np

from bigfoot.types import SAMPLE_RATE, Samples, Seconds

_PLAYED: Seconds = 20.0
"""Of a recording that the page carries at most."""


def encode_audio(samples: Samples) -> str:
    """Encode a recording for a page, as an address that holds it.

    Args:
        samples: (N,) at 16 kHz; what is beyond 20 s is left out.

    Examples:
        >>> encode_audio(np.zeros(1600, np.float32))[:23]
        'data:audio/mpeg;base64,'
    """
    import soundfile

    buffer = io.BytesIO()
    loudest = float(np.abs(samples).max(initial=0.0))
    # As loud as can be: a quiet recording is worst for the ear, not only for the model.
    scaled = samples[: round(_PLAYED * SAMPLE_RATE)] * np.float32(0.9 / loudest if loudest else 1.0)
    soundfile.write(buffer, scaled, SAMPLE_RATE, format="MP3")
    return "data:audio/mpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
