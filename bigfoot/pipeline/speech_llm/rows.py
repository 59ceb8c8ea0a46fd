"""Rows, tables and examples of a speech LLM's report."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile
from accelerate import PartialState

from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.rows import collect_versions
from bigfoot.pipeline.speech_llm.steps import START, SpeechLLMRun
from bigfoot.report.rows import Row
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.replace import replacing
from bigfoot.tasks.speech_llm.answers import Answered, answer_examples
from bigfoot.tasks.speech_llm.examples import Example, find_labels
from bigfoot.tasks.speech_llm.facts import ModelFacts, measure_facts
from bigfoot.tasks.speech_llm.floors import measure_floors
from bigfoot.tasks.speech_llm.prompts import PromptBuilder
from bigfoot.tasks.speech_llm.scores import AnswerScore, score_task
from bigfoot.tasks.speech_llm.settings import CLASSIFY, TRANSCRIBE, SpeechLLMConfig

log = logging.getLogger("bigfoot")

SPLIT = "test"
_PLAYED = 12
_SAMPLE_RATE = 16_000


@dataclass
class Findings:
    """What a report is made of.

    Args:
        rows: one a model and task.
        tasks: of ``Report.tasks``.
        examples: of ``Report.examples``, of the last model.
        notes: remarks.
    """

    rows: list[Row] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    examples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure_models(run: SpeechLLMRun, folder: Path, config_path: str | None) -> Findings:
    """Evaluate the models of a run on test.

    Args:
        run: with the results of all steps.
        folder: of the report, where the files of examples are written.
        config_path: recorded in the rows.
    """
    found = Findings()
    chosen = [result for result in run.results if result.row != START] or run.results
    for result in chosen if run.config.evaluate.every_step else chosen[-1:]:
        loaded = run.load(result)
        loaded.model.to(PartialState().device)
        builder = PromptBuilder(loaded, run.config.data)
        facts = measure_facts(builder, run.examples[SPLIT], speed=run.config.evaluate.measure_speed)
        for task in run.config.tasks:
            log.info("evaluating %s on %s, %s", result.row, SPLIT, task)
            answered, score = judge_task(builder, run.config, task, run.examples)
            found.rows.append(_fill_row(result, run.config, task, score, facts, len(answered), config_path))
            found.tasks.append(_fill_task(result.row, run.config, task, score, facts, run.examples))
            write_answers(answered, folder / f"examples_{result.row}_{task}.jsonl")
            if result is chosen[-1]:
                found.examples += show_examples(answered, result.row)
        found.notes += builder.cuts.describe(f"{result.row}, {SPLIT}")
    _add_floors(found.tasks, run)
    return found


def judge_task(
    builder: PromptBuilder, config: SpeechLLMConfig, task: str, examples: dict[str, list[Example]]
) -> tuple[list[Answered], AnswerScore]:
    """Answer and score the examples of a task on test.

    Args:
        builder: with the model.
        config: of the run.
        task: of ``TASKS``.
        examples: by split.
    """
    here = [example for example in examples[SPLIT] if example.task == task]
    labels = _labels(config, task, examples)
    answered = answer_examples(here, builder, config, labels)
    samples = config.evaluate.bootstrap_samples
    return answered, score_task(answered, labels, config.classify.metric, samples, config.seed)


def _labels(config: SpeechLLMConfig, task: str, examples: dict[str, list[Example]]) -> list[str]:
    if task != CLASSIFY:
        return []
    return find_labels(config.classify, examples.get("train", examples[SPLIT]), examples[SPLIT])


def _name(row: str, config: SpeechLLMConfig, task: str) -> str:
    return row if len(config.tasks) == 1 else f"{row}, {task}"


def _fill_row(
    result: StepResult, config: SpeechLLMConfig, task: str, score: AnswerScore, facts: ModelFacts, count: int,
    config_path: str | None,
) -> Row:  # fmt: skip
    size = sum(file.stat().st_size for file in result.folder.rglob("*.safetensors"))
    total = sum(facts.parameters.values())
    row = Row(
        name=_name(result.row, config, task), step=result.row, split=SPLIT, decoder=task,
        protocol=f"{task} by a speech LLM, after step {result.row}", num_utterances=count,
        bootstrap_unit=score.unit, num_params=total, num_unique_params=total, size_bytes=size,
        batch_invariant=facts.batch_invariant, batch_invariance_max_difference=facts.largest_difference,
        seconds=result.seconds, config_path=config_path, seed=config.seed, versions=collect_versions(),
        metrics=score.metrics | facts.metrics(),
    )  # fmt: skip
    if task == TRANSCRIBE:
        row.wer, row.cer = score.metrics.get("wer"), score.metrics.get("cer")
        row.wer_low, row.wer_high = score.low, score.high
    else:
        row.metric, row.score = score.metric, score.metrics.get(score.metric)
        row.score_low, row.score_high = score.low, score.high
    return row


def _fill_task(
    row: str, config: SpeechLLMConfig, task: str, score: AnswerScore, facts: ModelFacts,
    examples: dict[str, list[Example]],
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": row, "split": f"{SPLIT}, {task}", "kind": task, "labels": _labels(config, task, examples),
        "metrics": score.metrics | facts.metrics(), "interval": [score.low, score.high], "metric": score.metric,
        "per_class": score.per_class, "confusion": score.confusion, "parameters": facts.parameters,
    }  # fmt: skip


def _add_floors(tasks: Sequence[dict[str, Any]], run: SpeechLLMRun) -> None:
    first = next((task for task in tasks if task["kind"] == CLASSIFY), None)
    if first is None or "train" not in run.examples:
        return
    config = run.config.classify
    scores = measure_floors(
        run.examples["train"], run.examples[SPLIT], first["labels"], config.floor_columns, config.metric,
        run.config.evaluate.bootstrap_samples, run.config.seed,
    )  # fmt: skip
    first["floors"] = {name: score.metrics for name, score in scores.items()}
    first["floor_intervals"] = {name: [score.low, score.high] for name, score in scores.items()}


def write_answers(answered: Sequence[Answered], path: Path) -> None:
    """Write one line of JSON an example: prompt, answer, prediction, scores, and the metadata of the input.

    Args:
        answered: of a task.
        path: of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, may=OWN_OR_EDITED) as beside:
        lines = (json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in answered)
        beside.write_text("".join(lines), encoding="utf-8")


def show_examples(answered: Sequence[Answered], model: str) -> list[dict[str, Any]]:
    """Choose examples for the report's page, wrong ones first, with their audio.

    Args:
        answered: of a task.
        model: name of the row.
    """
    wrong = [item for item in answered if item.prediction != item.example.answer]
    right = [item for item in answered if item.prediction == item.example.answer]
    half = _PLAYED // 2
    chosen = [*wrong[: max(half, _PLAYED - len(right))], *right][:_PLAYED]
    return [item.to_dict() | {"model": model, "sound": _encode_sound(item)} for item in chosen]


def _encode_sound(item: Answered) -> str:
    """Return the turn's audio as a data URI, so that the page needs no other file."""
    content = io.BytesIO()
    soundfile.write(content, item.example.turn.read(_SAMPLE_RATE), _SAMPLE_RATE, format="FLAC")
    return "data:audio/flac;base64," + base64.b64encode(content.getvalue()).decode()
