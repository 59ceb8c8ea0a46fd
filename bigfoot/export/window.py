"""Export to files of on-device runtimes that take one utterance up to a longest: LiteRT and ExecuTorch."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ModelError
from bigfoot.export.exported import GivesLogits, Run, save_files
from bigfoot.export.facts import describe
from bigfoot.export.layers import LayerError
from bigfoot.formats.folder import LoadedModel
from bigfoot.install import package_hint
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.program import ExportableModel, refuse_unrecorded
from bigfoot.runtime.attached import attach_facts
from bigfoot.runtime.window_engine import WindowEngine
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.types import Seconds

WINDOW: Seconds = 15.0
"""Longest audio of a pass by default: what ``bigfoot align`` computes at once."""
SHORTEST_WINDOW: Seconds = 10.0
"""Windows overlap by 4 s, and a shorter one would compute most of its audio twice."""
Convert = Callable[[ExportableModel, int, int], bytes]
"""From a model, the receptive field and the window in samples to a file."""


@dataclass(frozen=True)
class WindowExport(GivesLogits):
    """A file for one utterance a pass; see ``Exported``.

    Args:
        content: of the file, with its facts.
        facts: stored in the file.
        suffix: of the file.
        plan: empty, for all is fp32.
    """

    content: bytes
    facts: dict[str, str]
    suffix: str
    plan: Int8Plan = field(default_factory=Int8Plan)

    def open(self) -> Run:
        """See ``Exported``."""
        with tempfile.TemporaryDirectory(prefix="bigfoot-") as folder:
            path = Path(folder) / f"model{self.suffix}"
            path.write_bytes(self.content)
            # Read whole before the folder goes.
            engine = WindowEngine(path, torch.get_num_threads())

        def run(input_values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = engine.run(input_values, lengths)
            return found.logits, found.frames

        return run

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """Nothing: the file has operators where there were layers."""
        return []

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """See ``Exported``."""
        save_files({path: self.content}, may)


def build_window(
    loaded: LoadedModel, convert: Convert, suffix: str, *, normalize: bool = False, window: Seconds = WINDOW
) -> WindowExport:
    """Write a model for audio up to a longest.

    Args:
        loaded: with a CTC head.
        convert: to the runtime's file.
        suffix: of the file.
        normalize: bring utterances to zero mean and unit variance in the file, where the model asks for it.
        window: longest audio of a pass.

    Raises:
        ModelError: a shape that ``torch.export`` cannot follow, or a package is missing.
    """
    inside, config = normalize and loaded.processor.do_normalize, loaded.model.config
    refuse_unrecorded(config)
    samples = round(window * loaded.processor.sample_rate)
    facts = describe(config, loaded.processor, normalize=inside, batch_invariant=False) | {"window": str(samples)}
    model = ExportableModel(loaded.model.float().eval(), inside).eval()
    with _quiet(), torch.no_grad():
        content = convert(model, config.receptive_field, samples)
    return WindowExport(attach_facts(content, facts), facts, suffix)


def cut_to_window(
    utterances: Sequence[LoadedUtterance], window: Seconds, sample_rate: int
) -> Sequence[LoadedUtterance]:
    """Cut utterances to what a pass takes; without transcripts where any is cut.

    Args:
        utterances: to compare on.
        window: longest audio of a pass.
        sample_rate: of the model.
    """
    most = round(window * sample_rate)
    if all(len(item.samples) <= most for item in utterances):
        return utterances
    return [replace(item, samples=item.samples[:most], text="") for item in utterances]


def import_converter(module: str, *packages: str) -> Any:  # noqa: ANN401 - a module
    """Import what converts, and name what is to be installed without it.

    Args:
        module: to import.
        packages: that have it.

    Raises:
        ModelError: it is not installed.
    """
    from importlib import import_module

    try:
        with _quiet():
            return import_module(module)
    except ImportError as error:
        hints = "; ".join(package_hint(package) for package in packages)
        raise ModelError(f"this needs the package {packages[0]}: {hints} ({error})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what converters print out of a command's output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
