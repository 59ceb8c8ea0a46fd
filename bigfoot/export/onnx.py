"""To one ``.onnx`` file that says itself what goes in and what comes out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import bigfoot
from bigfoot.compress.quantize import Int8Plan
from bigfoot.errors import MissingExtraError, ModelError
from bigfoot.export.graph import ModelWriter
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.folder import LoadedModel
from bigfoot.text.tokenizers import Processor

if TYPE_CHECKING:
    from onnx import ModelProto

FORMAT = "1"
"""Version of the agreement between this file and ``bigfoot.runtime``: names of tensors and of metadata."""


def require_onnx() -> None:
    """Say in words which extra is missing.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    for package in ("onnx", "onnxruntime"):
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError("onnx", package) from error


def describe(
    config: BigfootConfig, processor: Processor, *, normalize: bool = False, precision: str = "fp32",
    batch_invariant: bool = True,
) -> dict[str, str]:  # fmt: skip
    """What the file tells of itself, for a runtime that has nothing else.

    Args:
        config: the shape.
        processor: vocabulary and normalization.
        normalize: whether the graph normalizes.
        precision: ``fp32``, ``int8_dynamic`` or ``int8_static``.
        batch_invariant: whether utterances may share a batch.

    Example:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> facts = describe(BigfootConfig(), Processor(CharTokenizer(("<pad>", "|", "A"))))
        >>> facts["vocab"], facts["stride"], facts["receptive_field"]
        ('["<pad>", "|", "A"]', '320', '400')
    """
    tokenizer = processor.tokenizer
    delimiter = "" if tokenizer is None else tokenizer.word_delimiter
    return {
        "bigfoot_format": FORMAT,
        "vocab": json.dumps([] if tokenizer is None else list(tokenizer.vocabulary), ensure_ascii=False),
        "blank_id": str((config.pad_token_id or 0) if tokenizer is None else tokenizer.blank_id),
        "word_delimiter": delimiter if tokenizer is not None and delimiter in tokenizer.vocabulary else "",
        "sample_rate": str(processor.sample_rate),
        "do_normalize": "inside" if normalize else str(processor.do_normalize).lower(),
        "stride": str(config.inputs_to_logits_ratio),
        "receptive_field": str(config.receptive_field),
        "family": config.family,
        "model_type": config.model_type,
        "batch_invariant": "true" if batch_invariant else "per_utterance",
        "precision": precision,
        "bigfoot_version": bigfoot.__version__,
        # The whole shape, for what counts and compares; a runtime needs none of it.
        "config": config.to_json_string(use_diff=True),
    }


def check_exportable(loaded: LoadedModel) -> None:
    """A file without an answer is of no use.

    Raises:
        ModelError: the model has no CTC head.
    """
    if loaded.model.head is None:
        raise ModelError(f"{loaded.folder}: it has no CTC head, so that no text could come out; fine-tune it first")


@dataclass(frozen=True)
class Exported:
    """A graph with what is needed to judge it.

    Args:
        graph: ONNX, with its metadata.
        plan: layers in int8; none in fp32.
        layers: tensors that go into each layer and come out of it.
    """

    graph: ModelProto
    plan: Int8Plan
    layers: dict[str, tuple[list[str], list[str]]]


@torch.no_grad()
def build_onnx(loaded: LoadedModel, plan: Int8Plan | None = None, *, normalize: bool = False) -> Exported:
    """Write a model as an ONNX graph; batch and time stay open.

    Args:
        loaded: with a CTC head.
        plan: layers that compute in int8; all in fp32 without one.
        normalize: bring utterances to zero mean and unit variance in the graph, where the model asks for it.

    Returns:
        The graph with its metadata.

    Raises:
        ModelError: no CTC head, or something that has no form there.
        MissingExtraError: the extra ``[onnx]`` is not installed.
    """
    require_onnx()
    check_exportable(loaded)
    plan = plan or Int8Plan()
    inside = normalize and loaded.processor.do_normalize
    writer = ModelWriter(loaded.model.float().eval(), plan, inside)
    graph = writer.write()
    precision = "fp32" if not plan.ranges else "int8_static" if plan.is_static else "int8_dynamic"
    facts = describe(
        loaded.model.config, loaded.processor, normalize=inside, precision=precision, batch_invariant=plan.is_static
    )
    set_metadata(graph, facts)
    return Exported(graph, plan, writer.graph.layers)


def set_metadata(graph: ModelProto, facts: dict[str, str]) -> None:
    """Put facts into a graph in place of all that stood there.

    Args:
        graph: changed in place.
        facts: by name.
    """
    del graph.metadata_props[:]
    for name, value in facts.items():
        graph.metadata_props.add(key=name, value=value)


def save_onnx(graph: ModelProto, path: Path) -> None:
    """Write a graph whole or not at all.

    Args:
        graph: what to write.
        path: of the file; an older one there is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(graph.SerializeToString())
    os.replace(part, path)
