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
"""The one rate at which wav2vec2-like models listen."""
