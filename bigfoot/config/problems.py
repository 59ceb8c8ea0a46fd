"""Problems of a configuration, as values: tests and programs read the code, people the message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        key: the setting or option at fault, such as ``distill.losses.hidden.matches``; empty for all of a section.
        code: what kind of problem it is, in snake case; it stays the same when the wording changes.
        message: what was expected, what came, and what to do, without the key.

    Examples:
        >>> print(Problem("seed", "out_of_range", "must not be below 0, got -1"))
        seed: must not be below 0, got -1
    """

    key: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message

    def under(self, section: str) -> Problem:
        """Prefix the key with the name of a section.

        Args:
            section: dotted, such as ``distill.losses``.

        Examples:
            >>> Problem("hidden.weight", "out_of_range", "must not be below 0").under("gates.losses").key
            'gates.losses.hidden.weight'
        """
        return replace(self, key=f"{section}.{self.key}" if self.key else section)

    @classmethod
    def of(cls, sentence: str, code: str) -> Problem:
        """Read a sentence that starts with its key and a colon, as errors of models have it.

        Args:
            sentence: such as ``parts: there is nothing to cut``.
            code: see above.

        Examples:
            >>> Problem.of("parts: there is nothing to cut", "not_prunable").key
            'parts'
        """
        key, _, message = sentence.partition(": ")
        return cls(key, code, message)


def without_known(problems: Iterable[Problem], known: Iterable[Problem]) -> Iterator[Problem]:
    """Leave out the problems of numbers that are known to be out of their range.

    Such a number is wrong for any model, too; the later check would only repeat it. A list may have several faults.

    Args:
        problems: of a later check.
        known: of the checks before it.

    Examples:
        >>> known = [Problem("num_hidden_layers", "out_of_range", "must be above 0, got 0")]
        >>> list(without_known([Problem("num_hidden_layers", "bad_layers", "the model has 12")], known))
        []
    """
    wrong = {problem.key for problem in known if problem.code == "out_of_range"}
    return (problem for problem in problems if problem.key not in wrong)
