"""Names that ``bigfoot.config`` once held, and where they are now: code of others may still import them from there."""

from __future__ import annotations

import importlib
from typing import Any

_RENAMED = {
    "AttentionLossConfig": "AttentionLoss", "CTCLossConfig": "CTCLoss", "ConvFeaturesLossConfig": "ConvFeaturesLoss",
    "DecoderKLConfig": "DecoderKLLoss", "DecoderLossConfig": "DecoderLoss", "FeaturePenaltyConfig": "FeaturePenalty",
    "GramLossConfig": "GramLoss", "HeadsLossConfig": "HeadsLoss", "HiddenLossConfig": "HiddenLoss",
    "LowRankConfig": "LowRank", "PruneConfig": "Prune", "QuantizeConfig": "Quantize",
    "LogitCosineConfig": "LogitCosineLoss", "LogitKLConfig": "LogitKLLoss",
    "MaskedHiddenLossConfig": "MaskedHiddenLoss", "ValueRelationLossConfig": "ValueRelationLoss",
}  # fmt: skip

_HOMES = {
    "bigfoot.compress.settings": ("LowRank", "Prune", "Quantize", "StudentConfig"),
    "bigfoot.distill": ("LossesConfig", *_RENAMED.values()),
    "bigfoot.data.settings": ("AugmentConfig", "DataConfig", "SpecAugmentConfig"),
    "bigfoot.decoding.settings": ("DecodingConfig",),
    "bigfoot.evaluation.settings": ("EvaluateConfig",),
    "bigfoot.pipeline.settings": (
        "Config", "PublishedConfig", "STEPS", "TRACKERS", "TeacherConfig", "load_config", "read_config",
    ),
    "bigfoot.training.distilling": ("DistillConfig", "GatesConfig"),
    "bigfoot.training.finetuning": ("DecoderConfig", "FinetuneConfig"),
    "bigfoot.training.settings": ("TrainConfig",),
}  # fmt: skip


def find_moved(name: str) -> Any:  # noqa: ANN401 - whatever has the name
    """Return what ``bigfoot.config`` once held under a name.

    Args:
        name: as it was then.

    Raises:
        AttributeError: it held no such name.

    Examples:
        >>> find_moved("PruneConfig").__module__
        'bigfoot.compress.settings'
    """
    name = _RENAMED.get(name, name)
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'bigfoot.config' has no attribute {name!r}")
