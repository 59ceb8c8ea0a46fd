"""Facts that an exported file stores about itself, whatever its format."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.text.huggingface import HuggingFaceTokenizer
from bigfoot.text.tokenizers import CharTokenizer, Processor
from bigfoot.version import __version__

FORMAT = "1"
"""Version of the agreement between a file and ``bigfoot.runtime``: names of tensors and of metadata."""


def describe(
    config: BigfootConfig, processor: Processor, *, normalize: bool = False, precision: str = "fp32",
    batch_invariant: bool = True,
) -> dict[str, str]:  # fmt: skip
    """Facts stored in the file, for a runtime that has nothing else.

    Args:
        config: the shape.
        processor: vocabulary and normalization.
        normalize: whether the graph normalizes.
        precision: ``fp32``, ``int8_dynamic`` or ``int8_static``.
        batch_invariant: whether utterances may share a batch.

    Examples:
        >>> facts = describe(BigfootConfig(), Processor(CharTokenizer(("<pad>", "|", "A"))))
        >>> facts["vocab"], facts["stride"], facts["receptive_field"]
        ('["<pad>", "|", "A"]', '320', '400')
    """
    tokenizer = None if config.task is not None else processor.tokenizer
    delimiter, written = "", dict[str, str]()
    if isinstance(tokenizer, CharTokenizer):
        delimiter, written = tokenizer.word_delimiter, {"unknown_token": tokenizer.unknown_token}
    # Of a plain vocabulary each character is the text that it adds.
    if tokenizer is not None and not (isinstance(tokenizer, CharTokenizer) and tokenizer.is_plain):
        written["pieces"] = json.dumps(tokenizer.pieces, ensure_ascii=False)
    if tokenizer is not None and tokenizer.cleans_up:
        written["clean_up"] = "true"
    if tokenizer is not None and tokenizer.final_sigma:
        written["final_sigma"] = "true"
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
        "bigfoot_version": __version__,
        # The whole shape, for what counts and compares; a runtime needs none of it.
        "config": config.to_json_string(use_diff=True),
        **written,
        **({} if config.task is None else {"task": _describe_task(config.task)}),
    }


def _describe_task(task: dict[str, Any]) -> str:
    """All fields of a task head, those with their defaults too: a runtime knows none."""
    return json.dumps(dataclasses.asdict(TaskShape.read(task)), ensure_ascii=False)


def check_exportable(loaded: LoadedModel) -> None:
    """Check that a model can be exported.

    Raises:
        ModelError: the model has neither a CTC head nor a task head, or a vocabulary that a file cannot hold, or it
            streams.
    """
    if loaded.model.config.streaming is not None:
        raise ModelError(f"{loaded.folder}: it streams; --to streaming writes what runs chunk by chunk")
    check_text(loaded)


def check_text(loaded: LoadedModel) -> None:
    """Check that a file can hold what a model needs to answer.

    Raises:
        ModelError: see ``check_exportable``.
    """
    if (other := loaded.model.config.frame_encoder) is not None:
        raise ModelError(f"{loaded.folder}: an encoder of the kind {other['kind']!r} has no form in an exported file")
    if loaded.model.task_head is not None:
        return
    if loaded.model.head is None:
        raise ModelError(f"{loaded.folder}: it has no CTC head, so that no text could come out; fine-tune it first")
    if isinstance(loaded.processor.tokenizer, HuggingFaceTokenizer):
        raise ModelError(
            f"{loaded.folder}: its tokenizer.json makes text in ways of its own, which an exported file cannot hold; "
            "characters, sentencepiece and phonemes can be exported"
        )
