"""Exported models that take audio up to a longest: ``.tflite`` by LiteRT, ``.pte`` by ExecuTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bigfoot.errors import ModelError
from bigfoot.install import package_hint
from bigfoot.runtime.attached import read_attached
from bigfoot.runtime.engine import EngineOutput, ModelFacts
from bigfoot.runtime.lanes import count_processors
from bigfoot.runtime.metadata import read_facts
from bigfoot.runtime.opened import OpenedByThreads
from bigfoot.types import Samples

Floats: TypeAlias = npt.NDArray[np.float32]
Pass: TypeAlias = Callable[[Floats], tuple[Floats, int]]
"""From an utterance (N,) to logits (T, V) and real frames."""


class WindowEngine:
    """A file that ``bigfoot export --to litert`` or ``--to executorch`` wrote; one utterance at a time.

    Args:
        path: of the ``.tflite`` or ``.pte`` file.
        threads: all of the machine's by default; ExecuTorch chooses its own.

    Raises:
        ModelError: no such file, damaged, not of bigfoot's making, or its runtime is not installed.
    """

    lanes = 1

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self._path, self._threads = Path(path), threads or count_processors()
        self.facts: ModelFacts = read_facts(read_attached(self._path), str(self._path))
        if self.facts.longest is None:
            raise ModelError(f"{self._path}: its metadata cannot be used: window is missing; export the model again")
        self._longest, self._lock = self.facts.longest, Lock()
        self._opened = OpenedByThreads(self._open)
        self._opened.get(self._threads)

    def _open(self, threads: int) -> Pass:
        return OPEN[self._path.suffix](self._path, self._longest, threads)

    def run(self, input_values: Samples, lengths: npt.NDArray[np.int64], alone: bool = True) -> EngineOutput:
        """Compute a batch; see ``Engine``."""
        if (longest := int(lengths.max())) > self._longest:
            raise ModelError(f"{self._path}: takes {self._longest} samples at most, and was given {longest}")
        with self._lock:
            found = [self._run(row[:length]) for row, length in zip(input_values, lengths, strict=True)]
        most = max(frames for _, frames in found)
        rows = [np.pad(logits[:frames], ((0, most - frames), (0, 0))) for logits, frames in found]
        return EngineOutput(np.stack(rows), np.array([frames for _, frames in found]))

    def _run(self, samples: Samples) -> tuple[Floats, int]:
        try:
            return self._opened.get(self._threads)(np.asarray(samples, np.float32))
        except Exception as error:  # Neither runtime's errors have a base of their own.
            raise ModelError(f"{self._path}: failed at {len(samples)} samples: {_first_line(error)}") from error


def open_litert(path: Path, window: int, threads: int) -> Pass:
    """Open a file by LiteRT.

    Args:
        path: of the file.
        window: samples that it takes; shorter audio is padded.
        threads: of a pass.

    Raises:
        ModelError: damaged, or LiteRT is not installed.
    """
    interpreter = _import("ai_edge_litert.interpreter", "ai-edge-litert")
    try:
        run = interpreter.Interpreter(str(path), num_threads=threads).get_signature_runner()
        kind = run.get_input_details()["args_1"]["dtype"]
    except Exception as error:
        raise ModelError(f"{path}: LiteRT cannot open it: {_first_line(error)}") from error

    def compute(samples: Floats) -> tuple[Floats, int]:
        padded = np.pad(samples, (0, window - len(samples)))[None]
        found = run(args_0=padded, args_1=np.array([len(samples)], kind))
        return found["output_0"][0], int(found["output_1"][0])

    return compute


def open_executorch(path: Path, _: int, __: int) -> Pass:
    """Open a file by ExecuTorch, whose threads are its own.

    Args:
        path: of the file.

    Raises:
        ModelError: damaged, or ExecuTorch is not installed.
    """
    runtime = _import("executorch.runtime", "executorch")
    torch = _import("torch", "torch")
    try:
        method = runtime.Runtime.get().load_program(path).load_method("forward")
    except Exception as error:
        raise ModelError(f"{path}: ExecuTorch cannot open it: {_first_line(error)}") from error

    def compute(samples: Floats) -> tuple[Floats, int]:
        logits, frames = method.execute([torch.from_numpy(samples[None]), torch.tensor([len(samples)])])
        # What it gives lies in memory that the next pass writes to.
        return logits[0].numpy().copy(), int(frames[0])

    return compute


def _import(module: str, package: str) -> Any:  # noqa: ANN401 - a module
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ModelError(f"this needs the package {package}: {package_hint(package)} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


OPEN: dict[str, Callable[[Path, int, int], Pass]] = {".tflite": open_litert, ".pte": open_executorch}
"""By a file's suffix, what opens it."""
