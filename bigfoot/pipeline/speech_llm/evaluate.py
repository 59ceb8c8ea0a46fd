"""Evaluate a speech LLM by a configuration, outside of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bigfoot.config import Problem, read_settings
from bigfoot.data.turns import check_recordings
from bigfoot.errors import ConfigError
from bigfoot.formats.speech_llm import load_speech_llm
from bigfoot.pipeline.speech_llm.rows import SPLIT, judge_task, write_answers
from bigfoot.tasks.speech_llm.examples import read_examples
from bigfoot.tasks.speech_llm.prompts import PromptBuilder
from bigfoot.tasks.speech_llm.scores import AnswerScore
from bigfoot.tasks.speech_llm.settings import SpeechLLMConfig


def evaluate_speech_llm(
    model: str, path: str, overrides: Sequence[str], split: str, folder: Path,
    on_note: Callable[[str], None] = lambda _: None,
) -> dict[str, AnswerScore]:  # fmt: skip
    """Evaluate a model on the tasks of a configuration.

    Args:
        model: folder of a speech LLM.
        path: YAML file with ``kind: speech_llm``, or a name of ``bigfoot configs``.
        overrides: ``key=value`` each.
        split: ``dev`` or ``test``.
        folder: where a file of examples is written for each task.
        on_note: called with what was cut.

    Returns:
        Scores by task.

    Raises:
        ConfigError: with all problems.
        DataError: see ``read_examples`` and ``check_recordings``.
    """
    given = [*overrides, "steps=[]", f"start={model}"]
    config, problems = read_settings(SpeechLLMConfig, path, given)
    # The split that is asked for is the only one that is needed.
    problems = [problem for problem in problems if problem.key != "data.test"]
    if not getattr(config.data, split):
        problems.append(Problem(f"data.{split}", "missing", "name a file of turns"))
    if problems:
        raise ConfigError(problems)
    examples = {SPLIT: read_examples(getattr(config.data, split), config)}
    if config.data.train and not config.classify.labels:
        examples["train"] = read_examples(config.data.train, config)
    check_recordings(turn for example in examples[SPLIT] for turn in example.turns)
    loaded = load_speech_llm(model, trust_remote_code=config.language_model.trust_remote_code)
    scores = {}
    for task in config.tasks:
        builder = PromptBuilder(loaded, config.data)
        answered, scores[task] = judge_task(builder, config, task, examples)
        write_answers(answered, folder / f"examples_{split}_{task}.jsonl")
        for note in builder.cuts.describe(f"{split}, {task}"):
            on_note(note)
    return scores
