"""A model whose answers are known: a tape on which the token of every frame is written as a loudness."""

import json

import numpy as np

from bigfoot.runtime.engine import EngineOutput, ModelFacts
from bigfoot.text.tokenizers import CharTokenizer

STRIDE, FIELD = 320, 400
VOCABULARY = ("<pad>", "|", *"ABCDEFGH")
METADATA = {
    "bigfoot_format": "1", "vocab": json.dumps(VOCABULARY), "blank_id": "0", "word_delimiter": "|",
    "sample_rate": "16000", "do_normalize": "false", "stride": str(STRIDE), "receptive_field": str(FIELD),
    "family": "wav2vec2", "model_type": "wav2vec2", "batch_invariant": "true", "precision": "fp32",
    "bigfoot_version": "0.1.0",
}  # fmt: skip


def write_tape(ids):
    """Samples whose frames are these tokens."""
    return np.append(np.repeat(np.asarray(ids, np.float32), STRIDE), np.zeros(FIELD - STRIDE, np.float32)) / 100


class TapeEngine:
    """Read tapes; the tokens of the first and last ``deaf`` frames of an utterance are wrong."""

    def __init__(self, deaf=0, jitter=0, seed=0, lanes=1, **facts):
        self.lanes = lanes
        self.facts = ModelFacts(
            name="tape", tokenizer=CharTokenizer(VOCABULARY), stride=STRIDE, receptive_field=FIELD,
            **({"normalizes": False} | facts),
        )  # fmt: skip
        self.deaf, self.jitter, self.rng = deaf, jitter, np.random.default_rng(seed)
        self.batches = []

    def run(self, input_values, lengths, alone=True):
        self.batches.append([int(length) for length in lengths])
        frames = (lengths - FIELD) // STRIDE + 1
        count = (input_values.shape[1] - FIELD) // STRIDE + 1
        ids = np.rint(input_values[:, 5::STRIDE][:, :count] * 100).astype(int).clip(0, len(VOCABULARY) - 1)
        for row, real in enumerate(frames):
            if self.jitter:
                ids[row, :real] = self.shift(ids[row, :real])
            for deaf in (ids[row, : self.deaf], ids[row, real - self.deaf : real] if self.deaf else ids[row, :0]):
                deaf[:] = self.rng.integers(0, len(VOCABULARY), deaf.shape)
        return EngineOutput(np.eye(len(VOCABULARY), dtype=np.float32)[ids], frames)

    def shift(self, ids):
        """Every token that is no blank comes a little sooner or later, as another context may have it."""
        moved = np.zeros_like(ids)
        for frame in np.flatnonzero(ids):
            shift = self.rng.integers(-self.jitter, self.jitter + 1)
            moved[np.clip(frame + shift, 0, len(ids) - 1)] = ids[frame]
        return moved
