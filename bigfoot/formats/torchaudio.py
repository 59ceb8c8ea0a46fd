"""torchaudio's state dicts of ``wav2vec2_model``, ``wavlm_model`` and the HuBERT builders, both ways.

A state dict carries no configuration. Widths are read from the tensors; what they do not show (heads, strides, whether
norms come first) is read from a JSON file of the same name beside it, with the builder's own arguments, and is what
torchaudio's published models have where there is no such file. Such a file starts with::

    {"family": "wav2vec2", "builder": "wav2vec2_model", "arguments": {"extractor_mode": "group_norm", ...
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.dense import advise_format
from bigfoot.formats.filling import fill_model, in_fp32
from bigfoot.formats.torchaudio_builders import (
    BUILDERS,
    POSITION_TABLE,
    arguments_of,
    config_of,
    read_arguments,
    read_module_arguments,
    unsupported_parts,
)
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import name_in_model, plain_state
from bigfoot.text.json_files import read_json
from bigfoot.text.tokenizers import CharTokenizer, Processor, load_processor

BUNDLE_PREFIX = "torchaudio:"
"""Prefix of the name of a pipeline bundle, such as ``torchaudio:WAV2VEC2_ASR_BASE_960H``."""

_FILE = "model.pt"
# Beginning of a name there -> here (names of ``plain_state``).
_NAMES = {
    "feature_extractor.": "encoder.feature_extractor.",
    "encoder.feature_projection.": "encoder.feature_projection.",
    "encoder.transformer.layers.0.attention.rel_attn_embed.": "encoder.encoder.position_bias.",
    "encoder.transformer.": "encoder.encoder.",
    "mask_generator.mask_embedding": "encoder.masked_spec_embed",
    "aux.": "head.",
}
# Wrappers: of HuBERT's pre-training, and of bundles that normalize their input.
_WRAPPERS = ("wav2vec2.", "model.")
_PRETRAINING_HEAD = "logit_generator."
# WavLM's attention is a torch.nn.MultiheadAttention inside its module; its three projections are one tensor.
_OUT_PROJ = {".attention.attention.out_proj.": ".attention.out_proj."}
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
_WEIGHT_NORM = {
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}


def load_torchaudio(path: Path, tensors: dict[str, Tensor]) -> tuple[BigfootForCTC, Processor]:
    """Load a state dict of torchaudio's.

    Args:
        path: the file it was read from; a JSON file of its name with the builder's arguments, and the processor's
            files (``vocab.json``, ...), may lie beside it.
        tensors: the state dict.

    Returns:
        The model in fp32 and eval mode, and its processor.

    Raises:
        ModelError: not of this layout; something that tensors do not show is neither usual nor given beside the file;
            tensors missing or left over.
    """
    beside = path.with_suffix(".json")
    described = read_json(beside) if beside.exists() else {}
    given = described.get("arguments", {})
    if not isinstance(given, dict):
        raise ModelError(f"{beside}: its arguments should be an object, name and value each")
    state = rename_to_plain(tensors, str(path))
    arguments = read_arguments(state, given, str(path)) | given
    family = str(described.get("family") or ("wavlm" if POSITION_TABLE in state else "wav2vec2"))
    model = _build(state, arguments, family, str(path))
    processor = load_processor(path.parent)
    if not any((path.parent / name).exists() for name in ("preprocessor_config.json", "processor_config.json")):
        processor = Processor(processor.tokenizer, do_normalize=model.config.feat_extract_norm == "layer")
    return model, processor


def load_bundle(name: str) -> tuple[BigfootForCTC, Processor]:
    """Load a pipeline bundle by name, with its labels, through torchaudio itself.

    Args:
        name: with its prefix, such as ``torchaudio:WAV2VEC2_ASR_BASE_960H``.

    Returns:
        The model in fp32 and eval mode, and its processor.

    Raises:
        ModelError: torchaudio cannot be imported or has no such bundle, or its weights cannot be fetched.
    """
    pipelines, wanted = _import_pipelines(), name.removeprefix(BUNDLE_PREFIX)
    bundle: Any = getattr(pipelines, wanted, None)
    if not hasattr(bundle, "get_model") or not wanted.startswith(("WAV2VEC2", "HUBERT", "WAVLM")):
        known = [n for n in dir(pipelines) if n.startswith(("WAV2VEC2", "HUBERT", "WAVLM"))]
        raise ModelError(f"torchaudio has no bundle {wanted!r} of a known family; it has {', '.join(known)}")
    try:
        module = bundle.get_model()
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{name}: torchaudio could not fetch its weights: {error}") from error
    family = wanted.split("_")[0].lower()
    state, inner = rename_to_plain(module.state_dict(), name), getattr(module, "model", module)
    model = _build(state, read_arguments(state, read_module_arguments(inner), name), family, name)
    labels = bundle.get_labels(blank="<pad>") if hasattr(bundle, "get_labels") else None
    tokenizer = None if labels is None else CharTokenizer(tuple(labels))
    return model, Processor(tokenizer, do_normalize=inner is not module, sample_rate=int(bundle.sample_rate))


def save_torchaudio(model: BigfootForCTC, folder: Path) -> None:
    """Write ``model.pt``, a state dict, and ``model.json``, the arguments of the builder that it fits.

    ``torchaudio.models.wav2vec2_model(**arguments)`` (``wavlm_model`` for WavLM) loads it, nothing missing. The vector
    that SpecAugment puts in place of frames has no place there and stays out.

    Args:
        model: of a shape that the builder can express.
        folder: made if missing.

    Raises:
        ModelError: torchaudio cannot express the shape; the parts are named.
    """
    config = model.config
    if beyond := unsupported_parts(config):
        raise ModelError(
            f"torchaudio cannot express {' and '.join(beyond)}; {advise_format(config, unsupported_parts)}"
        )
    state = plain_state(model)
    state.pop("encoder.masked_spec_embed", None)
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        there, here = next((there, here) for there, here in _NAMES.items() if name.startswith(here))
        renamed[there + name.removeprefix(here)] = tensor.detach().cpu().contiguous()
    if config.family == "wavlm":
        renamed = _join_projections(renamed)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(renamed, folder / _FILE)
    description = {"family": config.family, "builder": BUILDERS[config.family], "arguments": arguments_of(config)}
    (folder / _FILE).with_suffix(".json").write_text(json.dumps(description, indent=2), encoding="utf-8")


def rename_to_plain(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename tensors to those of ``plain_state``.

    Args:
        tensors: by torchaudio's names.
        source: the file, for messages.

    Raises:
        ModelError: names that torchaudio does not have.
    """
    state: dict[str, Tensor] = {}
    strange = []
    for name, tensor in tensors.items():
        for wrapper in _WRAPPERS:
            name = name.removeprefix(wrapper)
        if name.startswith(_PRETRAINING_HEAD):
            continue
        for old, new in (_WEIGHT_NORM | _OUT_PROJ).items():
            name = name.replace(old, new)
        for there, here in _NAMES.items():
            if name.startswith(there):
                state[here + name.removeprefix(there)] = tensor
                break
        else:
            strange.append(name)
    if strange or not state:
        found = ", ".join(strange[:5]) or "nothing"
        raise ModelError(
            f"{source}: not a state dict of torchaudio's wav2vec2_model, nor of fairseq: it holds {found}"
            f"{', ...' if len(strange) > 5 else ''}"
        )
    return _split_projections(state, source)


