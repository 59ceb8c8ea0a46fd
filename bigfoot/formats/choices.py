"""What a user chooses of a model that is to be read, where its files leave a choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import ModelError


@dataclass(frozen=True)
class Choices:
    """Choices of a user's; each is for some formats.

    Args:
        dictionary: a file with the vocabulary, where it does not lie beside the weights (fairseq, fairseq2).
        language: one of several (MMS, of transformers' or fairseq's).
    """

    dictionary: Path | None = None
    language: str | None = None

    def refuse_others(self, taken: frozenset[str], path: Path, kind: str) -> None:
        """Refuse a choice that is not for a format.

        Args:
            taken: names of the choices that are.
            path: of the model, for messages.
            kind: of the format, for messages.

        Raises:
            ModelError: another one was made.

        Examples:
            >>> Choices(language="eng").refuse_others(frozenset({"dictionary"}), Path("model.pt"), "fairseq2")
            Traceback (most recent call last):
            bigfoot.errors.ModelError: model.pt: the fairseq2 format has no languages; leave the language out
        """
        reasons = {"dictionary": "its own vocabulary", "language": "no languages"}
        for name, reason in reasons.items():
            if getattr(self, name) is not None and name not in taken:
                raise ModelError(f"{path}: the {kind} format has {reason}; leave the {name} out")


NO_CHOICES = Choices()
