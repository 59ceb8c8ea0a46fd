"""``bigfoot evaluate``: error rates of a model on a corpus."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, JsonOption, ModelArgument, Overrides
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

if TYPE_CHECKING:
    from bigfoot.audio.account import Account
    from bigfoot.evaluation.judge import Judgement


def evaluate(
    model: ModelArgument,
    overrides: Overrides = None,
    config: Annotated[
        str, typer.Option(help="YAML file or a name of bigfoot configs; its data and evaluate sections are read.")
    ] = DEFAULT_CONFIG,
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    run_dir: Annotated[str, typer.Option(help="Folder for the manifests.")] = "runs/evaluate",
    json_output: JsonOption = False,
) -> None:
    """Compute word and character error rate of a model on a corpus, with a confidence interval.

    CTC is decoded by evaluate.decoder; a model's own decoder, if it has one, is
    evaluated too, by evaluate.autoregressive. A speech LLM is evaluated on the
    tasks of a configuration with kind: speech_llm.
    """
    from bigfoot.data.corpora import prepare_data
    from bigfoot.decoding.choose import decoder_problems, unused_options
    from bigfoot.decoding.hot_words import describe_hot_words, hot_word_problems
    from bigfoot.evaluation.judge import judge_model
    from bigfoot.formats.folder import load_model
    from bigfoot.pipeline.settings import load_config
    from bigfoot.pipeline.speech_llm.run import is_speech_llm
    from bigfoot.storage.lock import locked

    if split not in ("dev", "test"):
        raise ConfigError([Problem("--split", "unknown_word", f"{split!r} is neither dev nor test")])
    if is_speech_llm(config):
        with locked(run_dir, inside=True, wait=math.inf, on_wait=partial(typer.echo, err=True)):
            _evaluate_speech_llm(model, config, overrides or [], split, run_dir, json_output)
        return
    settings, loaded = load_config(config, overrides or []), load_model(model)
    tokenizer = loaded.processor.tokenizer
    if problems := [*decoder_problems(settings.evaluate), *hot_word_problems(settings.evaluate, tokenizer)]:
        raise ConfigError([each.under("evaluate") for each in problems])
    unused = unused_options(settings.evaluate, has_decoder=loaded.model.decoder is not None)
    warnings = (f"warning: {each.under('evaluate')}" for each in unused)
    for note in [*warnings, *describe_hot_words(settings.evaluate, tokenizer)]:
        typer.echo(note, err=True)
    characters = None if tokenizer is None else tokenizer.characters
    # Locked until the manifests are read: a process that writes others in this folder waits.
    with locked(run_dir, inside=True, wait=math.inf, on_wait=partial(typer.echo, err=True)):
        data = prepare_data(settings.data, settings.seed, Path(run_dir) / "data", characters)
        _require_split(split, list(data.manifests))
        found = judge_model(loaded, data.manifests[split], settings.evaluate, settings.seed)
    typer.echo(_to_json(found, data.account(split)) if json_output else _describe(found, data.account(split), split))


def _require_split(split: str, splits: Sequence[str]) -> None:
    if split not in splits:
        message = f"the corpus has no {split} split; it has {', '.join(splits)}"
        raise ConfigError([Problem("--split", "no_split", message)])


def _evaluate_speech_llm(
    model: str, config: str, overrides: Sequence[str], split: str, run_dir: str, json_output: bool
) -> None:
    from bigfoot.pipeline.speech_llm.evaluate import evaluate_speech_llm

    scores = evaluate_speech_llm(
        model, config, overrides, split, Path(run_dir), on_note=partial(typer.echo, err=True)
    )
    if json_output:
        typer.echo(json.dumps({task: asdict(score) for task, score in scores.items()}, indent=2))
        return
    for task, score in scores.items():
        interval = "" if score.low is None else f" (95 % interval {score.low:.4f} to {score.high:.4f} by {score.unit})"
        others = ", ".join(f"{name} {value:.4f}" for name, value in score.metrics.items() if name != score.metric)
        value = score.metrics.get(score.metric, math.nan)
        typer.echo(f"{split}, {task}: {score.metric} {value:.4f}{interval}; {others}")
    typer.echo(f"Examples: {run_dir}")


def _to_json(found: Sequence[Judgement], account: Account) -> str:
    first, *others = found
    facts = asdict(first.rate) | ({"by_decoder": asdict(others[0].rate)} if others else {})
    facts["data"] = account.to_dict() | {"rows_without_transcript": account.rows_used - first.rate.num_utterances}
    return json.dumps(facts, indent=2)


def _describe(found: Sequence[Judgement], account: Account, split: str) -> str:
    first_line, *named = account.lines()
    unjudged = account.rows_used - found[0].rate.num_utterances
    without = f"; {unjudged} without a transcript are not evaluated" if unjudged else ""
    return "\n".join([*(each.describe(split) for each in found), f"{split}: {first_line}{without}", *named])
