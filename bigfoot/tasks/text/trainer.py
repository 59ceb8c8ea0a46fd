"""The training loop on batches of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.data.manifests import ListedUtterance
from bigfoot.tasks.text.folder import LoadedText, save_text
from bigfoot.tasks.text.objective import TextObjective
from bigfoot.training.loop import Trainer
from bigfoot.training.run import TrainingRun


class TextTrainer(Trainer):
    """``Trainer`` with batches from tables.

    Args:
        objective: model and losses.
        run: settings and folder.
        loaded: what is saved with the model.
        examples: of train.
        batch_size: utterances in a batch.
    """

    can_shard = False

    def __init__(
        self, objective: TextObjective, run: TrainingRun, loaded: LoadedText, examples: Sequence[ListedUtterance],
        batch_size: int,
    ) -> None:  # fmt: skip
        self.loaded, self.examples, self.batch_size = loaded, examples, batch_size
        # It asks of an objective what both have; their models differ.
        whole: Any = objective
        super().__init__(whole, run)

    def _check_precision(self) -> None:
        """No positional convolution need be exact here."""

    def _stream(self) -> Iterator[Batch]:
        return self.loaded.reader.stream(
            self.examples, self.batch_size, self.run.seed, self.progress.position,
            self.accelerator.process_index, self.accelerator.num_processes,
        )  # fmt: skip

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        return {}

    def _write(self, folder: Path) -> None:
        model: Any = self.objective.deployed()
        save_text(self.loaded, model, folder)
