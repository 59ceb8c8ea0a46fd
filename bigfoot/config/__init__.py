"""The machinery of settings: reading and merging, ranges, problems as values, registries.

The settings themselves stand with what they are for: ``bigfoot/data/settings.py``, ``bigfoot/training/settings.py`` ...
the whole of a run is ``bigfoot.pipeline.settings.Config``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bigfoot.config.files import CONFIG_FOLDER, find_config
from bigfoot.config.problems import Problem
from bigfoot.config.registry import Registry
from bigfoot.config.rules import above_zero, find_problems, not_negative, one_of, random_seed, share, unknown_words

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
    "random_seed",
    "read_settings",
    "save_config",
    "share",
    "to_dict",
    "unknown_words",
]

_NEED_OMEGACONF = ("read_settings", "save_config", "to_dict")


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever has the name
    if name in _NEED_OMEGACONF:
        from bigfoot.config import reading

        return getattr(reading, name)
    from bigfoot.config.moved import find_moved

    return find_moved(name)
