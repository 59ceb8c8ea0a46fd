"""Export to one ``.pt2`` file that PyTorch runs without bigfoot."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bigfoot.compress.quantize import Int8Plan
from bigfoot.export.exported import GivesLogits, Run, save_files
from bigfoot.export.facts import check_exportable, describe
from bigfoot.export.layers import LayerError
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.program import read_program, write_program
from bigfoot.storage.ownership import OWN_ONLY, MayReplace


@dataclass(frozen=True)
class TorchExport(GivesLogits):
    """A program; see ``Exported``.

    Args:
        content: of the file.
        facts: stored in the file.
        plan: empty, for all is fp32.
    """

    content: bytes
    facts: dict[str, str]
    plan: Int8Plan = field(default_factory=Int8Plan)

    def open(self) -> Run:
        """See ``Exported``."""
        program, _ = read_program(self.content)

        @torch.no_grad()
        def run(input_values: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            logits, frames = program(torch.from_numpy(input_values), torch.from_numpy(lengths))
            return logits.numpy(), frames.numpy()

        return run

    def rank_layers(self, model: BigfootForCTC, input_values: Tensor, *, effects: bool = False) -> list[LayerError]:
        """Nothing: the program has operators where there were layers."""
        return []

    def save(self, path: Path, may: MayReplace = OWN_ONLY) -> None:
        """See ``Exported``."""
        save_files({path: self.content}, may)


def build_torch_export(loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False) -> TorchExport:
    """Record a model as a program of ``torch.export``; batch and time stay open.

    Args:
        loaded: with a CTC head.
        plan: None, for int8 has no form there.
        normalize: bring utterances to zero mean and unit variance in the program, where the model asks for it.

    Raises:
        ModelError: no CTC head, or a shape that ``torch.export`` cannot follow.
    """
    assert not (plan and plan.ranges), "refused before anything is loaded"
    check_exportable(loaded)
    inside = normalize and loaded.processor.do_normalize
    facts = describe(loaded.model.config, loaded.processor, normalize=inside)
    return TorchExport(write_program(loaded.model.float().eval(), facts, normalize=inside), facts)
