"""The model folder: what every compression step reads and writes.

A folder holds ``config.json`` and ``model.safetensors``, the processor's files where there is a vocabulary, and
``history.json``, one entry for every step that made it what it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.convert.huggingface import (
    fetch_folder,
    fill_model,
    load_huggingface,
    read_config,
    read_json,
    read_weights,
    save_huggingface,
)
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.tokenizers import Processor, load_processor, save_processor

TINY_TEACHER = "tiny_teacher"
_ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass
class LoadedModel:
    """A model with all that came along in its folder.

    Args:
        model: in fp32 and eval mode.
        processor: how audio is normalized and characters are numbered; its tokenizer is None without a vocabulary.
        history: one entry a step, oldest first.
        folder: where it was read.
    """

    model: BigfootForCTC
    processor: Processor
    history: list[dict[str, Any]] = field(default_factory=list)
    folder: Path | None = None


def resolve_model(name: str | Path) -> Path:
    """Find a model by folder, Hugging Face id, or ``tiny_teacher``, the one that ships with bigfoot.

    Raises:
        ModelError: there is no such model.
    """
    if str(name) == TINY_TEACHER and not Path(name).is_dir():
        return _ASSETS / TINY_TEACHER
    return fetch_folder(str(name))


def load_config(folder: Path) -> BigfootConfig:
    """Read the shape of a model folder, ours or Hugging Face's, without its weights.

    Raises:
        ModelError: there is no readable or supported ``config.json``.
    """
    raw = read_json(folder / "config.json")
    if raw.get("model_type") != BigfootConfig.model_type:
        return read_config(folder)
    try:
        config = BigfootConfig.from_dict(raw)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from error
    assert isinstance(config, BigfootConfig)
    return config


def load_model(name: str | Path) -> LoadedModel:
    """Load a bigfoot folder, a Hugging Face folder or id of a known family, or the tiny teacher.

    Args:
        name: folder, id, or ``tiny_teacher``.

    Returns:
        The model in fp32 and eval mode, with processor and history.

    Raises:
        ModelError: missing, unsupported, or weights that do not fit the config.

    Example:
        >>> load_model("tiny_teacher").model.config.num_hidden_layers
        12
    """
    folder = resolve_model(name)
    config = load_config(folder)
    processor = load_processor(folder)
    if read_json(folder / "config.json").get("model_type") != BigfootConfig.model_type:
        return LoadedModel(load_huggingface(folder), processor, [], folder)
    model = fill_model(config, {key: tensor.float() for key, tensor in read_weights(folder).items()}, str(folder))
    history_file = folder / "history.json"
    history = read_json(history_file).get("steps") if history_file.exists() else []
    if not isinstance(history, list):
        raise ModelError(f"{history_file} should hold a list of steps")
    return LoadedModel(model, processor, history, folder)


def save_model(
    model: BigfootForCTC,
    processor: Processor,
    folder: str | Path,
    history: Sequence[dict[str, Any]] = (),
    *,
    to: str = "bigfoot",
) -> None:
    """Write a model folder beside its place, read it back, and only then move it there.

    Args:
        model: what to save.
        processor: saved with it.
        folder: where; an older folder there is replaced.
        history: one entry a step, oldest first.
        to: ``bigfoot``, or ``huggingface`` for the family's own format.

    Raises:
        ModelError: the format cannot express the shape.

    Example:
        >>> import tempfile
        >>> loaded = load_model("tiny_teacher")
        >>> save_model(loaded.model, loaded.processor, tempfile.mkdtemp() + "/copy")
    """
    folder = Path(folder)

    def write(beside: Path) -> None:
        if to == "huggingface":
            save_huggingface(model, beside)
        else:
            _save_native(model, beside)
        save_processor(processor, beside)
        (beside / "history.json").write_text(json.dumps({"steps": list(history)}, indent=2), encoding="utf-8")
        _check_reload(model, beside)

    replace_folder(folder, write)


def _save_native(model: BigfootForCTC, folder: Path) -> None:
    """Save as transformers does, without its bar for every write."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        # A full disk is the system's error, whoever was writing.
        raise OSError(f"{folder}: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make a folder whole or not at all: write beside it, then rename.

    Args:
        folder: the place; what is there goes once the new one is complete.
        write: fills the folder that it is given.

    Raises:
        OSError: the place is a file, or nothing can be written there; what stood there before still does.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, where a folder should be written")
    recover_folder(folder)
    beside, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        write(beside)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    try:
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    except OSError:
        recover_folder(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Bring back what ``replace_folder`` had put aside when it was killed between its two renames.

    Args:
        folder: the place.
    """
    old = folder.with_name(folder.name + ".old")
    if old.is_dir() and not folder.exists():
        old.rename(folder)


def _check_reload(model: BigfootForCTC, folder: Path) -> None:
    """A folder that does not give the same weights back must not be called saved."""
    again = load_model(folder).model.state_dict()
    for name, tensor in model.state_dict().items():
        if not torch.equal(again[name], tensor.to(again[name])):
            raise ModelError(f"{folder}: {name} differs after reloading; nothing was replaced")
