"""Models that were exported, as a benchmark runs them: by ONNX Runtime, on as many threads as torch has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.models.configuration import BigfootConfig

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DEPLOYED_FILE = "model.onnx"
"""What a deployed folder holds."""
_QUIET = 3


def find_deployed(name: str | Path) -> Path | None:
    """The ``.onnx`` file that a name stands for: the file itself, or that of a deployed folder; None for another model.

    Example:
        >>> find_deployed("student.onnx"), find_deployed("tiny_teacher")
        (PosixPath('student.onnx'), None)
    """
    path = Path(name)
    if path.suffix == ".onnx":
        return path
    is_deployed = (path / DEPLOYED_FILE).is_file() and not (path / "config.json").exists()
    return path / DEPLOYED_FILE if is_deployed else None


class DeployedModel:
    """An exported file; called with samples, it gives logits.

    Args:
        path: of a file that ``bigfoot export`` wrote.

    Raises:
        ModelError: missing, damaged, or not written by ``bigfoot export``.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sessions: dict[int, InferenceSession] = {}
        facts = self._session(torch.get_num_threads()).get_modelmeta().custom_metadata_map
        if "config" not in facts:
            raise ModelError(f"{path}: no shape in its metadata; write it by bigfoot export")
        config = BigfootConfig.from_dict(json.loads(facts["config"]))
        assert isinstance(config, BigfootConfig)
        self.config = config

    def _session(self, threads: int) -> InferenceSession:
        # A session's threads are fixed when it is opened, and a benchmark goes through several counts.
        if threads not in self._sessions:
            try:
                import onnxruntime
            except ImportError as error:
                raise MissingExtraError("onnx", "onnxruntime") from error
            if not self.path.is_file():
                raise ModelError(f"{self.path}: no such file")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = _QUIET
            # Threads that wait by spinning would take the processor from the models timed next.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            try:
                session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
            # ONNX Runtime's errors have no common class of their own.
            except Exception as error:
                raise ModelError(f"{self.path}: ONNX Runtime cannot open it: {error}") from error
            self._sessions = {threads: session}
        return self._sessions[threads]

    def __call__(self, samples: Tensor) -> tuple[Tensor]:
        """Run on audio without padding.

        Args:
            samples: (B, N).

        Returns:
            Logits, (B, T, V).
        """
        lengths = np.full(samples.shape[0], samples.shape[1], np.int64)
        given = {"input_values": samples.numpy(), "lengths": lengths}
        (logits,) = self._session(torch.get_num_threads()).run(["logits"], given)
        return (torch.from_numpy(logits),)
