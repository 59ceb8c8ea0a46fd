"""The model folder: what every compression step reads and writes.

A folder holds ``config.json`` and ``model.safetensors``, the processor's files where there is a vocabulary, and
``history.json``, one entry for every step that made it what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from bigfoot.errors import ModelError
from bigfoot.formats.checkpoint import TENSOR_SUFFIXES, find_checkpoint
from bigfoot.formats.choices import Choices
from bigfoot.formats.code import write_code
from bigfoot.formats.extractor import load_completed
from bigfoot.formats.foreign_ctc import is_foreign_ctc
from bigfoot.formats.frames import refuse_to_keep
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.formats.onnx_ctc import SUFFIX
from bigfoot.formats.registry import FORMATS, find_format, read_config_file
from bigfoot.formats.state_dict import read_state
from bigfoot.formats.torchaudio import BUNDLE_PREFIX
from bigfoot.formats.with_config import build_with_config
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.notices import warn_once
from bigfoot.models.reshape import reshape_config, with_merged_adapters
from bigfoot.models.speech_llm.adapters import Adapter
from bigfoot.storage.ownership import OWN_ONLY, Earlier, MayReplace
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import fetch
from bigfoot.storage.replace import replace_folder
from bigfoot.text.huggingface import TOKENIZER_FILE
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import Processor, load_processor
from bigfoot.text.vocabulary_files import VOCABULARY_FILE

TINY_TEACHER = "tiny_teacher"
_ASSETS = Path(__file__).resolve().parent.parent / "assets"


def missing_vocabulary(folder: Path | None) -> str:
    """Explain that a model came without a vocabulary; of the folders that keep theirs in a file, with its name.

    Args:
        folder: where the model was read; None where it was made here.
    """
    keeps = folder is not None and (folder / "config.json").is_file() and not (folder / VOCABULARY_FILE).exists()
    if not keeps:
        return "no vocabulary in its folder"
    assert folder is not None
    return f"no vocabulary ({TOKENIZER_FILE if is_foreign_ctc(folder) else VOCABULARY_FILE}) in its folder"


@dataclass
class LoadedModel:
    """A model with all that came along in its folder.

    Args:
        model: in fp32 and eval mode.
        processor: how audio is normalized and characters are numbered; its tokenizer is None without a vocabulary.
        history: one entry a step, oldest first.
        folder: where it was read; a file, or the name of a bundle, where that is what was given.
        adapter: of the speech LLM that the model is the encoder of; None for others.
    """

    model: BigfootForCTC
    processor: Processor
    history: list[dict[str, Any]] = field(default_factory=list)
    folder: Path | None = None
    adapter: Adapter | None = None

    def __post_init__(self) -> None:
        # A model that streams follows the level of the audio itself.
        if self.model.config.streaming is not None and self.processor.do_normalize:
            self.processor = replace(self.processor, do_normalize=False)

    @property
    def missing_text_reason(self) -> str | None:
        """Explain why the CTC head gives no text; None where it does."""
        if self.model.head is None:
            return "no CTC head"
        if self.processor.tokenizer is None:
            return missing_vocabulary(self.folder)
        tokenizer, rows = self.processor.tokenizer, self.model.head.out_features
        return None if tokenizer.fits(rows) else f"its vocabulary ({tokenizer.describe()}) is not its head's of {rows}"


def resolve_model(name: str | Path, language: str | None = None) -> Path:
    """Find a model: a folder or file of any format, a Hugging Face id, a bundle of torchaudio's, or ``tiny_teacher``.

    Args:
        name: such as ``runs/demo/finetune/model``, ``checkpoint_best.pt``, ``facebook/wav2vec2-base-960h``, a place in
            the cloud (``s3://bucket/model``),
            ``torchaudio:WAV2VEC2_ASR_BASE_960H``; ``tiny_teacher`` ships with bigfoot.
        language: of a model with several; of a Hugging Face id its weights are fetched too.

    Returns:
        The folder or file; of a bundle, its name.

    Raises:
        ModelError: there is no such model.
    """
    name = fetch(name) if is_remote(name) else name
    if str(name) == TINY_TEACHER and not Path(name).is_dir():
        return _ASSETS / TINY_TEACHER
    if str(name).startswith(BUNDLE_PREFIX):
        return Path(name)
    if Path(name).suffix in (*TENSOR_SUFFIXES, SUFFIX):
        if not Path(name).exists():
            raise ModelError(f"{name}: no such file")
        if Path(name).is_file():
            return Path(name)
    return fetch_folder(str(name), language)


@dataclass(frozen=True)
class ModelOutline:
    """Shape and processor of a model, without its weights.

    Args:
        config: its shape.
        processor: its processor.
        path: where it was read.
    """

    config: BigfootConfig
    processor: Processor
    path: Path


def outline_model(name: str | Path, *, language: str | None = None) -> ModelOutline:
    """Read a model's shape and processor; without its weights, where it lies in a folder with a ``config.json``.

    Args:
        name: see ``resolve_model``.
        language: one of a model's several (MMS).

    Raises:
        ModelError: there is nothing readable or supported.

    Examples:
        >>> outline_model("tiny_teacher").config.num_hidden_layers
        12
    """
    path, choices = resolve_model(name, language), Choices(language=language)
    kind = find_format(path)
    choices.refuse_others(kind.takes, path, kind.name)
    if kind.read_outline is not None:
        config, processor = kind.read_outline(path, choices)
        if config.lora is not None:
            config = reshape_config(config, lora=None)
        return ModelOutline(config, processor, path)
    model, processor = kind.load(path, choices)
    return ModelOutline(model.config, processor, path)


def load_config(path: str | Path) -> BigfootConfig:
    """Read the shape of a model; see ``outline_model``.

    Raises:
        ModelError: there is nothing readable or supported.
    """
    return outline_model(path).config


def load_model(
    name: str | Path, *, dictionary: str | Path | None = None, config: str | Path | None = None,
    language: str | None = None, merge: bool = True,
) -> LoadedModel:  # fmt: skip
    """Load a model of any format: a bigfoot or Hugging Face folder, a file of fairseq's or torchaudio's.

    Args:
        name: see ``resolve_model``.
        dictionary: fairseq's ``dict.ltr.txt``, where it does not lie beside the checkpoint.
        config: for a state dict (``.pt``), which has no shape: a ``config.json`` or a model of the same shape.
        language: one of a model's several (MMS): its head, its vocabulary and its adapters are the model's.
        merge: add low-rank adapters that its folder keeps to the weights.

    Returns:
        The model in fp32 and eval mode, with processor and history.

    Raises:
        ModelError: missing, unsupported, or weights that do not fit the config.

    Examples:
        >>> load_model("tiny_teacher").model.config.num_hidden_layers
        12
    """
    path, choices = resolve_model(name, language), Choices(None if dictionary is None else Path(dictionary), language)
    if config is not None:
        choices.refuse_others(frozenset({"dictionary"}), path, "state dict's")
        return _load_with_config(path, config)
    kind = find_format(path)
    choices.refuse_others(kind.takes, path, kind.name)
    model, processor = kind.load(path, choices)
    if merge and model.config.lora is not None:
        model = with_merged_adapters(model)
    loaded = LoadedModel(model, processor, _read_history(path), path)
    if model.head is not None and (reason := loaded.missing_text_reason):
        warn_once(f"{path}: no text can come out of this model, and no WER: {reason}")
    return loaded


def _load_with_config(path: Path, config: str | Path) -> LoadedModel:
    file = path if path.is_file() else find_checkpoint(path)
    if file is None:
        suffixes = ", ".join(TENSOR_SUFFIXES)
        raise ModelError(f"{path} has a configuration of its own; --config is for a state dict ({suffixes})")
    named = Path(config)
    shape = read_config_file(named) if named.is_file() and named.suffix == ".json" else outline_model(config).config
    model = build_with_config(read_state(file), shape, file)
    rows = None if model.head is None else model.head.out_features
    # Of the model that the tensors were trained from, where nothing lies beside them.
    places = [file.parent, named.parent if named.is_file() else resolve_model(config)]
    place = next((place for place in places if load_processor(place, rows).tokenizer), places[-1])
    return LoadedModel(model, load_completed(place, model.config, rows), folder=path)


def _read_history(path: Path) -> list[dict[str, Any]]:
    file = path / "history.json"
    history = read_json(file).get("steps") if file.exists() else []
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise ModelError(f"{file} should hold a list of steps, an object each")
    return history


def save_model(
    model: BigfootForCTC,
    processor: Processor,
    folder: str | Path,
    history: Sequence[dict[str, Any]] = (),
    *,
    to: str = "bigfoot",
    may: MayReplace = OWN_ONLY,
) -> None:
    """Write a model folder beside its place, read it back, and only then move it there.

    Args:
        model: what to save.
        processor: saved with it.
        folder: where; a folder that bigfoot wrote there is replaced, anything else is refused.
        history: one entry a step, oldest first.
        to: name of a format.
        may: what else may be replaced.

    Raises:
        ModelError: the format cannot express the shape.
        OutputError: the folder holds what bigfoot did not write, or another process writes it.

    Examples:
        >>> import tempfile
        >>> loaded = load_model("tiny_teacher")
        >>> save_model(loaded.model, loaded.processor, tempfile.mkdtemp() + "/copy")
    """
    loaded = LoadedModel(model, processor, [*history])
    replace_model_folder(Path(folder), lambda beside: write_model(loaded, beside, to=to), may)


def replace_model_folder(folder: Path, write: Callable[[Path], None], may: MayReplace = OWN_ONLY) -> None:
    """``replace_folder`` for a model folder, those of earlier versions among it.

    Args:
        folder: the place.
        write: fills the folder that it is given, such as by ``write_model``.
        may: what may be replaced.

    Raises:
        OutputError: the folder holds what bigfoot did not write, or another process writes it.
    """
    replace_folder(folder, write, may=may, earlier=EARLIER_MODELS)


def _is_history(file: Path) -> bool:
    try:
        return isinstance(read_json(file).get("steps"), list)
    except ModelError:
        return False


EARLIER_MODELS = Earlier(
    ("history.json",),
    (
        "config.json", "history.json", "model.safetensors", "checkpoint.pt", "dict.ltr.txt", "model.pt", "model.json",
        "preprocessor_config.json", "processor_config.json", "vocab.json", "tokenizer_config.json", "tokenizer.json",
        "tokenizer.model", "bigfoot_tokenizer.json", "decoder_tokenizer/tokenizer.*",
        "decoder_tokenizer/bigfoot_tokenizer.json", "bigfoot_models_*.py", "bigfoot_errors.py", "bigfoot_types.py",
    ),
    _is_history,
)  # fmt: skip
"""Model folders of versions that left no marker."""


def write_model(loaded: LoadedModel, folder: Path, *, to: str = "bigfoot", with_code: bool = False) -> None:
    """Fill a folder with a model and read it back; see ``save_model`` for the way that leaves nothing half done.

    Args:
        loaded: the model, its processor and history.
        folder: made where missing.
        to: name of a format.
        with_code: also write the modelling code, so that ``trust_remote_code=True`` opens the folder without bigfoot.

    Raises:
        ModelError: the format cannot express the shape, or what was written does not come back.
    """
    refuse_to_keep(loaded.model)
    for part, take_away in ((loaded.model.decoder, "with_decoder"), (loaded.model.task_head, "with_task_head")):
        if part is not None and to != "bigfoot":
            raise ModelError(
                f"the {to} format has no place for the model's {part.name}; keep the bigfoot format, or take it away "
                f"first (bigfoot.models.reshape.{take_away}(model, None, seed=0))"
            )
    FORMATS[to].save(loaded.model, loaded.processor, folder)
    (folder / "history.json").write_text(json.dumps({"steps": loaded.history}, indent=2), encoding="utf-8")
    if with_code:
        write_code(folder)
    _check_reload(loaded, folder, FORMATS[to].leaves_out)


def align_tokens(given: Processor, other: Processor) -> list[int] | slice:
    """Return where another model's head has each token of this one: formats may have an order of their own.

    Args:
        given: the one processor.
        other: the other.

    Returns:
        An index into the other's rows; all of them where the order is the same, or either has no vocabulary.

    Raises:
        ModelError: it lacks a token.
    """
    if given.tokenizer is None or other.tokenizer is None:
        return slice(None)
    try:
        places = given.tokenizer.find_in(other.tokenizer)
    except ValueError as error:
        raise ModelError(str(error)) from error
    # A head may have rows that no vocabulary knows of; in the same order they need no lookup.
    return slice(None) if places == list(range(len(places))) else places


def _check_reload(given: LoadedModel, folder: Path, leaves_out: tuple[str, ...]) -> None:
    """Refuse a folder that does not load as the same weights."""
    loaded = load_model(folder, merge=False)
    again, head = loaded.model.state_dict(), f"{given.model.head_name}."
    for name, tensor in given.model.state_dict().items():
        if name.endswith(leaves_out) and name not in again:
            continue
        found = again[name]
        if name.startswith(head):
            found = found[align_tokens(given.processor, loaded.processor)]
        if not torch.equal(found, tensor.to(found)):
            raise ModelError(f"{folder}: {name} differs after reloading; nothing was replaced")
