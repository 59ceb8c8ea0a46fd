"""The machinery of settings: reading and merging, ranges, problems as values, registries.

The settings themselves stand with what they are for: ``bigfoot/data/settings.py``, ``bigfoot/training/settings.py`` ...
the whole of a run is ``bigfoot.pipeline.settings.Config``.
"""

from __future__ import annotations

import importlib
from typing import Any

from bigfoot.config.problems import Problem
from bigfoot.config.reading import CONFIG_FOLDER, find_config, read_settings, save_config, to_dict
from bigfoot.config.registry import Registry
from bigfoot.config.rules import above_zero, find_problems, not_negative, one_of, share, unknown_words

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

_MOVED = {
    "bigfoot.config.schema": (
        "AttentionLossConfig", "CTCLossConfig", "ConvFeaturesLossConfig", "DecoderKLConfig", "DecoderLossConfig",
        "FeaturePenaltyConfig", "GramLossConfig", "HeadsLossConfig", "HiddenLossConfig", "LogitCosineConfig",
        "LogitKLConfig", "LossesConfig", "LowRankConfig", "MaskedHiddenLossConfig", "PruneConfig", "QuantizeConfig",
        "StudentConfig", "ValueRelationLossConfig",
    ),
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
"""Names that this module once held, for programs that still ask here."""


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever stands behind the name
    for home, names in _MOVED.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'bigfoot.config' has no attribute {name!r}")
