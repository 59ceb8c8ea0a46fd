"""Words for units, so that a signature says what a number means.

Dimensions in shapes, everywhere: B utterances, N samples, T frames, C conv channels, D hidden size, L layers,
U labels, V vocabulary.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Seconds: TypeAlias = float
Hertz: TypeAlias = int
Samples: TypeAlias = npt.NDArray[np.float32]

SAMPLE_RATE: Hertz = 16_000
"""The usual sample rate of wav2vec2-like models."""
LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000
"""Sample rates in Hz outside of which a header or setting is taken to be wrong: no speech corpus lies beyond them."""
