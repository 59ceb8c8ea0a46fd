"""Choose the precision of a file by measuring on this machine: ``bigfoot export --tune``.

All candidates are timed in turn, one thread, in seconds of processor time, so that other work on the machine counts
little. Of those that are never slower than fp32, the fastest that passes the gate is written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import ExportError
from bigfoot.export.candidates import FP32
from bigfoot.export.exported import Exported
from bigfoot.export.gate import Build
from bigfoot.export.parity import Parity
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.speed import compute_spread, make_samples, name_processor, time_rounds, torch_threads
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import write_files
from bigfoot.text.json_files import parse_json
from bigfoot.types import Seconds
from bigfoot.version import __version__

SECONDS: tuple[Seconds, ...] = (1.0, 4.0, 12.0)
"""Lengths of audio on which candidates are timed."""
ROUNDS = 7
_MARK = "bigfoot_tuning"


@dataclass(frozen=True)
class Speedup:
    """By how much a candidate is faster than the fp32 file, at one length of audio.

    Args:
        seconds: of audio.
        median: of the rounds.
        low: lower quartile of the same.
        high: upper quartile of the same.
    """

    seconds: Seconds
    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x [{self.low:.2f}, {self.high:.2f}] at {self.seconds:g} s"


def time_candidates(
    loaded: LoadedModel, plans: Mapping[str, Int8Plan], build: Build, rounds: int = ROUNDS
) -> dict[str, list[Speedup]]:
    """Time candidates in turn.

    Args:
        loaded: with a CTC head.
        plans: by name, one of them fp32.
        build: of the target.
        rounds: counted rounds of each length.

    Returns:
        Speedups over fp32 by candidate, one a length.
    """
    found: dict[str, list[Speedup]] = {name: [] for name in plans}
    with torch_threads(1):
        runs = {name: build(loaded, plan).open() for name, plan in plans.items()}
        for seconds in SECONDS:
            samples = make_samples(seconds).numpy()
            given = (samples, np.array([samples.shape[1]]))
            passes = {name: partial(run, *given) for name, run in runs.items()}
            times = time_rounds(passes, rounds, clock=time.process_time)
            for name, own in times.items():
                # Clocks of processor time tick: a pass takes a tick at the least.
                ratios = [before / max(after, 1e-6) for before, after in zip(times[FP32], own, strict=True)]
                spread = compute_spread(ratios)
                found[name].append(Speedup(seconds, spread.median, spread.low, spread.high))
    return found


def order_candidates(speedups: Mapping[str, list[Speedup]]) -> list[str]:
    """Order candidates, the fastest first; those that are slower than fp32 at any length are left out.

    Args:
        speedups: see ``time_candidates``.

    Returns:
        Names; the last is fp32.

    Examples:
        >>> times = {"fp32": Speedup(1, 1, 1, 1), "a": Speedup(1, 2, 1.9, 2), "b": Speedup(1, 3, 0.9, 4)}
        >>> order_candidates({name: [each] for name, each in times.items()})
        ['a', 'fp32']
    """
    medians = {name: float(np.prod([each.median for each in own])) for name, own in speedups.items()}
    never_slower = [name for name, own in speedups.items() if name != FP32 and min(each.low for each in own) >= 1.0]
    return [*sorted(never_slower, key=lambda name: -medians[name]), FP32]


@dataclass(frozen=True)
class TuningFile:
    """What was measured for a file, kept beside it: the next export of the same shape on such a machine reads it.

    Args:
        path: of the file.
        key: of the machine, the runtime, the target and the shape.
    """

    path: Path
    key: str

    @classmethod
    def beside(cls, destination: Path, loaded: LoadedModel, to: str, runtime: str) -> TuningFile:
        """Name the file of an export.

        Args:
            destination: of the export.
            loaded: the model.
            to: the target.
            runtime: name and version of what ran the candidates.
        """
        config = loaded.model.config.to_json_string(use_diff=True)
        parts = (name_processor(), runtime, to, __version__, hashlib.sha256(config.encode()).hexdigest())
        return cls(destination.with_name(destination.name + ".tune.json"), " | ".join(parts))

    def read(self) -> dict[str, list[Speedup]] | None:
        """Return what was measured; None where it was not, or for another machine, runtime or shape."""
        try:
            found = parse_json(self.path.read_text("utf-8"))
            if not isinstance(found, dict) or found.get(_MARK) != self.key:
                return None
            return {name: [Speedup(**each) for each in own] for name, own in found["speedups"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # It is measured again.

    def write(self, speedups: Mapping[str, list[Speedup]], may: MayReplace = OWN_ONLY) -> None:
        """Write what was measured.

        Args:
            speedups: see ``time_candidates``.
            may: what may be replaced, besides such a file.
        """
        plain = {name: [asdict(each) for each in own] for name, own in speedups.items()}
        text = json.dumps({_MARK: self.key, "speedups": plain}, indent=1) + "\n"
        write_files({self.path: text.encode()}, may=may, is_own=_is_tuning, listed=False)


def _is_tuning(path: Path) -> bool:
    return f'"{_MARK}"'.encode() in path.read_bytes()[:64]


def export_fastest(
    speedups: Mapping[str, list[Speedup]],
    plans: Mapping[str, Int8Plan],
    export: Callable[[Int8Plan], tuple[Exported, Parity]],
    on_note: Callable[[str], None],
) -> tuple[Exported, Parity]:
    """Build the fastest file that passes the gate.

    Args:
        speedups: see ``time_candidates``.
        plans: of the candidates.
        export: builds a file and judges it.
        on_note: called with a line a candidate, and with what is written.

    Raises:
        ExportError: not even the fp32 file passes.
    """
    for name, own in speedups.items():
        if name != FP32:
            on_note(f"{name}: {', '.join(map(str, own))}")
    for name in order_candidates({name: own for name, own in speedups.items() if name in plans}):
        try:
            found = export(plans[name])
        except ExportError as error:
            if name == FP32:
                raise
            on_note(f"{name}: {error}")
            continue
        on_note(f"written as {name}")
        return found
    raise AssertionError("fp32 is among the candidates")
