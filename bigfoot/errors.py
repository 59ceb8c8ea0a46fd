"""Errors that a user can cause, each stating what was expected, what came, and what to do."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bigfoot.paths import printable

if TYPE_CHECKING:
    from bigfoot.config.problems import Problem


class BigfootError(Exception):
    """Base of every error that bigfoot raises on purpose; the command line prints it without a traceback."""


class ConfigError(BigfootError):
    """All that is wrong with a configuration, collected and shown at once.

    Args:
        problems: one value each; also of a command's options.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        count = len(self.problems)
        head = "1 problem in the configuration" if count == 1 else f"{count} problems in the configuration"
        super().__init__("\n".join([head + ":", *(f"  - {problem}" for problem in self.problems)]))


class DataError(BigfootError):
    """A corpus, manifest or transcript that cannot be used as it is."""


class AudioError(DataError):
    """One audio file that cannot be used.

    Args:
        path: the file; ``self.path`` is its printable name.
        reason: what is wrong with it, in a few words.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path = printable(path)
        self.reason = printable(reason)
        super().__init__(f"{self.path}: {self.reason}")


class ModelError(BigfootError):
    """A model folder or checkpoint that cannot be read, or a shape that cannot be built."""


class UnfitError(ConfigError, ModelError):
    """Settings of a technique that the model at hand does not allow.

    Args:
        problems: their keys are fields of the settings.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems)
        self.args = ("; ".join(map(str, problems)),)


class OutputError(BigfootError, OSError):
    """An output that would destroy what is not bigfoot's, or that another process is writing.

    Args:
        message: a sentence; names in it are made printable.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class ExportError(BigfootError):
    """An exported file whose outputs differ from its model's, and the layers at fault."""


class TrainingError(BigfootError):
    """A training run that cannot go on, and what to try."""


class TrainingPaused(BigfootError):
    """A training that stopped on purpose with a checkpoint, from which the same command goes on."""

    exit_code = 75
    """What a command ends with: EX_TEMPFAIL of sysexits.h, come again."""


class MissingExtraError(BigfootError):
    """A part of bigfoot that needs an extra which is not installed.

    Args:
        extra: name of the extra in ``setup.py``.
        package: the missing distribution.

    Examples:
        >>> "[text]" in str(MissingExtraError("text", "sentencepiece"))
        True
    """

    def __init__(self, extra: str, package: str) -> None:
        from bigfoot.install import install_hint

        super().__init__(f"this needs the package {package}: {install_hint(extra)}")

    @classmethod
    def of_import(cls, error: ModuleNotFoundError) -> MissingExtraError | None:
        """Word an import that failed.

        Args:
            error: of importing anything.

        Returns:
            The error with its install line; None where no extra has the module.

        Examples:
            >>> MissingExtraError.of_import(ModuleNotFoundError(name="json")) is None
            True
        """
        from bigfoot.install import find_extra

        found = find_extra(error.name or "")
        return None if found is None else cls(*found)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """End the process in one sentence, without a traceback, where an error is a user's to mend.

    Such are errors that bigfoot raises on purpose, missing packages of an extra, and files that the system refuses. A
    command or script has one around its work; a script also around its imports that need an extra.

    Raises:
        SystemExit: 2 for an invalid configuration, 75 for a training that was paused, 1 for any other such error; the
            sentence is on stderr.

    Examples:
        >>> with plain_errors():
        ...     print("at work")
        at work
    """
    try:
        yield
    except TrainingPaused as pause:
        print(pause, file=sys.stderr)
        raise SystemExit(pause.exit_code) from None
    # OSError: a full disk, a missing permission, a file in place of a folder; the system's message names the path.
    except (BigfootError, ModuleNotFoundError, OSError) as error:
        found = MissingExtraError.of_import(error) if isinstance(error, ModuleNotFoundError) else error
        if found is None:
            raise
        print(f"error: {found}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
