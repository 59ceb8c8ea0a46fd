"""Run a model of ``bigfoot export --to streaming`` on ONNX Runtime, chunk by chunk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigfoot.errors import ModelError
from bigfoot.runtime.engine import EngineOutput, ModelFacts
from bigfoot.runtime.frame_stream import Floats, FrameStream, run_rows
from bigfoot.runtime.lanes import count_processors
from bigfoot.runtime.metadata import read_streaming
from bigfoot.runtime.onnx_engine import find_onnx, first_line, open_session
from bigfoot.runtime.opened import OpenedByThreads
from bigfoot.types import Samples


class StreamEngine:
    """A file that ``bigfoot export --to streaming`` wrote; many streams and threads may use one at once.

    Args:
        path: the file, or a folder that holds just one.
        threads: of a pass; one is enough for most models, since a chunk is little work.

    Raises:
        ModelError: no such file, damaged, or not of that kind.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self._path = find_onnx(path)
        self.lanes = threads or count_processors()
        self._sessions = OpenedByThreads(partial(open_session, self._path))
        metadata = self._sessions.get(1).get_modelmeta().custom_metadata_map
        self.facts: ModelFacts
        self.facts, self.stream = read_streaming(metadata, str(self._path))

    def open_stream(self) -> FrameStream:
        """Start a recording."""
        return FrameStream(self.step, self.facts, self.stream)

    def step(self, samples: Samples, state: Floats, threads: int = 1) -> tuple[Floats, Floats]:
        """Run a chunk of one or more streams.

        Args:
            samples: (B, T * stride), T at most the frames of a chunk.
            state: (B, S), zeros at the start of a stream.
            threads: of the pass.

        Returns:
            Logits (B, T, V), and the next state.

        Raises:
            ModelError: the model fails at it, or gives what is no number.
        """
        try:
            logits, following = self._sessions.get(threads).run(
                ["logits", "next_state"], {"samples": samples, "state": state}
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one.
            raise ModelError(f"{self._path}: failed at a chunk of {samples.shape}: {first_line(error)}") from error
        if not np.isfinite(logits).all():
            raise ModelError(f"{self._path}: gives logits that are no numbers; its weights are damaged")
        return logits, following

    def run(self, input_values: Samples, lengths: npt.NDArray[np.int64], alone: bool = True) -> EngineOutput:
        """Compute whole recordings; see ``Engine``."""
        step = partial(self.step, threads=self.lanes if alone else 1)
        return EngineOutput(*run_rows(FrameStream(step, self.facts, self.stream), input_values, lengths))
