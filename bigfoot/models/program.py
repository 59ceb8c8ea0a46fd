"""A model as ``torch.export`` holds it: a program that runs without bigfoot's classes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.runtime.attached import FACTS_FILE
from bigfoot.text.json_files import parse_json

_VARIANCE_FLOOR = 1e-7

Program: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From samples (B, N) and lengths (B,) to logits (B, T, V) and real frames (B,)."""


class ExportableModel(nn.Module):
    """A model with the inputs and outputs of an exported file.

    Args:
        model: with a head.
        normalize: bring utterances to zero mean and unit variance before.
    """

    def __init__(self, model: BigfootForCTC, normalize: bool) -> None:
        super().__init__()
        self.model, self.normalize = model, normalize

    def forward(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logits.

        Args:
            input_values: (B, N), N at least the receptive field.
            lengths: (B,), real samples.

        Returns:
            Logits (B, T, V) with a frame of padding at the end, and (B,) real frames.
        """
        # One frame more, which is padding: torch.export takes a size of 1 for a constant.
        input_values = nn.functional.pad(input_values, (0, self.model.config.inputs_to_logits_ratio))
        mask = torch.arange(input_values.shape[1], device=lengths.device) < lengths[:, None]
        if self.normalize:
            input_values = _normalized(input_values, mask)
        output = self.model(input_values, mask)
        return output.logits, output.frame_mask.sum(-1)


def _normalized(x: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    centred = (x - (x * mask).sum(-1, keepdim=True) / count) * mask
    return centred / (centred.square().sum(-1, keepdim=True) / count + _VARIANCE_FLOOR).sqrt()


@torch.no_grad()
def write_program(model: BigfootForCTC, facts: Mapping[str, str], *, normalize: bool = False) -> bytes:
    """Record a model with batch and time open.

    Args:
        model: in fp32 and eval mode, with a head.
        facts: put beside the program.
        normalize: see ``ExportableModel``.

    Returns:
        What a ``.pt2`` file holds.

    Raises:
        ModelError: ``torch.export`` cannot follow this shape.
    """
    refuse_unrecorded(model.config)
    fewest = model.config.receptive_field
    # Neither size is 1 or the smallest, so that neither is taken for a constant.
    example = torch.zeros(2, 40 * fewest), torch.tensor([40 * fewest, 20 * fewest])
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=fewest)
    try:
        program = torch.export.export(
            ExportableModel(model, normalize).eval(), example, dynamic_shapes=({0: batch, 1: samples}, {0: batch})
        )
    except Exception as error:  # What it raises has no base of its own.
        raise ModelError(f"torch.export cannot follow this shape ({_first_line(error)}); --to onnx can") from error
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={FACTS_FILE: json.dumps(facts)})
    return content.getvalue()


def refuse_unrecorded(config: BigfootConfig) -> None:
    """Refuse shapes of which ``torch.export`` takes the number of frames for a constant.

    Args:
        config: of a model.

    Raises:
        ModelError: it is one.
    """
    if beyond := _beyond_torch_export(config):
        raise ModelError(f"torch.export cannot follow {beyond} with time left open; --to onnx and --to openvino can")


def _beyond_torch_export(config: BigfootConfig) -> str | None:
    """Return what makes its tracer take the number of frames for a constant."""
    if config.streaming is not None:
        return "chunks of a model that streams"
    if config.has_position_bias:
        return "WavLM's relative position bias"
    if config.is_conformer:
        return "conformer layers"
    if config.add_adapter:
        return "convolutions behind the encoder"
    return "a time reduction" if config.time_reduction > 1 or config.squeeze_factor > 1 else None


def read_program(file: Path | bytes) -> tuple[Program, dict[str, str]]:
    """Read what ``write_program`` wrote. Like ``torch.export.load``, for files from people that you trust.

    Args:
        file: its path, or what it holds.

    Returns:
        The program, and its facts.

    Raises:
        ModelError: not such a file, damaged, or not of bigfoot's making.
    """
    name = "the program" if isinstance(file, bytes) else str(file)
    found = {FACTS_FILE: ""}
    try:
        program: ExportedProgram = torch.export.load(
            io.BytesIO(file) if isinstance(file, bytes) else file, extra_files=found
        )
    except Exception as error:  # See above.
        raise ModelError(
            f"{name}: not a file of torch.export, cut off, or of a later PyTorch ({_first_line(error)})"
        ) from error
    if not found[FACTS_FILE]:
        raise ModelError(f"{name}: a program without bigfoot's metadata; write it by bigfoot export --to torch-export")
    return program.module(), _read_facts(found[FACTS_FILE], name)


def _read_facts(text: str, name: str) -> dict[str, str]:
    try:
        facts = parse_json(text)
    except ValueError as error:
        raise ModelError(f"{name}: its metadata cannot be read: {error}; export the model again") from error
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ModelError(f"{name}: its metadata is no object of strings; export the model again")
    return facts


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
