"""State dicts in PyTorch and safetensors files: tensors by name without a shape, alone or within a training checkpoint.

Such a file is read with a configuration from elsewhere (``--config``). Its names may be transformers' of any version,
bigfoot's own, torchaudio's or fairseq's, with what a wrapper put before all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from bigfoot.errors import ModelError
from bigfoot.formats.tensor_names import OF_A_MODEL, common_wrapper
from bigfoot.formats.torch_file import TorchFile, open_torch_file
from bigfoot.formats.torch_layout import StoredTensor
from bigfoot.formats.weight_files import read_safetensors
from bigfoot.models.notices import warn_once

Names = Literal["transformers", "torchaudio", "fairseq", "fairseq2"]

_NESTED = ("model", "state_dict", "model_state_dict", "module", "net")
"""Under these a training checkpoint keeps its model; what else it holds is not read."""


def find_state(content: object) -> dict[str, StoredTensor] | None:
    """Find the tensors of a model in what a file holds.

    Args:
        content: of the file.

    Returns:
        Named tensors: the file itself, under one of the usual names, or the only ones of a known model under another;
        None where there are none.
    """
    found = [state for state in _list_states(content, 4) if whose_names(state) is not None]
    inner = content
    for _ in range(3):
        if not isinstance(inner, dict):
            break
        tensors = _tensors_of(inner)
        if tensors and (len(tensors) == len(inner) or tensors in found):
            return tensors
        inner = next((inner[name] for name in _NESTED if isinstance(inner.get(name), dict)), None)
    return found[0] if len(found) == 1 else None


def _tensors_of(content: dict[object, object]) -> dict[str, StoredTensor]:
    named = content.items()
    return {name: value for name, value in named if isinstance(name, str) and isinstance(value, StoredTensor)}


def _list_states(content: object, depth: int) -> Iterator[dict[str, StoredTensor]]:
    """List the tensors in each dictionary of a file, the outer first."""
    if not isinstance(content, dict) or depth == 0:
        return
    if tensors := _tensors_of(content):
        yield tensors
    for value in content.values():
        yield from _list_states(value, depth - 1)


def read_state(file: Path | TorchFile) -> dict[str, Tensor]:
    """Read the tensors of a model, by names without what a wrapper put before them.

    Args:
        file: of PyTorch's, or safetensors.

    Raises:
        ModelError: the file cannot be read, or holds no named tensors.
    """
    if isinstance(file, Path) and file.suffix == ".safetensors":
        tensors = read_safetensors(file)
        return {new: tensors[name] for name, new in _unwrap(tensors, file).items()}
    opened = open_torch_file(file) if isinstance(file, Path) else file
    state = find_state(opened.content)
    if state is None:
        places = ", ".join(_NESTED)
        raise ModelError(
            f"{opened.path} cannot be read as a state dict: named tensors are expected, in the file or under one of "
            f"{places}; save model.state_dict() alone"
        )
    names = _unwrap(state, opened.path)
    return {names[name]: tensor for name, tensor in opened.read({name: state[name] for name in names}).items()}


def _unwrap(names: Iterable[str], file: Path) -> dict[str, str]:
    """Return the names of a model's tensors, each with what is left of it without its wrapper."""
    known = list(names)
    wrapper = _find_wrapper(known)
    kept = {name: name.removeprefix(wrapper) for name in known if name.startswith(wrapper)}
    if left := sorted({name.partition(".")[0] for name in known if name not in kept}):
        warn_once(f"{file}: what stands beside the model was left out: {', '.join(left)}")
    return kept


def _find_wrapper(names: list[str]) -> str:
    """Find the prefix of all names, or of the model's where a training module holds more, as Lightning's does."""
    before = Counter(found[1] for name in names if (found := OF_A_MODEL.match(name)))
    return next((wrapper for wrapper, _ in before.most_common(1)), "") or common_wrapper(names)


def whose_names(names: Iterable[str]) -> Names | None:
    """Find the library whose names tensors have.

    Args:
        names: without wrappers.

    Returns:
        None where they are of no known library.

    Examples:
        >>> whose_names(["wav2vec2.encoder.layers.0.attention.q_proj.weight"])
        'transformers'
        >>> whose_names(["encoder.transformer.layers.0.attention.k_proj.bias", "aux.bias"])
        'torchaudio'
    """
    known = list(names)
    if any("encoder.transformer." in name for name in known):
        return "torchaudio"
    if any("encoder_frontend." in name for name in known):
        return "fairseq2"
    if any(name.endswith("encoder.pos_conv.0.bias") for name in known):
        return "fairseq"  # SEW-D's layers there have transformers' names
    if any(".intermediate_dense." in name or ".attention.self." in name for name in known):
        return "transformers"  # of any block
    if any(".self_attn." in name or name.startswith("w2v_encoder.") for name in known):
        return "fairseq"
    if any("encoder.layers." in name and ".attention." in name for name in known):
        return "transformers"
    return None


def refuse_without_shape(file: Path, names: Mapping[str, object]) -> None:
    """Refuse tensors from which the shape cannot be read, without a file beside them that has it.

    Args:
        file: where they are.
        names: of the tensors.

    Raises:
        ModelError: they are transformers' or fairseq's.
    """
    whose = whose_names(names)
    if whose in ("transformers", "fairseq"):
        raise ModelError(
            f"{file}: a state dict with {whose}'s names, without heads and strides; name a model of the "
            f"same shape: bigfoot convert {file} FOLDER --config CONFIG (a config.json, a model folder or a hub id)"
        )
