"""Time of an ONNX file by part: ONNX Runtime's own profile, by part of the model and kind of operator.

``bigfoot export`` prefixes the name of every node with its part, such as ``conv/MatMul_12``. What ONNX Runtime makes of
several nodes keeps one of their names; what it puts between them counts with what came before.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from bigfoot.measure.deployed import open_session
from bigfoot.measure.size import PARTS
from bigfoot.types import Seconds

ByOperator: TypeAlias = dict[str, dict[str, Seconds]]
"""Seconds by part and kind of operator."""
WATCHED = "onnxruntime"
"""The runtime whose files can be profiled."""
_KERNEL = "_kernel_time"
_MICRO = 1e-6


class GraphWatch:
    """Passes of an ONNX file with ONNX Runtime's clock at every node.

    Args:
        path: of the file.
        samples: (B, N), without padding.
        threads: of a pass.
    """

    def __init__(self, path: Path, samples: Tensor, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="bigfoot-")
        self._session = open_session(path, threads, str(Path(self._folder.name) / "profile"))
        lengths = np.full(samples.shape[0], samples.shape[1], np.int64)
        self._passes: list[ByOperator] = []
        self._given = {"input_values": samples.numpy(), "lengths": lengths}

    def run(self) -> None:
        """One pass."""
        self._session.run(["logits"], self._given)

    def read(self) -> list[dict[str, Seconds]]:
        """End it, and give what each part took in each pass; nothing where no node is named by its part."""
        with self._folder:
            events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        self._passes = divide_profile(events)
        return [{part: sum(times.get(part, {}).values()) for part in PARTS} for times in self._passes]

    def by_operator(self) -> ByOperator:
        """Return the medians over the passes that were read, but for the first."""
        return take_medians(self._passes[1:])


def divide_profile(events: Sequence[Mapping[str, Any]]) -> list[ByOperator]:
    """Divide the nodes of a profile among passes, parts and kinds of operators.

    Args:
        events: of ONNX Runtime's profile, times in microseconds.

    Returns:
        Seconds of each pass; no pass where no node is named by its part.

    Examples:
        >>> node = {"cat": "Node", "name": "conv/Gelu_3_kernel_time", "ts": 5, "dur": 2e6, "args": {"op_name": "Gelu"}}
        >>> divide_profile([node, {"cat": "Session", "name": "model_run", "ts": 1, "dur": 9}])
        [{'conv': {'Gelu': 2.0}}]
    """
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith(_KERNEL)]
    if not any(_named_part(event) for event in nodes):
        return []
    passes: list[ByOperator] = [{} for _ in runs]
    part, index = PARTS[0], 0
    for event in sorted(nodes, key=lambda event: event["ts"]):
        while index + 1 < len(runs) and event["ts"] >= runs[index + 1]:
            index += 1
        part = _named_part(event) or part
        times, kind = passes[index].setdefault(part, {}), event["args"]["op_name"]
        times[kind] = times.get(kind, 0.0) + _MICRO * event["dur"]
    return passes


def _named_part(event: Mapping[str, Any]) -> str | None:
    part = str(event["name"]).split("/")[0]
    return part if part in PARTS else None


def take_medians(passes: Sequence[ByOperator]) -> ByOperator:
    """Return the median over passes of every part and kind of operator, those that take longest first.

    Examples:
        >>> take_medians([{"head": {"Add": 1.0, "MatMul": 3.0}}, {"head": {"Add": 2.0, "MatMul": 5.0}}])
        {'head': {'MatMul': 4.0, 'Add': 1.5}}
    """
    found: ByOperator = {}
    for part in PARTS:
        kinds = {kind for times in passes for kind in times.get(part, {})}
        medians = {kind: statistics.median(times.get(part, {}).get(kind, 0.0) for times in passes) for kind in kinds}
        if medians:
            found[part] = dict(sorted(medians.items(), key=lambda item: -item[1]))
    return found
