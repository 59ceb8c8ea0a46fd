"""Prompts of examples: laid out with speech or transcripts, the oldest turns left out where they do not fit."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from bigfoot.data.batches import LoadedUtterance
from bigfoot.data.turns import Turn
from bigfoot.errors import DataError
from bigfoot.formats.speech_llm import LoadedSpeechLLM
from bigfoot.models.speech_llm.packing import Layout
from bigfoot.tasks.speech_llm.cuts import Cuts
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.settings import TurnsConfig
from bigfoot.text.prompts import HISTORY, INSTRUCTION, Piece, Speech
from bigfoot.types import Samples


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
        partner: builds prompts of the same examples, such as a teacher's: what stays of a history must fit into both.
    """

    loaded: LoadedSpeechLLM
    data: TurnsConfig
    cuts: Cuts = field(default_factory=Cuts)
    partner: PromptBuilder | None = None

    def build(self, example: Example, room: int) -> Prompt:
        """Read the audio of an example, and leave out the oldest turns of its history until it fits.

        Args:
            example: to lay out.
            room: tokens that its answer needs.

        Raises:
            DataError: it does not fit without any history, or a transcript is missing.
        """
        both = [self] if self.partner is None else [self, self.partner]
        # The audio of the turn itself comes along in any case: a batch has recordings.
        turns = [example.turn, *(example.history if any(each._speaks_history for each in both) else ())]
        samples = [turn.read(self.loaded.processor.sample_rate) for turn in turns]

        def fits(lost: int) -> bool:
            return all(each._count_missing(example, lost, samples, room) <= 0 for each in both)

        tries = range(len(example.history) + 1)
        # Nearly all fit as they are; of hundreds of turns not each is tried.
        lost = 0 if fits(0) else bisect_left(tries, True, lo=1, key=fits)
        if lost == len(tries):
            missing = max(each._count_missing(example, lost - 1, samples, room) for each in both)
            raise DataError(
                f"{example.turn.id}: the prompt with its answer is {missing} tokens longer than the {self._most} that "
                "the language model takes, without any history: shorten the turn, or raise the adapter's stride"
            )
        self.cuts.turns[example.key] = lost
        return self._lay_out(example, lost, samples)

    @property
    def _most(self) -> int | None:
        return self.data.most_tokens or self.loaded.model.most_tokens

    @property
    def _speaks_history(self) -> bool:
        return self.data.history == "speech" and self.data.input != "text"

    def _count_missing(self, example: Example, lost: int, samples: Sequence[Samples], room: int) -> int:
        """Count the tokens by which a prompt with its answer is too long; 0 or less where it fits."""
        if self._most is None:
            return 0
        return self._count_tokens(self._lay_out(example, lost, samples)) + room - self._most

    def _lay_out(self, example: Example, lost: int, samples: Sequence[Samples]) -> Prompt:
        """Lay out an example without its oldest turns.

        Args:
            example: with all of its history.
            lost: turns to leave out.
            samples: of the turn itself, and of all of the history wherever that is speech.
        """
        example = replace(example, history=example.history[lost:])
        history: list[Piece] = []
        for index, turn in enumerate(example.history, 1):
            content: Piece = Speech(index) if self._speaks_history else turn.text
            history += [f"{turn.column(self.data.name_column)}: ", content, "\n"]
        pieces = self.loaded.template.fill({HISTORY: history, INSTRUCTION: example.instruction})
        if self.data.input == "text":
            if not example.turn.text:
                raise DataError(f"{example.turn.id}: has no transcript, which the prompt needs in place of the speech")
            pieces = tuple(example.turn.text if isinstance(piece, Speech) else piece for piece in pieces)
        if not self._speaks_history:
            return Prompt(example, pieces, (example.turn,), (samples[0],))
        return Prompt(example, pieces, (example.turn, *example.history), (samples[0], *samples[1 + lost :]))

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
