"""What of prompts and answers did not fit: counted, kept with checkpoints, and put into words for the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator, PartialState

FILE = "cuts.json"
"""Of a checkpoint."""


@dataclass
class Cuts:
    """What did not fit: turns of histories, and ends of answers.

    Args:
        turns: how many were left out, by example.
        answers: whether a generated answer had no end yet at ``most_new_tokens``, by example.
    """

    turns: dict[str, int] = field(default_factory=dict)
    answers: dict[str, bool] = field(default_factory=dict)

    def describe(self, split: str) -> list[str]:
        """Return sentences for the report; none where nothing was cut."""
        lost, found = [count for count in self.turns.values() if count], []
        if lost:
            found.append(
                f"{split}: {len(lost)} of {len(self.turns)} prompts lost their oldest turns of history, {sum(lost)} in "
                "all: they are longer than the language model takes, or than data.most_tokens"
            )
        if cut := sum(self.answers.values()):
            found.append(
                f"{split}: {cut} of {len(self.answers)} generated answers were cut at most_new_tokens, before their end"
            )
        return found

    def keep_in_checkpoints(self, accelerator: Accelerator) -> None:
        """Save and load the turns with every checkpoint: a resumed run counts what it cut before it was stopped.

        Args:
            accelerator: of the run.
        """

        def save(models: Sequence[Any], weights: Sequence[Any], folder: str) -> None:
            if PartialState().is_main_process:
                (Path(folder) / FILE).write_text(json.dumps(self.turns), encoding="utf-8")

        def load(models: Sequence[Any], folder: str) -> None:
            # Checkpoints of earlier versions have none.
            file = Path(folder) / FILE
            self.turns.update(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {})

        accelerator.register_save_state_pre_hook(save)
        accelerator.register_load_state_pre_hook(load)
