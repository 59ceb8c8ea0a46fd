"""The machinery of settings: reading and merging, ranges, problems as values, registries.

The settings themselves stand with what they are for: ``bigfoot/data/settings.py``, ``bigfoot/training/settings.py`` ...
the whole of a run is ``bigfoot.pipeline.settings.Config``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bigfoot.config.files import CONFIG_FOLDER, find_config
from bigfoot.config.problems import Problem
from bigfoot.config.registry import Registry
from bigfoot.config.rules import above_zero, find_problems, not_negative, one_of, share, unknown_words

if TYPE_CHECKING:
    from bigfoot.config.reading import read_settings, save_config, to_dict

__all__ = [
    "CONFIG_FOLDER",
    "Problem",
    "Registry",
    "above_zero",
    "find_config",
    "find_problems",
    "not_negative",
    "one_of",
    "read_settings",
    "save_config",
    "share",
    "to_dict",
    "unknown_words",
]

_RENAMED = {
    "AttentionLossConfig": "AttentionLoss", "CTCLossConfig": "CTCLoss", "ConvFeaturesLossConfig": "ConvFeaturesLoss",
    "DecoderKLConfig": "DecoderKLLoss", "DecoderLossConfig": "DecoderLoss", "FeaturePenaltyConfig": "FeaturePenalty",
    "GramLossConfig": "GramLoss", "HeadsLossConfig": "HeadsLoss", "HiddenLossConfig": "HiddenLoss",
    "LowRankConfig": "LowRank", "PruneConfig": "Prune", "QuantizeConfig": "Quantize",
    "LogitCosineConfig": "LogitCosineLoss", "LogitKLConfig": "LogitKLLoss",
    "MaskedHiddenLossConfig": "MaskedHiddenLoss", "ValueRelationLossConfig": "ValueRelationLoss",
}  # fmt: skip
"""Names of losses and techniques as they were while this module held them."""

_LATER = {
    "bigfoot.config.reading": ("read_settings", "save_config", "to_dict"),
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
"""Names that are loaded at first use: those that need OmegaConf, and those that this module once held."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever stands behind the name
    name = _RENAMED.get(name, name)
    for home, names in _LATER.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'bigfoot.config' has no attribute {name!r}")
