"""Batches of text, with its audio where there are streams of speech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigfoot.audio.files import read_audio
from bigfoot.data.augment import stable_seed
from bigfoot.data.batches import Batch, LoadedUtterance, Position, collate
from bigfoot.data.manifests import ListedUtterance
from bigfoot.text.tokenizers import Processor


@dataclass
class TextBatch(Batch):
    """A batch with tokens; without speech its audio is empty.

    Args:
        input_ids: (B, U) int64.
        text_mask: (B, U) True on real tokens.
    """

    input_ids: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))
    text_mask: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))

    def to(self, device: torch.device | str) -> TextBatch:
        """Return the batch with its tensors on a device."""
        return replace(
            self, input_values=self.input_values.to(device), attention_mask=self.attention_mask.to(device),
            input_ids=self.input_ids.to(device), text_mask=self.text_mask.to(device),
        )  # fmt: skip


@dataclass(frozen=True)
class TextReader:
    """Turns examples into batches.

    Args:
        tokenizer: of the text model, one of transformers'.
        processor: how audio is normalized; None reads none.
        max_tokens: longer texts are cut.
    """

    tokenizer: Any
    processor: Processor | None
    max_tokens: int

    def collate(self, examples: Sequence[ListedUtterance], position: Position | None = None) -> TextBatch:
        """Collate examples into one batch.

        Args:
            examples: B of them, 1 or more.
            position: to travel with the batch.

        Raises:
            AudioError: a file cannot be read.
        """
        texts = [item.text for item in examples]
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt",
            padding_side="right",
        )  # fmt: skip
        ids, mask = encoded["input_ids"], encoded["attention_mask"].bool()
        audio = self._read(examples, position)
        return TextBatch(
            audio.input_values, audio.attention_mask, None, audio.ids, audio.texts, audio.speakers, position, None,
            audio.attributes, input_ids=ids, text_mask=mask,
        )  # fmt: skip

    def count_cut(self, examples: Sequence[ListedUtterance]) -> int:
        """Count the texts that are longer than ``max_tokens``.

        Args:
            examples: of any number.
        """
        ids = self.tokenizer([item.text for item in examples])["input_ids"]
        return sum(len(row) > self.max_tokens for row in ids)

    def _read(self, examples: Sequence[ListedUtterance], position: Position | None) -> Batch:
        processor = Processor(do_normalize=False) if self.processor is None else self.processor
        loaded = [
            LoadedUtterance(
                item.id, item.speaker, item.text,
                np.zeros(0, np.float32) if self.processor is None
                else read_audio(item.path, sample_rate=processor.sample_rate), attributes=item.labels,
            )
            for item in examples
        ]  # fmt: skip
        return collate(loaded, processor, position)

    def stream(
        self, examples: Sequence[ListedUtterance], batch_size: int, seed: int, start: Position, rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[TextBatch]:  # fmt: skip
        """Stream shuffled batches without end, from any position on.

        Args:
            examples: of train.
            batch_size: utterances in a batch, at most as many as there are.
            seed: of the order.
            start: position of the last batch that was consumed.
            rank: of this process among ``world_size``, which take turns.
            world_size: number of processes.
        """
        epoch, skip = start.epoch, start.batch
        size = min(batch_size, len(examples))
        while True:
            order = np.random.default_rng(stable_seed(seed, "text order", epoch)).permutation(len(examples))
            # An incomplete batch at the end would have fewer negatives; what is left over comes in other epochs.
            for number in range(-(-skip // world_size), max(1, len(examples) // size // world_size)):
                first = (number * world_size + rank) * size % len(examples)
                chosen = [examples[index] for index in order[first : first + size]]
                yield self.collate(chosen, Position(epoch, (number + 1) * world_size))
            epoch, skip = epoch + 1, 0

    def read(self, examples: Sequence[ListedUtterance], batch_size: int) -> Iterator[TextBatch]:
        """Read examples once, in their order.

        Args:
            examples: of a split.
            batch_size: utterances in a batch, the last may have fewer.
        """
        for first in range(0, len(examples), batch_size):
            yield self.collate(examples[first : first + batch_size])
