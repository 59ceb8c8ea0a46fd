"""An ONNX graph of any origin, run one utterance at a time: from samples or log-mel bands to posteriors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bigfoot.errors import ModelError
from bigfoot.runtime.graph_signature import GraphSignature, read_signature
from bigfoot.runtime.onnx_engine import open_session
from bigfoot.runtime.opened import OpenedByThreads

_NUMPY: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
}  # fmt: skip


class AudioGraph:
    """A graph that turns one utterance into posteriors.

    Args:
        path: of the file.
        bands: see ``read_signature``.

    Raises:
        ModelError: it cannot be opened, or see ``read_signature``.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, bands: int = 0) -> None:
        self.path = path
        self._sessions = OpenedByThreads(partial(open_session, path))
        session = self._sessions.get(1)
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self.signature: GraphSignature = read_signature(session, str(path), bands)

    def run(self, audio: npt.NDArray[np.float32], threads: int = 1) -> npt.NDArray[np.float32]:
        """Compute what the graph gives for an utterance, without any padding.

        Args:
            audio: (N,) samples, or (M, T') bands where the signature has them.
            threads: of the pass.

        Returns:
            (T, V) of the real frames, as the graph gives them.

        Raises:
            ModelError: the graph fails at it.
        """
        wanted = self.signature
        samples = audio.astype(_NUMPY[wanted.kind])[None]
        given = {wanted.audio: samples[:, None] if wanted.rank == 3 and not wanted.bands else samples}
        if wanted.lengths is not None:
            name, kind = wanted.lengths
            # A share of the array's length where it is no whole number.
            given[name] = np.array([1 if kind == "tensor(float)" else audio.shape[-1]], _NUMPY[kind])
        if wanted.mask is not None:
            name, kind = wanted.mask
            given[name] = np.ones((1, audio.shape[-1]), _NUMPY.get(kind, np.int64))
        names = [wanted.posteriors] + ([] if wanted.frames is None else [wanted.frames])
        try:
            found = self._sessions.get(threads).run(names, given)
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one.
            reason = (str(error).strip().splitlines() or ["no reason given"])[0][:300]
            raise ModelError(f"{self.path}: failed at an utterance of {audio.shape[-1]}: {reason}") from error
        length = int(found[1][0]) if len(found) > 1 else found[0].shape[1]
        return np.asarray(found[0][0, :length], dtype=np.float32)
