"""Batches of prompts: an endless stream that can be resumed anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bigfoot.data.augment import stable_seed
from bigfoot.data.batches import Batch, Position, collate
from bigfoot.data.turns import Place
from bigfoot.distill.speech_llm import PromptBatch
from bigfoot.distill.token_logits import TopTokens
from bigfoot.models.speech_llm.model import SpeechInput
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.prompts import Prompt, PromptBuilder
from bigfoot.tasks.speech_llm.teachers import TeacherLogits


@dataclass
class TurnBatch(Batch):
    """Prompts with answers, and the recordings that they name; see ``PromptBatch``.

    Args:
        layouts: of the prompts.
        places: of the recordings.
        teacher: cached distributions; None where no loss reads them.
        spoken: recordings with their transcripts' tokens.
    """

    layouts: Sequence[Layout] = ()
    places: Sequence[Place] = ()
    teacher: TopTokens | None = None
    spoken: Sequence[tuple[int, Tensor]] = ()

    @property
    def num_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(len(layout.output) for layout in self.layouts)

    def to(self, device: torch.device | str) -> TurnBatch:
        """Return the batch with its tensors on a device."""
        teacher = self.teacher
        moved = None if teacher is None else TopTokens(
            teacher.log_probs.to(device), teacher.tokens.to(device), teacher.rest.to(device)
        )  # fmt: skip
        return replace(
            self, input_values=self.input_values.to(device), attention_mask=self.attention_mask.to(device),
            layouts=move_layouts(self.layouts, device), teacher=moved,
            spoken=[(index, tokens.to(device)) for index, tokens in self.spoken],
        )  # fmt: skip

    def prompts(self, masks: Mapping[str, Tensor]) -> PromptBatch:
        """Return what the objective takes.

        Args:
            masks: SpecAugment's.
        """
        speech = SpeechInput(self.input_values, self.attention_mask, masks)
        return PromptBatch(self.layouts, speech, teacher=self.teacher, spoken=self.spoken)


def move_layouts(layouts: Sequence[Layout], device: torch.device | str) -> list[Layout]:
    """Return layouts with their tensors on a device."""
    return [
        Layout(
            tuple(piece if isinstance(piece, int) else piece.to(device) for piece in layout.pieces),
            layout.output.to(device),
        )
        for layout in layouts
    ]


def collate_prompts(
    builder: PromptBuilder, prompts: Sequence[Prompt], answers: Sequence[str | None], position: Position | None = None
) -> TurnBatch:
    """Collate prompts into one batch.

    Args:
        builder: of the prompts.
        prompts: 1 or more.
        answers: to learn or to score; None to generate.
        position: to travel with the batch.
    """
    silent = replace(builder.loaded.processor, tokenizer=None, decoder_tokenizer=None)
    batch = collate([utterance for prompt in prompts for utterance in prompt.utterances()], silent, position)
    places = [turn.place for prompt in prompts for turn in prompt.recordings]
    return TurnBatch(**vars(batch), layouts=builder.lay_out(prompts, answers), places=places)


@dataclass
class PromptStream:
    """Batches to train on, epoch after epoch.

    What is in it follows from the arguments alone, and so does what comes after any position.

    Args:
        examples: of train.
        builder: of their prompts.
        batch_size: prompts in a batch.
        seed: of the order.
        teacher: cached distributions; None where no loss reads them.
        with_transcripts: whether a loss compares recordings with their transcripts.
    """

    examples: Sequence[Example]
    builder: PromptBuilder
    batch_size: int
    seed: int
    teacher: TeacherLogits | None = None
    with_transcripts: bool = False

    def iterate(self, start: Position, rank: int = 0, world_size: int = 1) -> Iterator[TurnBatch]:
        """Stream batches without end.

        Args:
            start: position of the last batch consumed.
            rank: of this process.
            world_size: number of processes.
        """
        epoch, done = start.epoch, start.batch
        while True:
            rng = np.random.default_rng(stable_seed(self.seed, "order", epoch))
            order = rng.permutation(len(self.examples)).tolist()
            size = self.batch_size * world_size
            for number in range(-(-done // world_size), -(-len(order) // size)):
                together = order[number * size : (number + 1) * size]
                # Every process has a batch, also where the last is smaller than the number of processes.
                mine = together[rank::world_size] or together[:1]
                yield self._read([self.examples[index] for index in mine], Position(epoch, (number + 1) * world_size))
            epoch, done = epoch + 1, 0

    def _read(self, examples: Sequence[Example], position: Position) -> TurnBatch:
        answers = [example.answer for example in examples]
        prompts = [self.builder.build(example, self.builder.count_answer(example.answer)) for example in examples]
        batch = collate_prompts(self.builder, prompts, answers, position)
        if self.teacher is not None:
            batch.teacher = self.teacher.find([example.id for example in examples])
        if self.with_transcripts:
            batch.spoken = self._transcripts(prompts)
        return batch

    def _transcripts(self, prompts: Sequence[Prompt]) -> list[tuple[int, Tensor]]:
        turns = [turn for prompt in prompts for turn in prompt.recordings]
        tokens = [self.builder.loaded.tokens.lay_out([""], turn.text).output[:-1] for turn in turns]
        return [(index, ids) for index, ids in enumerate(tokens) if len(ids)]
