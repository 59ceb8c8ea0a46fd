"""Prompts of examples: laid out with speech or transcripts, the oldest turns left out where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from bigfoot.data.batches import LoadedUtterance
from bigfoot.data.turns import Turn
from bigfoot.errors import DataError
from bigfoot.formats.speech_llm import LoadedSpeechLLM
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.settings import TurnsConfig
from bigfoot.text.prompts import HISTORY, INSTRUCTION, Piece, Speech
from bigfoot.types import Samples


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


@dataclass(frozen=True)
class Prompt:
    """An example as a model takes it.

    Args:
        example: with as many turns of history as fit.
        pieces: of the prompt.
        recordings: which the pieces name, 0 being the turn itself.
        samples: (N,) of each recording.
    """

    example: Example
    pieces: tuple[Piece, ...]
    recordings: tuple[Turn, ...]
    samples: tuple[Samples, ...]

    @property
    def text(self) -> str:
        """The prompt in letters, a recording as its turn's name in angle brackets."""
        return "".join(
            f"<{self.recordings[piece.index].id}>" if isinstance(piece, Speech) else str(getattr(piece, "text", piece))
            for piece in self.pieces
        )

    def utterances(self) -> list[LoadedUtterance]:
        """Return the recordings, to be collated."""
        return [
            LoadedUtterance(turn.id, turn.speaker, turn.text, samples)
            for turn, samples in zip(self.recordings, self.samples, strict=True)
        ]


@dataclass
class PromptBuilder:
    """Lays examples out for a model.

    Args:
        loaded: the model.
        data: how turns stand in prompts.
        cuts: filled while prompts are built.
    """

    loaded: LoadedSpeechLLM
    data: TurnsConfig
    cuts: Cuts = field(default_factory=Cuts)

    def build(self, example: Example, room: int, *, as_text: bool = False) -> Prompt:
        """Read the audio of an example, and leave out the oldest turns of its history until it fits.

        Args:
            example: to lay out.
            room: tokens that its answer needs.
            as_text: put transcripts in the place of all speech.

        Raises:
            DataError: it does not fit without any history, or a transcript is missing.
        """
        as_text = as_text or self.data.input == "text"
        # The audio of the turn itself comes along in any case: a batch has recordings.
        turns = [example.turn, *(example.history if self.data.history == "speech" and not as_text else ())]
        samples = [turn.read(self.loaded.processor.sample_rate) for turn in turns]
        most = self.data.most_tokens or self.loaded.model.most_tokens
        for lost in range(len(example.history) + 1):
            shorter = replace(example, history=example.history[lost:])
            kept = samples if len(turns) == 1 else [samples[0], *samples[1 + lost :]]
            prompt = self._lay_out(shorter, tuple(kept), as_text)
            length = self._count_tokens(prompt) + room
            if most is None or length <= most:
                self.cuts.turns[example.id] = lost
                return prompt
        raise DataError(
            f"{example.turn.id}: the prompt with its answer has {length} tokens without any history, and the language "
            f"model takes {most}: shorten the turn, or raise the adapter's stride"
        )

    def _lay_out(self, example: Example, samples: tuple[Samples, ...], as_text: bool) -> Prompt:
        speaks = self.data.history == "speech" and not as_text
        history: list[Piece] = []
        for index, turn in enumerate(example.history, 1):
            content: Piece = Speech(index) if speaks else turn.text
            history += [f"{turn.column(self.data.name_column)}: ", content, "\n"]
        pieces = self.loaded.template.fill({HISTORY: history, INSTRUCTION: example.instruction})
        if as_text:
            if not example.turn.text:
                raise DataError(f"{example.turn.id}: has no transcript, which the prompt needs in place of the speech")
            pieces = tuple(example.turn.text if isinstance(piece, Speech) else piece for piece in pieces)
        recordings = (example.turn, *(example.history if speaks else ()))
        return Prompt(example, pieces, recordings, samples)

    def _count_tokens(self, prompt: Prompt) -> int:
        layout = self.loaded.tokens.lay_out(prompt.pieces)
        spoken = {piece for piece in layout.pieces if isinstance(piece, int)}
        counts = self.loaded.model.count_embeddings([len(samples) for samples in prompt.samples])
        written = sum(len(piece) for piece in layout.pieces if isinstance(piece, torch.Tensor))
        return written + sum(counts[index] for index in spoken)

    def count_answer(self, answer: str) -> int:
        """Count the tokens of an answer, its end among them."""
        return len(self.loaded.tokens.lay_out([""], answer).output)

    def lay_out(self, prompts: Sequence[Prompt], answers: Sequence[str | None]) -> list[Layout]:
        """Number the recordings of a batch, and tokenize its prompts.

        Args:
            prompts: of the batch.
            answers: to learn or to score; None to generate.
        """
        found, first = [], 0
        for prompt, answer in zip(prompts, answers, strict=True):
            found.append(self.loaded.tokens.lay_out(prompt.pieces, answer, first))
            first += len(prompt.samples)
        return found
