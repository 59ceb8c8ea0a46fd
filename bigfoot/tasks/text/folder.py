"""Folders of text models.

A classifier of text alone is a folder of transformers'. One with speech has ``bigfoot_fusion.json`` and
``fusion.safetensors`` beside the folder ``text/`` of its encoder, and ``encoder/`` and ``phonemes/`` where it has them.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from bigfoot.config import Problem, to_dict
from bigfoot.errors import ConfigError, ModelError
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models.finite import find_non_finite
from bigfoot.models.fusion.fusion import Fusion, FusionShape
from bigfoot.models.fusion.streams import StreamShape
from bigfoot.models.tasks.kinds.registry import find_kind
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.muting import muted, without_bars
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import fetch
from bigfoot.storage.replace import replace_folder
from bigfoot.storage.state import parse_as
from bigfoot.tasks.text.batches import TextReader
from bigfoot.tasks.text.model import TextClassifier
from bigfoot.tasks.text.settings import SpeechConfig
from bigfoot.tasks.text.streams import SpeechStreams
from bigfoot.text.tokenizers import Processor

FUSION_FILE = "bigfoot_fusion.json"
_PROBLEM_TYPES = {
    "single_label": "single_label_classification", "multi_label": "multi_label_classification",
    "regression": "regression", "ordinal": "multi_label_classification",
}  # fmt: skip


@dataclasses.dataclass
class LoadedText:
    """A text model with all that came along in its folder.

    Args:
        model: in fp32 and eval mode.
        reader: of its batches.
        encoder: of its streams; None where it has none.
        phonemes: likewise.
    """

    model: TextClassifier
    reader: TextReader
    encoder: LoadedModel | None = None
    phonemes: LoadedModel | None = None


def build_text(
    source: str, shape: TaskShape, speech: SpeechConfig, max_tokens: int, seed: int, keep_head: bool = False
) -> LoadedText:
    """Build a model for a task from a text encoder.

    Args:
        source: folder or hub id of transformers.
        shape: of the task.
        speech: streams and fusion.
        max_tokens: longer texts are cut.
        seed: of the new parts.
        keep_head: whether a classifier of the same labels goes on with its head; text alone.

    Raises:
        ModelError: transformers cannot load it.
        ConfigError: the streams do not fit the models that make them, or the head to be kept has other labels.
    """
    torch.manual_seed(seed)
    source = str(fetch(source)) if is_remote(source) else source
    if not speech.is_used:
        text, tokenizer = _build_classifier(source, shape, keep_head)
        return LoadedText(TextClassifier(shape, text).eval(), TextReader(tokenizer, None, max_tokens))
    text, tokenizer = _load(AutoModel, source)
    encoder, phonemes = (load_model(path) if path else None for path in (speech.encoder, speech.phonemes))
    streams = SpeechStreams(speech, encoder, phonemes)
    fusion = Fusion(FusionShape(
        text.config.hidden_size, find_kind(shape).num_outputs, streams.shapes, speech.fusion, speech.width, speech.norm,
        speech.num_heads, speech.dropout, speech.embedding_size,
    ))  # fmt: skip
    return _join(shape, text, tokenizer, streams, fusion, max_tokens, encoder, phonemes)


def output_names(shape: TaskShape) -> list[str]:
    """Name the outputs of a classifier as transformers has them: labels, or the thresholds between ratings.

    Args:
        shape: of the task.

    Examples:
        >>> output_names(TaskShape("ordinal", ["bad", "fair", "good"]))
        ['above bad', 'above fair']
    """
    if shape.kind == "ordinal":
        # CORN's: of a rating above one among those that reach it.
        thresholds = [f"{edge:g}" for edge in shape.edges] or shape.labels[:-1]
        return [f"above {threshold}" for threshold in thresholds]
    return list(shape.labels)


def _build_classifier(source: str, shape: TaskShape, keep_head: bool) -> tuple[Any, Any]:
    if keep_head:
        text, tokenizer = _load(AutoModelForSequenceClassification, source)
        found = [str(label) for _, label in sorted(text.config.id2label.items())]
        if found != output_names(shape):
            wanted = ", ".join(output_names(shape))
            message = f"the head of {source} has the labels {', '.join(found)}, the table {wanted}"
            raise ConfigError([Problem("head", "other_labels", message)])
        return text, tokenizer
    labels = dict(enumerate(output_names(shape)))
    encoder, tokenizer = _load(
        AutoModel, source, problem_type=_PROBLEM_TYPES[shape.kind], num_labels=len(labels), id2label=labels,
        label2id={label: index for index, label in labels.items()},
    )  # fmt: skip
    text = AutoModelForSequenceClassification.from_config(encoder.config)
    # Some classifiers do without their encoder's pooler.
    absent = text.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    if absent := [name for name in absent if "pooler" not in name]:
        raise ModelError(f"{source} lacks {absent[0]}, which its classifier needs; name another text model")
    return text, tokenizer


def _join(
    shape: TaskShape, text: Any, tokenizer: Any, streams: SpeechStreams, fusion: Fusion, max_tokens: int,  # noqa: ANN401
    encoder: LoadedModel | None, phonemes: LoadedModel | None,
) -> LoadedText:  # fmt: skip
    given = encoder or phonemes
    processor = Processor() if given is None else dataclasses.replace(given.processor, tokenizer=None)
    model = TextClassifier(shape, text, streams, fusion).eval()
    return LoadedText(model, TextReader(tokenizer, processor, max_tokens), encoder, phonemes)


def _load(kind: Any, source: str | Path, **changes: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Load a model and its tokenizer, which needs a token for padding."""
    try:
        shape = AutoConfig.from_pretrained(source, **changes)
        tokenizer = AutoTokenizer.from_pretrained(source)
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ModelError(f"{source}: its tokenizer has no token for padding; set pad_token in its folder")
            tokenizer.pad_token = tokenizer.eos_token
        if getattr(shape, "pad_token_id", None) is None:
            shape.pad_token_id = tokenizer.pad_token_id
        # It lists weights that are left over: a head that is not wanted.
        with muted("transformers.modeling_utils"), without_bars():
            model = kind.from_pretrained(source, config=shape, dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ModelError(f"{source}: transformers cannot load it as a text model: {reason}") from error
    if faults := find_non_finite(dict(model.named_parameters())):
        raise ModelError(f"{source}: its weights are damaged: {', '.join(faults[:5])}")
    return model.eval(), tokenizer


def save_text(loaded: LoadedText, model: TextClassifier, folder: Path) -> None:
    """Save a model; one of text alone opens with ``AutoModelForSequenceClassification``.

    Args:
        loaded: what came along with it.
        model: with its weights of now.
        folder: replaced where bigfoot wrote it.
    """

    def write(beside: Path) -> None:
        place = beside if model.fusion is None else beside / "text"
        with without_bars():
            model.text.save_pretrained(place)  # type: ignore[operator]
        loaded.reader.tokenizer.save_pretrained(place)
        facts: dict[str, Any] = {"task": dataclasses.asdict(model.shape), "max_tokens": loaded.reader.max_tokens}
        if model.fusion is not None and model.speech is not None:
            _write_speech(loaded, model, beside)
            kept = {"encoder": loaded.encoder, "phonemes": loaded.phonemes}
            speech = to_dict(model.speech.config) | {name: name if part else "" for name, part in kept.items()}
            speech |= {"layers": model.speech.layers or model.speech.config.layers}
            facts |= {"speech": speech, "fusion": dataclasses.asdict(model.fusion.shape)}
        (beside / FUSION_FILE).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    replace_folder(folder, write, may=OWN_OR_EDITED)


def _write_speech(loaded: LoadedText, model: TextClassifier, beside: Path) -> None:
    assert model.fusion is not None
    weights = {name: tensor.contiguous().cpu() for name, tensor in model.fusion.state_dict().items()}
    save_file(weights, beside / "fusion.safetensors")
    for name, part in (("encoder", loaded.encoder), ("phonemes", loaded.phonemes)):
        if part is not None:
            save_model(part.model, part.processor, beside / name)


def load_text(folder: str | Path) -> LoadedText:
    """Load a folder of ``save_text``.

    Args:
        folder: of text alone or fused with speech.

    Raises:
        ModelError: it is no such folder, or damaged.
    """
    folder = fetch(folder)
    try:
        facts = json.loads((folder / FUSION_FILE).read_text(encoding="utf-8"))
        shape, max_tokens = TaskShape.read(facts["task"]), int(facts["max_tokens"])
        if "fusion" not in facts:
            text, tokenizer = _load(AutoModelForSequenceClassification, folder)
            return LoadedText(TextClassifier(shape, text).eval(), TextReader(tokenizer, None, max_tokens))
        speech = parse_as(SpeechConfig, facts["speech"])
        given = facts["fusion"] | {"streams": {k: StreamShape(**v) for k, v in facts["fusion"]["streams"].items()}}
        fusion = Fusion(FusionShape(**given))
        tensors = load_file(folder / "fusion.safetensors")
        if faults := find_non_finite(tensors):
            raise ValueError(", ".join(faults[:5]))
        fusion.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ModelError(f"{folder} is no text model of bigfoot, or damaged: {reason}") from error
    text, tokenizer = _load(AutoModel, folder / "text")
    encoder, phonemes = (
        load_model(folder / name) if path else None
        for name, path in (("encoder", speech.encoder), ("phonemes", speech.phonemes))
    )
    streams = SpeechStreams(speech, encoder, phonemes)
    return _join(shape, text, tokenizer, streams, fusion, max_tokens, encoder, phonemes)
