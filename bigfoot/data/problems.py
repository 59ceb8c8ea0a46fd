"""What is wrong with the settings of data in view of what lies on the disk."""

from __future__ import annotations

from collections.abc import Iterator

from bigfoot.config import Problem
from bigfoot.data.corpora import resolve_root
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.settings import DataConfig
from bigfoot.errors import BigfootError


def data_problems(config: DataConfig) -> Iterator[Problem]:
    """Check that corpus and noise are where the settings say.

    Args:
        config: section ``data`` of a run.

    Yields:
        Problem by problem.
    """
    try:
        if config.corpus != "synthetic_digits":
            resolve_root(config)
    except BigfootError as error:
        yield Problem.of(str(error), "no_corpus")
    augment = config.augment
    if augment.noise_folder is None:
        return
    if augment.noise_probability == 0:
        message = "not used with noise_probability 0; set that above 0, or leave this out"
        yield Problem("data.augment.noise_folder", "not_read", message)
    try:
        NoiseFolder.find(augment.noise_folder)
    except BigfootError as error:
        yield Problem.of(str(error), "no_noise")
