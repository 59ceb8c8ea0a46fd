"""Models that were exported, as a benchmark runs them: by their own runtime, on as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.program import read_program
from bigfoot.runtime.metadata import refuse_other_runtime
from bigfoot.runtime.onnx_engine import session_options
from bigfoot.runtime.openvino_engine import compile_ir, read_ir, read_rt_info
from bigfoot.text.json_files import parse_json

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

DEPLOYED_FILE = "model.onnx"
"""Name of the model file in a deployed folder."""
_QUIET = 3

Pass: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


class _Opened(NamedTuple):
    """Open a file in its runtime: its facts, and from samples (B, N) and lengths (B,) to logits."""

    facts: Mapping[str, str]
    run: Pass


def find_deployed(name: str | Path) -> Path | None:
    """Return the exported file of a name: the file itself, or that of a deployed folder; None for another model.

    Examples:
        >>> find_deployed("student.onnx"), find_deployed("tiny_teacher")
        (PosixPath('student.onnx'), None)
    """
    path = Path(name)
    if path.suffix in EXPORTED:
        return path
    is_deployed = (path / DEPLOYED_FILE).is_file() and not (path / "config.json").exists()
    return path / DEPLOYED_FILE if is_deployed else None


def measure_file_bytes(path: Path) -> int:
    """Bytes of an exported file, with those of the weights where they lie beside it; of a folder, its graph's."""
    if path.is_dir():
        return sum(graph.stat().st_size for graph in path.rglob(DEPLOYED_FILE))
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


class DeployedModel:
    """An exported file; called with samples, it gives logits.

    Args:
        path: of a file that ``bigfoot export`` wrote.

    Raises:
        ModelError: missing, damaged, or not written by ``bigfoot export``.
        MissingExtraError: the runtime is not installed.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ModelError(f"{path}: no such file")
        self.path = path
        self.runtime, self._open = EXPORTED[path.suffix]
        self._opened: dict[int, _Opened] = {}
        facts = self._at(torch.get_num_threads()).facts
        if "config" not in facts:
            raise ModelError(f"{path}: no shape in its metadata; write it by bigfoot export")
        self.config = _read_shape(facts["config"], path)

    def _at(self, threads: int) -> _Opened:
        # Threads are fixed when a file is opened, and a benchmark goes through several counts.
        if threads not in self._opened:
            self._opened = {threads: self._open(self.path, threads)}
        return self._opened[threads]

    def __call__(self, samples: Tensor) -> tuple[Tensor]:
        """Run on audio without padding.

        Args:
            samples: (B, N).

        Returns:
            Logits, (B, T, V).
        """
        lengths = np.full(samples.shape[0], samples.shape[1], np.int64)
        return (torch.from_numpy(self._at(torch.get_num_threads()).run(samples.numpy(), lengths)),)


def _read_shape(text: str, path: Path) -> BigfootConfig:
    try:
        found = parse_json(text)
        if not isinstance(found, dict):
            raise ModelError(f"a {type(found).__name__} in place of an object")
        config = BigfootConfig.from_dict(found)
    except (ValueError, ModelError) as error:
        raise ModelError(f"{path}: its metadata has no shape that can be used: {error}; export it again") from error
    assert isinstance(config, BigfootConfig)
    return config


def open_session(path: Path, threads: int, profile: str | None = None) -> InferenceSession:
    """Open an ONNX file to time it.

    Args:
        path: of the file.
        threads: of a pass.
        profile: prefix of the path of a profile that is written meanwhile; none without.

    Raises:
        ModelError: ONNX Runtime cannot open it.
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnx", "onnxruntime") from error
    options = session_options(threads)
    options.log_severity_level = _QUIET
    # Threads that wait by spinning would take the processor from the models timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime's errors have no common class of their own.
    except Exception as error:
        raise ModelError(f"{path}: ONNX Runtime cannot open it: {error}") from error


def _open_onnx(path: Path, threads: int) -> _Opened:
    session = open_session(path, threads)
    facts = session.get_modelmeta().custom_metadata_map
    refuse_other_runtime(facts, str(path))

    def run(samples: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return session.run(["logits"], {"input_values": samples, "lengths": lengths})[0]

    return _Opened(facts, run)


def _open_openvino(path: Path, threads: int) -> _Opened:
    model = read_ir(path)
    compiled = compile_ir(model, path, threads)

    def run(samples: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return compiled({"input_values": samples, "lengths": lengths})["logits"]

    return _Opened(read_rt_info(model), run)


def _open_program(path: Path, _: int) -> _Opened:
    # Its threads are torch's own.
    program, facts = read_program(path)

    @torch.no_grad()
    def run(samples: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return program(torch.from_numpy(samples), torch.from_numpy(lengths))[0].numpy()

    return _Opened(facts, run)


EXPORTED: dict[str, tuple[str, Callable[[Path, int], _Opened]]] = {
    ".onnx": ("onnxruntime", _open_onnx),
    ".xml": ("openvino", _open_openvino),
    ".pt2": ("torch-export", _open_program),
}
"""By a file's suffix, the name of its runtime and what opens it."""
