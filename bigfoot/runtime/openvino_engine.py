"""An exported model on OpenVINO: an ``.xml`` file with its weights in the ``.bin`` beside it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.runtime.engine import EngineOutput, ModelFacts
from bigfoot.runtime.lanes import count_processors
from bigfoot.runtime.metadata import read_facts
from bigfoot.runtime.opened import OpenedByThreads
from bigfoot.types import Samples

if TYPE_CHECKING:
    import openvino

_SHORTEST_STEP = 3200
_CACHE_ENTRIES = 500
"""Prepared operators that OpenVINO keeps; its default of 5,000 fills gigabytes."""
FACTS_KEY = "bigfoot"
"""Key in the file's runtime information under which ``bigfoot export`` stores facts about the model."""
REST_KEY = "rest"
"""Of these facts, the type in which all but int8 layers compute; fp32 where it is missing."""
_HINTS = {"bfloat16": "bf16"}


class _Compiled(NamedTuple):
    """A compiled model, and its requests that compute nothing now; a deque, since threads share it."""

    model: openvino.CompiledModel
    idle: deque[openvino.InferRequest]


class OpenVinoEngine:
    """A file that ``bigfoot export --to openvino`` wrote; see ``OnnxEngine``, whose threads it shares out alike.

    Args:
        path: of the ``.xml`` file.
        threads: all of the machine's by default.

    Raises:
        ModelError: no such file, damaged, not of bigfoot's making, or beyond this OpenVINO.
        MissingExtraError: OpenVINO is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self._path = Path(path)
        self.lanes = threads or count_processors()
        self._model = read_ir(self._path)
        self.facts: ModelFacts = read_facts(read_rt_info(self._model), str(self._path))
        _check_signature(self._model, self.facts)
        self._compiled = OpenedByThreads(self._compile)

    def run(self, input_values: Samples, lengths: npt.NDArray[np.int64], alone: bool = True) -> EngineOutput:
        """Compute a batch; see ``Engine``."""
        padding = round_samples(input_values.shape[1]) - input_values.shape[1]
        input_values = np.pad(input_values, ((0, 0), (0, padding)))
        with self._request(1 if alone else self.lanes) as request:
            try:
                found = request.infer({"input_values": input_values, "lengths": lengths}, share_inputs=True)
            except RuntimeError as error:
                raise ModelError(
                    f"{self._path}: failed at {len(lengths)} utterances of up to {input_values.shape[1]} samples: "
                    f"{_last_line(error)}"
                ) from error
            frames = found["frames"]
            return EngineOutput(found["logits"][:, : int(frames.max())], frames)

    def _compile(self, streams: int) -> _Compiled:
        return _Compiled(compile_ir(self._model, self._path, self.lanes, streams), deque())

    @contextmanager
    def _request(self, streams: int) -> Iterator[openvino.InferRequest]:
        compiled = self._compiled.get(streams)
        try:
            request = compiled.idle.pop()
        except IndexError:
            request = compiled.model.create_infer_request()
        try:
            yield request
        finally:
            compiled.idle.append(request)


def round_samples(num_samples: int) -> int:
    """Round the length of a batch up, so that few lengths occur: OpenVINO keeps prepared operators for each shape.

    Args:
        num_samples: of the longest utterance.

    Returns:
        The next of 16 lengths an octave, 3,200 samples apart or more.

    Examples:
        >>> round_samples(8000), round_samples(100_000)
        (9600, 102400)
    """
    units = -(-num_samples // _SHORTEST_STEP)
    # Of the octave that ends at a power of two and not after it: what was rounded stays as it is.
    step = 1 << max(0, (units - 1).bit_length() - 5)
    return -(-units // step) * step * _SHORTEST_STEP


def read_ir(path: Path) -> openvino.Model:
    """Read a model without compiling it.

    Args:
        path: of the ``.xml`` file.

    Raises:
        ModelError: missing or damaged.
        MissingExtraError: OpenVINO is not installed.
    """
    weights = path.with_suffix(".bin")
    core = open_core()
    for file in (path, weights):
        if not file.is_file():
            raise ModelError(f"no file at {file}; bigfoot export MODEL {path} --to openvino writes it")
    try:
        return core.read_model(path, weights)
    except RuntimeError as error:
        raise ModelError(
            f"{path}: not a file of OpenVINO, or it or {weights.name} is cut off or damaged; export or copy it again "
            f"({_last_line(error)})"
        ) from error


def read_rt_info(model: openvino.Model) -> dict[str, str]:
    """Return the facts stored in a file; empty where another program wrote it."""
    if not model.has_rt_info([FACTS_KEY]):
        return {}
    return {key: value.astype(str) for key, value in model.get_rt_info([FACTS_KEY]).astype(dict).items()}


def compile_ir(model: openvino.Model, path: Path, threads: int, streams: int = 1) -> openvino.CompiledModel:
    """Compile a model for the processor, in the precision of its facts, fp32 without, whatever the processor prefers.

    Args:
        model: of ``read_ir``.
        path: for messages.
        threads: of all streams together.
        streams: passes at once.

    Raises:
        ModelError: an operator that this OpenVINO does not have.
    """
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": _HINTS.get(read_rt_info(model).get(REST_KEY, ""), "f32"),
        "CPU_RUNTIME_CACHE_CAPACITY": _CACHE_ENTRIES,
    }
    try:
        return open_core().compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise ModelError(f"{path}: OpenVINO cannot compile it: {_last_line(error)}") from error


_cores: dict[int, Any] = {}


def open_core() -> openvino.Core:
    """Return OpenVINO's core of this process.

    The processor's plugin, which comes and goes with a core, takes the place of the thread's alternate signal stack,
    and puts the one before it back in the end. Where two cores end in the order in which they began, that is the first
    one's, unmapped by then: the next signal with a handler, such as Ctrl-C or the end of a child, kills the process.
    This core never ends; a forked child, which lacks the threads of its parent's, has one of its own.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    module, process = require_openvino(), os.getpid()
    if process not in _cores:
        _cores[process] = module.Core()
    return _cores[process]


def require_openvino() -> Any:  # noqa: ANN401 - a module
    """Import the package.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", "openvino") from error
    return openvino


def _check_signature(model: openvino.Model, facts: ModelFacts) -> None:
    inputs, outputs = ({name for port in ports for name in port.get_names()} for ports in (model.inputs, model.outputs))
    missing = sorted({"input_values", "lengths"} - inputs) + sorted({"logits", "frames"} - outputs)
    if missing:
        raise ModelError(f"{facts.name}: not the graph that bigfoot exports: it lacks {', '.join(missing)}")
    tokens = model.output("logits").get_partial_shape()[2]
    if tokens.is_static and tokens.get_length() != len(facts.tokenizer):
        raise ModelError(
            f"{facts.name}: it gives {tokens.get_length()} logits a frame for a vocabulary of "
            f"{len(facts.tokenizer)} tokens"
        )


def _last_line(error: Exception) -> str:
    # OpenVINO's message starts with a line of its own source.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or ["no reason given"])[-1][:300]
