"""What a technique kept, dropped and initialized at random."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Change:
    """A row of facts about one step.

    Args:
        step: name of the step.
        kept: what of the old model lives on, a phrase each.
        dropped: what does not.
        fresh: what is initialized at random.
    """

    step: str
    kept: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """One line for people.

        Examples:
            >>> Change("depth", ["layers [0, 11] of 12"]).describe()
            'depth: kept layers [0, 11] of 12. Dropped nothing.'
        """
        sentence = f"{self.step}: kept {'; '.join(self.kept)}. Dropped {'; '.join(self.dropped) or 'nothing'}."
        return f"{sentence} At random: {'; '.join(self.fresh)}." if self.fresh else sentence
