"""Answers of a speech LLM to examples; none depends on the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bigfoot.decoding.language_model import generate, score_outputs
from bigfoot.models.speech_llm.model import SpeechInput
from bigfoot.models.speech_llm.packing import Layout, name_recordings
from bigfoot.progress import show_work
from bigfoot.tasks.speech_llm.batches import TurnBatch, collate_prompts, move_layouts
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.prompts import PromptBuilder
from bigfoot.tasks.speech_llm.settings import CLASSIFY, FORECAST, ClassifyConfig, SpeechLLMConfig
from bigfoot.text.prompts import HISTORY, INSTRUCTION, Speech


@dataclass(frozen=True)
class Answered:
    """An example with the model's answer.

    Args:
        example: with its reference.
        prompt: in letters, see ``Prompt.text``.
        prediction: the text that was generated, or the label chosen.
        scores: of a classification, the score of each label in nats; of a forecast, the log-likelihood of the
            reference and its number of tokens.
    """

    example: Example
    prompt: str
    prediction: str
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a line of the file of examples: the metadata columns of the input come along."""
        turn = self.example.turn
        return {
            "id": turn.id, "task": self.example.task, "dialogue": turn.dialogue, "speaker": turn.speaker,
            "audio": str(turn.audio), "start": turn.start, "end": turn.end, "prompt": self.prompt,
            "answer": self.example.answer, "prediction": self.prediction,
            "scores": {name: round(value, 4) for name, value in self.scores.items()},
            "metadata": dict(turn.metadata),
        }  # fmt: skip


@torch.no_grad()
def answer_examples(
    examples: Sequence[Example], builder: PromptBuilder, config: SpeechLLMConfig, labels: Sequence[str]
) -> list[Answered]:
    """Answer examples of one task.

    Args:
        examples: of a task.
        builder: with the model, in eval mode.
        config: of the run: instructions, lengths, batch size.
        labels: of a classification.

    Returns:
        Answers in the same order.
    """
    builder.loaded.model.eval()
    found: list[Answered] = []
    size = config.evaluate.batch_size
    task = examples[0].task
    free = _score_content_free(builder, config.classify, labels) if task == CLASSIFY else []
    with show_work(f"evaluating {task}", len(examples), "prompts") as work:
        for first in range(0, len(examples), size):
            here = examples[first : first + size]
            if task == CLASSIFY:
                found += _classify(here, builder, config.classify, labels, free)
            else:
                found += _write(here, builder, config)
            work.advance(len(here))
    return found


def _embed(builder: PromptBuilder, batch: TurnBatch) -> list[Tensor]:
    model = builder.loaded.model
    if not name_recordings(batch.layouts):
        return []
    moved = batch.to(model.device)
    return model.embed_speech(SpeechInput(moved.input_values, moved.attention_mask))


def _classify(
    examples: Sequence[Example], builder: PromptBuilder, config: ClassifyConfig, labels: Sequence[str],
    free: Sequence[float],
) -> list[Answered]:  # fmt: skip
    room = max(builder.count_answer(label) for label in labels)
    prompts = [builder.build(example, room) for example in examples]
    batch = collate_prompts(builder, prompts, [None] * len(prompts))
    scores = _score_labels(builder, batch.layouts, _embed(builder, batch), labels, config)
    found = []
    for example, prompt, row in zip(examples, prompts, scores, strict=True):
        calibrated = [score - base for score, base in zip(row, free, strict=True)]
        best = max(range(len(labels)), key=calibrated.__getitem__)
        found.append(Answered(example, prompt.text, labels[best], dict(zip(labels, calibrated, strict=True))))
    return found


def _score_labels(
    builder: PromptBuilder, layouts: Sequence[Layout], recordings: Sequence[Tensor], labels: Sequence[str],
    config: ClassifyConfig,
) -> list[list[float]]:  # fmt: skip
    """Score every label after every prompt; a row of labels a prompt."""
    outputs = [builder.loaded.tokens.lay_out([""], label).output for label in labels]
    device = builder.loaded.model.device
    columns = []
    for output in outputs:
        examples = move_layouts([Layout(layout.pieces, output) for layout in layouts], device)
        columns.append(score_outputs(builder.loaded.model, examples, recordings, per_token=config.length_normalized))
    return [list(row) for row in zip(*columns, strict=True)]


def _score_content_free(builder: PromptBuilder, config: ClassifyConfig, labels: Sequence[str]) -> list[float]:
    """Score the labels after the prompt without speech, transcript and history; zeros where that is not asked for."""
    if not config.calibrate:
        return [0.0] * len(labels)
    pieces = builder.loaded.template.fill({HISTORY: "", INSTRUCTION: config.instruction})
    layout = builder.loaded.tokens.lay_out([piece for piece in pieces if not isinstance(piece, Speech)])
    return _score_labels(builder, [layout], [], labels, config)[0]


def _write(examples: Sequence[Example], builder: PromptBuilder, config: SpeechLLMConfig) -> list[Answered]:
    """Generate texts, and score the references of forecasts."""
    task, model = examples[0].task, builder.loaded.model
    longest = config.forecast.most_new_tokens if task == FORECAST else config.transcribe.most_new_tokens
    # By each example alone: how much of its history fits must not depend on its batch.
    rooms = [max(longest, builder.count_answer(example.answer)) for example in examples]
    prompts = [builder.build(example, room) for example, room in zip(examples, rooms, strict=True)]
    batch = collate_prompts(builder, prompts, [None] * len(prompts))
    recordings = _embed(builder, batch)
    moved = batch.to(model.device)
    outputs = generate(model, moved.layouts, recordings, most_new_tokens=longest)
    for example, output in zip(examples, outputs, strict=True):
        builder.cuts.answers[example.key] = len(output) >= longest
    scores: list[dict[str, float]] = [{} for _ in examples]
    if task == FORECAST:
        references = builder.lay_out(prompts, [example.answer for example in examples])
        scored = score_outputs(model, move_layouts(references, model.device), recordings)
        for row, layout, value in zip(scores, references, scored, strict=True):
            row |= {"log_likelihood": value, "tokens": len(layout.output)}
    texts = [builder.loaded.tokens.decode(output).strip() for output in outputs]
    return [
        Answered(example, prompt.text, text, row)
        for example, prompt, text, row in zip(examples, prompts, texts, scores, strict=True)
    ]
