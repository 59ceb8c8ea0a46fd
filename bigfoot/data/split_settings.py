"""Settings of splits that bigfoot makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bigfoot.config import Problem, not_negative, one_of, share


@dataclass
class SplitConfig:
    """Split what ``data.train_splits`` names into train, dev and test."""

    by: str = one_of("given", "speaker", "utterance", "label")
    """``given`` takes the splits as the corpus has them; ``speaker`` never has a speaker in two splits; ``utterance``
    splits without regard to speakers, whose voices are then known in test; ``label`` never has a value of ``label`` in
    two splits, such as a sentence, so that test asks of what was not in train."""
    label: str = ""
    """Label (of ``data.labels``) that ``by: label`` splits by; empty otherwise."""
    dev: float = share(0.15)
    """Share of the utterances that is dev."""
    test: float = share(0.2)
    """Share of the utterances that is test."""
    stratify: str = ""
    """Label (of ``data.labels``) that all splits have alike, as far as groups allow; empty for none."""
    folds: int = not_negative(0)
    """Number of folds of one size, in place of the shares: one is test, the next one dev; 0 for none."""
    fold: int = not_negative(0)
    """Which fold is test."""

    def find_problems(self) -> Iterator[Problem]:
        """Check conditions on several values together."""
        if self.dev + self.test >= 1:
            yield Problem("dev", "out_of_range", f"dev {self.dev} and test {self.test} leave nothing to train on")
        if self.by == "label" and not self.label:
            yield Problem("label", "missing", "by: label needs the label that splits are to differ in")
        if self.label and self.by != "label":
            yield Problem("label", "not_read", f"splits are by {self.by}; set by to label, or leave it out")
        if self.folds and self.by == "given":
            yield Problem("by", "not_read", "splits that are given have no folds; take speaker or utterance")
        if self.folds and (self.folds < 3 or self.fold >= self.folds):
            message = f"fold {self.fold} of {self.folds}: take 3 folds or more, and one of 0 to folds - 1"
            yield Problem("folds", "out_of_range", message)