def _split_projections(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """WavLM's joined queries, keys and values as three tensors."""
    split: dict[str, Tensor] = {}
    for name, tensor in state.items():
        before, joined, kind = name.partition(".attention.attention.in_proj_")
        if not joined:
            split[name] = tensor
            continue
        if not tensor.ndim or not len(tensor) or len(tensor) % 3:
            raise ModelError(f"{source}: {name} is {tuple(tensor.shape)}, and should hold three projections")
        for projection, part in zip(_PROJECTIONS, tensor.chunk(3), strict=True):
            split[f"{before}.attention.{projection}.{kind}"] = part
    return split


def _join_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the way back, and ``out_proj`` where ``torch.nn.MultiheadAttention`` has it."""
    joined: dict[str, Tensor] = {}
    for name, tensor in state.items():
        before, inside, kind = name.partition(".attention.q_proj.")
        if inside:
            parts = [state[f"{before}.attention.{projection}.{kind}"] for projection in _PROJECTIONS]
            joined[f"{before}.attention.attention.in_proj_{kind}"] = torch.cat(parts)
        elif not re.search(r"\.attention\.[kv]_proj\.", name):
            for there, here in _OUT_PROJ.items():
                name = name.replace(here, there)
            joined[name] = tensor
    return joined


def _build(state: dict[str, Tensor], arguments: dict[str, Any], family: str, source: str) -> BigfootForCTC:
    config = config_of(arguments, family, source)
    if "encoder.masked_spec_embed" not in state:
        config.mask_time_prob = config.mask_feature_prob = 0.0
    named = in_fp32({name_in_model(plain, config): tensor for plain, tensor in state.items()})
    return fill_model(config, named, source)


def _import_pipelines() -> ModuleType:
    try:
        from torchaudio import pipelines
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"bundles are read through torchaudio, and `import torchaudio` fails here: {str(error).splitlines()[0]}. "
            "Install the torchaudio that was built for your torch (its usual wheel is a CUDA build, which a CPU torch "
            "cannot load), or save the bundle's state dict to a .pt file where it works and name that file"
        ) from error
    return pipelines
