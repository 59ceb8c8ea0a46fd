"""The characters that ``student.vocabulary`` keeps, as far as a configuration alone says them."""

from __future__ import annotations

from bigfoot.compress.settings import FROM_CORPUS
from bigfoot.pipeline.settings import Config
from bigfoot.text.lines import read_lines


def vocabulary_file(config: Config) -> str | None:
    """Return the file of ``student.vocabulary``; None where none is read.

    Args:
        config: of the run.
    """
    wanted = config.student.vocabulary
    return None if wanted in (None, FROM_CORPUS) or "student" not in config.steps else wanted


def characters_of_file(config: Config) -> set[str] | None:
    """Return the characters of that file, the space among them; None where none is read.

    Args:
        config: of the run.

    Raises:
        DataError: the file is missing, or no text.
    """
    file = vocabulary_file(config)
    return None if file is None else {" "}.union(*map(set, read_lines(file)))
