"""Size of a model: parameters, bytes on disk, multiply-accumulates by part. Counted, never computed from names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from bigfoot.formats.registry import find_weight_files
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.kernels import plain_kernels
from bigfoot.types import SAMPLE_RATE, Seconds

PARTS = ("conv", "positional_conv", "transformer", "head")
_counted: dict[tuple[type, str, str, Seconds], dict[str, int]] = {}
_MOST_COUNTED = 64


@dataclass(frozen=True)
class ModelSize:
    """Size of a model.

    Args:
        num_params: parameters, a shared one counted wherever it is used.
        num_unique_params: parameters, a shared one counted once.
        size_bytes: of the weight files in its folder; None for a model that was never saved.
        macs_by_part: multiply-accumulates per second of audio by ``PARTS``.
        precision: of the weights on disk; see ``BigfootConfig.precision``.
    """

    num_params: int
    num_unique_params: int
    size_bytes: int | None
    macs_by_part: dict[str, int]
    precision: str = "float32"

    @property
    def macs_per_second(self) -> int:
        """Multiply-accumulates per second of audio, all parts together."""
        return sum(self.macs_by_part.values())


def count_params(model: nn.Module, *, unique: bool = True) -> int:
    """Count parameters.

    Args:
        model: any module.
        unique: count a shared parameter once.

    Returns:
        Their number.

    Examples:
        >>> layer = nn.Linear(2, 3)
        >>> count_params(nn.Sequential(layer, layer)), count_params(nn.Sequential(layer, layer), unique=False)
        (9, 18)
    """
    held = sum(getattr(module, "num_held_params", 0) for module in model.modules())
    return held + sum(p.numel() for _, p in model.named_parameters(remove_duplicate=unique))


def measure_size_bytes(folder: Path) -> int:
    """Bytes of the files from which a model folder is loaded; the same weights in a second format do not count."""
    return sum(file.stat().st_size for file in find_weight_files(folder))


def count_macs(model: PreTrainedModel, seconds: Seconds = 10.0) -> dict[nn.Module, int]:
    """Count multiply-accumulates of one pass for every module, those of its submodules included.

    ``FlopCounterMode`` does not see the fused attention of CPUs, so the pass runs on the written-out one; a
    multiply-accumulate is two of its operations.

    Args:
        model: of any shape, ours or transformers' own.
        seconds: audio of the pass; attention grows with its square.

    Returns:
        Multiply-accumulates by module; modules without any are absent.
    """
    # A run counts its teacher and each student several times; what a pass costs is in the shape alone.
    shape = type(model), model.config.to_json_string(), repr(model), seconds
    if shape not in _counted:
        while len(_counted) >= _MOST_COUNTED:
            del _counted[next(iter(_counted))]
        _counted[shape] = _count_by_name(model, seconds)
    macs = _counted[shape]
    return {module: macs[name] for name, module in model.named_modules() if name in macs}


def _count_by_name(model: PreTrainedModel, seconds: Seconds) -> dict[str, int]:
    samples = torch.zeros(1, round(seconds * SAMPLE_RATE), device=model.device)
    was_training = model.training
    model.eval()
    counter = _count_operations(lambda: model(samples))
    model.train(was_training)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    totals = {
        name: sum(counts.get(f"{root}.{name}" if name else "Global", {}).values()) // 2
        for name, _ in model.named_modules()
    }
    return {name: total for name, total in totals.items() if total}


def count_pass_macs(run: Callable[[], object]) -> int:
    """Count multiply-accumulates of whatever is called.

    Args:
        run: computes with PyTorch.

    Returns:
        All of them; see ``count_macs``.

    Examples:
        >>> count_pass_macs(lambda: torch.zeros(2, 3) @ torch.zeros(3, 5))
        30
    """
    return _count_operations(run).get_total_flops() // 2


def _count_operations(run: Callable[[], object]) -> FlopCounterMode:
    with torch.no_grad(), plain_kernels(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter


def part_modules(model: PreTrainedModel) -> list[nn.Module]:
    """Return the modules that make up the parts of a model, ours or a wav2vec2-like one of transformers'.

    Returns:
        Feature encoder, feature projection, positional convolution, encoder (with the former inside it), and the heads
        that there are.
    """
    base = model.base_model
    own = isinstance(model, BigfootForCTC)
    heads = [model.head, model.task_head] if own else [getattr(model, "lm_head", None)]
    # SEW of transformers has no projection between equal widths.
    projection = getattr(base, "feature_projection", None) or nn.Identity()
    modules = [base.feature_extractor, projection, base.encoder.pos_conv_embed, base.encoder]
    return [*modules, *(head for head in heads if head is not None)]


def divide_by_part(model: PreTrainedModel, amounts: Mapping[nn.Module, float]) -> dict[str, float]:
    """Divide among ``PARTS`` what was measured of a model's modules.

    Args:
        model: ours, or a wav2vec2-like one of transformers', whose modules have the same names.
        amounts: by module, that of its submodules included; what is absent is 0.

    Returns:
        The amount of each part; the transformer is the encoder without its positional convolution.
    """
    found = [amounts.get(module, 0) for module in part_modules(model)]
    convs, projection, positional, encoder = found[:4]
    return dict(zip(PARTS, (convs + projection, positional, encoder - positional, sum(found[4:])), strict=True))


def measure_size(model: PreTrainedModel, folder: Path | None = None, seconds: Seconds = 10.0) -> ModelSize:
    """Measure a model.

    Args:
        model: of any shape, ours or transformers' own.
        folder: where its weight files lie; None where there are none.
        seconds: audio of the pass in which operations are counted.

    Returns:
        See ``ModelSize``.

    Examples:
        >>> from bigfoot.formats.folder import load_model
        >>> sorted(measure_size(load_model("tiny_teacher").model).macs_by_part)
        ['conv', 'head', 'positional_conv', 'transformer']
    """
    macs = count_macs(model, seconds)
    by_part = divide_by_part(model, macs)
    return ModelSize(
        num_params=count_params(model, unique=False),
        num_unique_params=count_params(model),
        size_bytes=None if folder is None else measure_size_bytes(folder),
        macs_by_part={part: round(count / seconds) for part, count in by_part.items()},
        precision=getattr(model.config, "precision", "float32"),
    )
