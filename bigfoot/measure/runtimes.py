"""Models of a benchmark: folders opened by bigfoot, and folders opened by plain transformers, under names that differ.

A model is written as for every other command; ``transformers:`` before it asks for transformers' own class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoModelForCTC, PreTrainedModel

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_config, load_model, resolve_model
from bigfoot.formats.huggingface import family_fields
from bigfoot.measure.deployed import EXPORTED, DeployedModel, find_deployed
from bigfoot.models.configuration import BIGFOOT_PREFIX, BigfootConfig
from bigfoot.models.shape_checks import beyond_huggingface
from bigfoot.muting import without_bars
from bigfoot.text.json_files import read_json

RUNTIMES = ("bigfoot", "transformers", *(runtime for runtime, _ in EXPORTED.values()))
_PREFIX = "transformers:"


@dataclass(frozen=True)
class RunnableModel:
    """A model that is ready to run.

    Args:
        runtime: whose class runs it, one of ``RUNTIMES``.
        folder: where it was read.
        config: its shape.
        model: in fp32 and eval mode; an exported file's is what its runtime makes of it.
    """

    runtime: str
    folder: Path
    config: BigfootConfig
    model: PreTrainedModel | DeployedModel


def split_runtime(source: str) -> tuple[str, str]:
    """Split a runtime's prefix from the name of a model.

    Examples:
        >>> split_runtime("transformers:runs/teacher"), split_runtime("tiny_teacher")
        (('transformers', 'runs/teacher'), ('bigfoot', 'tiny_teacher'))
    """
    if source.startswith(_PREFIX):
        return "transformers", source.removeprefix(_PREFIX)
    exported = find_deployed(source)
    return "bigfoot" if exported is None else EXPORTED[exported.suffix][0], source


def open_runnable(source: str) -> RunnableModel:
    """Open a model by the classes that its name asks for.

    Args:
        source: folder, Hugging Face id, ``.onnx``, ``.xml`` or ``.pt2`` file, deployed folder or ``tiny_teacher``,
            with ``transformers:`` before it for plain transformers.

    Returns:
        The model in fp32 and eval mode; attention is PyTorch's fused one in both runtimes, but for transformers'
        WavLM, which has none.

    Raises:
        ModelError: no such model, or a shape that only bigfoot can build was asked of transformers.

    Examples:
        >>> type(open_runnable("transformers:tiny_teacher").model).__name__
        'Wav2Vec2ForCTC'
    """
    runtime, name = split_runtime(source)
    if runtime not in ("bigfoot", "transformers"):
        deployed = DeployedModel(find_deployed(name) or Path(name))
        return RunnableModel(runtime, deployed.path, deployed.config, deployed)
    if runtime == "bigfoot":
        loaded = load_model(name)
        assert loaded.folder is not None
        return RunnableModel(runtime, loaded.folder, loaded.model.config, loaded.model)
    folder = resolve_model(name)
    if not (folder / "config.json").exists():
        raise ModelError(f"{source}: plain transformers opens folders with a config.json; leave out {_PREFIX!r}")
    config = load_config(folder)
    beyond = beyond_huggingface(config)
    if beyond:
        raise ModelError(
            f"{source}: transformers' {config.family} cannot express {' and '.join(beyond)}; leave out {_PREFIX!r} "
            "to run it by bigfoot"
        )
    if config.weight_prefix == BIGFOOT_PREFIX and read_json(folder / "config.json").get("model_type") == "bigfoot":
        raise ModelError(
            f"{source}: transformers' {config.family} has other names for tensors; bigfoot convert --to huggingface "
            f"writes them, or leave out {_PREFIX!r}"
        )
    if not config.has_convolutions:
        raise ModelError(
            f"{source}: transformers' {config.family} takes filter banks in place of samples, and would be timed "
            f"without them; leave out {_PREFIX!r} to run it by bigfoot"
        )
    return RunnableModel(runtime, folder, config, _load_plain(folder, config))


def _load_plain(folder: Path, config: BigfootConfig) -> PreTrainedModel:
    """By transformers' own class: the automatic ones would take a native folder's ``model_type`` for bigfoot's."""
    # No more than the shape: transformers acts on other fields of a file, such as code to fetch for its attention.
    plain = AutoConfig.for_model(config.family, **family_fields(config))
    opener = AutoModelForCTC if config.ctc_head else AutoModel
    try:
        with without_bars():
            model, info = opener.from_pretrained(folder, config=plain, dtype=torch.float32, output_loading_info=True)
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"{folder}: plain transformers cannot open it: {error}") from error
    # The vector of masked frames is of use in training alone, and many folders lack it.
    missing = sorted(key for key in info["missing_keys"] if not key.endswith("masked_spec_embed"))
    if missing:
        raise ModelError(f"{folder}: plain transformers finds {len(missing)} weights missing, such as {missing[0]}")
    return model.eval()


def name_models(sources: Sequence[str]) -> list[str]:
    """Give models short names that differ.

    The folder's own name where that is enough; else as many of the folders above it as make the names unique, then
    the runtime, then a number.

    Args:
        sources: as for ``open_runnable``.

    Returns:
        A name for each, in order.

    Examples:
        >>> name_models(["runs/a/model", "runs/b/model", "transformers:runs/b/model", "tiny_teacher", "tiny_teacher"])
        ['a/model', 'b/model', 'transformers:b/model', 'tiny_teacher', 'tiny_teacher#2']
    """
    runtimes, places = zip(*(split_runtime(source) for source in sources), strict=True)
    paths = [Path(place).resolve() if Path(place).is_dir() else Path(place) for place in places]
    names: list[str] = []
    for path, runtime in zip(paths, runtimes, strict=True):
        short = _shorten(path, [other for other in paths if other != path])
        # The same folder by both runtimes: the plain name stays with bigfoot.
        shared = any(other == path and by != runtime for other, by in zip(paths, runtimes, strict=True))
        base = name = f"{_PREFIX}{short}" if shared and runtime == "transformers" else short
        count = 1
        while name in names:
            count += 1
            name = f"{base}#{count}"
        names.append(name)
    return names


def _shorten(path: Path, others: Sequence[Path]) -> str:
    """Return the fewest last parts of a path that no other path ends in."""
    parts = path.parts
    for length in range(1, len(parts)):
        if all(other.parts[-length:] != parts[-length:] for other in others):
            return "/".join(parts[-length:])
    return str(path)
