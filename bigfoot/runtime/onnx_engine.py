"""Run an exported model on ONNX Runtime, with an error message for each fault of its file."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.runtime.engine import EngineOutput, ModelFacts
from bigfoot.runtime.lanes import count_processors
from bigfoot.runtime.metadata import read_facts
from bigfoot.runtime.opened import OpenedByThreads
from bigfoot.storage.remote import fetch
from bigfoot.types import Samples

if TYPE_CHECKING:
    import onnxruntime

_INPUTS = {"input_values": ("tensor(float)", 2), "lengths": ("tensor(int64)", 1)}
_OUTPUTS = {"logits": ("tensor(float)", 3), "frames": ("tensor(int64)", 1)}


class OnnxEngine:
    """A file that ``bigfoot export`` wrote.

    Threads share a pass that runs alone. Of many passes each gets one thread: two that never wait for each other do
    more than two that share every product. Each way has its own session, opened when it is first wanted.

    Args:
        path: the file, or a folder that holds just one of them.
        threads: all of the machine's by default.

    Raises:
        ModelError: no such file, not ONNX, damaged, not of bigfoot's making, or beyond this ONNX Runtime.
        MissingExtraError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self._path = find_onnx(path)
        self.lanes = threads or count_processors()
        self._sessions = OpenedByThreads(partial(open_session, self._path))
        session = self._sessions.get(self.lanes)
        self.facts: ModelFacts = read_facts(session.get_modelmeta().custom_metadata_map, str(self._path))
        _check_signature(session, self.facts)

    def run(self, input_values: Samples, lengths: npt.NDArray[np.int64], alone: bool = True) -> EngineOutput:
        """Compute a batch; see ``Engine``."""
        session = self._sessions.get(self.lanes if alone else 1)
        given = {"input_values": input_values, "lengths": lengths}
        try:
            logits, frames = session.run(list(_OUTPUTS), given)
        except Exception as error:  # ONNX Runtime's exceptions share no base but this one.
            raise ModelError(
                f"{self._path}: failed at {len(lengths)} utterances of up to {input_values.shape[1]} samples: "
                f"{first_line(error)}"
            ) from error
        return EngineOutput(logits, frames)


def find_onnx(path: str | Path) -> Path:
    """Find the ONNX file that a name means.

    Args:
        path: a file, or a folder that holds just one ``.onnx``.

    Raises:
        ModelError: there is none, or more than one.
    """
    path = fetch(path)
    if path.is_dir():
        found = sorted(path.glob("*.onnx"))
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found)
            raise ModelError(f"{path}: holds several ONNX files ({names}); name one of them")
        raise ModelError(f"{path}: holds no ONNX file; write one with: bigfoot export {path} {path / 'model.onnx'}")
    if not path.is_file():
        raise ModelError(f"no ONNX file at {path}; bigfoot export MODEL FILE.onnx writes one")
    if path.stat().st_size == 0:
        raise ModelError(f"{path}: the file is empty (0 bytes)")
    return path


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Return options of a session on which every installed ONNX Runtime opens what ``bigfoot export`` writes.

    Args:
        threads: of one pass; 0 for all of the machine's.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 24):
        # Python 3.10's last fuses products of float64 into an operator that it has for float32 alone.
        options.add_session_config_entry("optimization.disable_specified_optimizers", "MatmulTransposeFusion")
    return options


def open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open a session on the CPU.

    Args:
        path: of the file.
        threads: of one pass; 0 for all of the machine's.

    Raises:
        ModelError: not ONNX, damaged, or beyond this ONNX Runtime.
        MissingExtraError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("runtime", "onnxruntime") from error
    options = session_options(threads)
    options.inter_op_num_threads = 1
    # Errors are raised and reported once; the library's own log would repeat them.
    options.log_severity_level = 4
    # Every batch has another shape, so that remembered patterns of memory would never fit.
    options.enable_mem_pattern = False
    # Threads that wait by turning round and round take the processor from whatever else runs on it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base but this one.
        raise ModelError(f"{path}: {_explain(str(error), onnxruntime.__version__)}") from error


def _explain(words: str, version: str) -> str:
    """Explain why a file does not open, in front of ONNX Runtime's own message."""
    if re.search(r"protobuf|parsing failed", words, re.IGNORECASE):
        meaning = "not an ONNX file, or cut off or damaged; export or copy it again"
    elif re.search(r"opset|not a registered function/op|IR version|No Op registered", words, re.IGNORECASE):
        meaning = f"needs operators that ONNX Runtime {version} does not have; install a later onnxruntime"
    elif re.search(r"external data|\.data\b|external_data|file_size|No such file", words, re.IGNORECASE):
        meaning = "its weights lie in another file, which is missing or cut off; keep both in one folder"
    else:
        meaning = f"ONNX Runtime {version} cannot open it"
    return f"{meaning} ({first_line(words)})"


def first_line(error: object) -> str:
    """Return the first line of an error of ONNX Runtime's."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return lines[0][:300]


def _check_signature(session: onnxruntime.InferenceSession, facts: ModelFacts) -> None:
    problems = []
    for kind, wanted, given in (
        ("input", _INPUTS, session.get_inputs()),
        ("output", _OUTPUTS, session.get_outputs()),
    ):
        found = {item.name: (item.type, len(item.shape)) for item in given}
        problems += [
            f"{kind} {name} should be {want[0]} of {want[1]} dimensions, and is {found.get(name, ('missing',))[0]}"
            + (f" of {found[name][1]}" if name in found else "")
            for name, want in wanted.items()
            if found.get(name) != want
        ]
    if not problems:
        tokens = next(item.shape[2] for item in session.get_outputs() if item.name == "logits")
        if isinstance(tokens, int) and tokens != len(facts.tokenizer):
            problems = [f"it gives {tokens} logits a frame for a vocabulary of {len(facts.tokenizer)} tokens"]
    if problems:
        raise ModelError(f"{facts.name}: not the graph that bigfoot exports: {'; '.join(problems)}")
