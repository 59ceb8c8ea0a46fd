"""Examples of a task: a turn, the turns before it, and the answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bigfoot.data.turns import Turn, read_turns
from bigfoot.errors import DataError
from bigfoot.tasks.speech_llm.settings import (
    CLASSIFY,
    FORECAST,
    TRANSCRIBE,
    ClassifyConfig,
    SpeechLLMConfig,
    TurnsConfig,
)

_BOOLEANS = {"True": "true", "False": "false"}
"""A value of YAML, and how it stands in JSON."""


@dataclass(frozen=True)
class Example:
    """A prompt and its answer.

    Args:
        task: of ``TASKS``.
        turn: stands at ``{audio}``.
        history: turns before it, oldest first.
        instruction: stands at ``{instruction}``.
        answer: the reference.
    """

    task: str
    turn: Turn
    history: tuple[Turn, ...]
    instruction: str
    answer: str

    @property
    def id(self) -> str:
        """Unique among the examples of a file."""
        return f"{self.turn.id}/{self.task}"

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turn, and those before it."""
        return (self.turn, *self.history)

    @property
    def key(self) -> str:
        """Unique among the examples of several files too, whose turns may have the same names."""
        return f"{self.id} {self.turn.place}"


def read_examples(path: str | Path, config: SpeechLLMConfig, tasks: Sequence[str] = ()) -> list[Example]:
    """Read the examples of a file of turns.

    Args:
        path: see ``bigfoot.data.turns``.
        config: of the run.
        tasks: of ``TASKS``; all of the run by default.

    Returns:
        Examples by task, in the file's order.

    Raises:
        DataError: the file cannot be read, or a task has no example in it.
    """
    dialogues = read_turns(path)
    found: list[Example] = []
    for task in tasks or config.tasks:
        here = list(_examples(dialogues, task, config))
        if not here:
            raise DataError(f"{path}: no turn is an example of {task}; {_describe_missing(task, config)}")
        found += here
    return found


def _describe_missing(task: str, config: SpeechLLMConfig) -> str:
    wanted = {
        TRANSCRIBE: "a transcript under text", CLASSIFY: f"a label under {config.classify.column}",
        FORECAST: "a following turn with a transcript",
    }  # fmt: skip
    chosen = f" and {config.data.where} (data.where)" if config.data.where else ""
    return f"it needs {wanted[task]}{chosen}"


def _examples(dialogues: Sequence[Sequence[Turn]], task: str, config: SpeechLLMConfig) -> Iterator[Example]:
    for turns in dialogues:
        for number, turn in enumerate(turns):
            answer = _find_answer(turns, number, task, config)
            if answer and _is_chosen(turn, config.data):
                first = max(0, number - config.data.history_turns)
                yield Example(task, turn, tuple(turns[first:number]), config.section(task).instruction, answer)


def _is_chosen(turn: Turn, data: TurnsConfig) -> bool:
    return all(turn.column(name) in (value, _BOOLEANS.get(value)) for name, value in data.where.items())


def _find_answer(turns: Sequence[Turn], number: int, task: str, config: SpeechLLMConfig) -> str:
    if task == TRANSCRIBE:
        return turns[number].text
    if task == CLASSIFY:
        label = turns[number].column(config.classify.column)
        return label if label.strip() else ""
    return turns[number + 1].text if number + 1 < len(turns) else ""


def find_labels(config: ClassifyConfig, train: Sequence[Example], test: Sequence[Example] = ()) -> list[str]:
    """Return the labels of a classification: those configured, or those of train in order of the alphabet.

    Args:
        config: of the task.
        train: examples, those of other tasks are passed over.
        test: others, whose labels must be among them.

    Raises:
        DataError: an example has another label, or there are fewer than two labels, or one without letters.
    """
    here = [example for example in train if example.task == CLASSIFY]
    labels = [*config.labels] or sorted({example.answer for example in here})
    for example in (*here, *test):
        if example.task == CLASSIFY and example.answer not in labels:
            raise DataError(f"{example.turn.id}: label {example.answer!r} is none of {', '.join(labels)}")
    if len(set(labels)) < 2 or len(set(labels)) < len(labels) or not all(map(str.strip, labels)):
        raise DataError(f"classify: expected two labels or more, each once and none of them blank, got {labels}")
    return labels
