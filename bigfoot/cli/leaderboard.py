"""``bigfoot leaderboard``: one table of models over corpora, with the open ASR leaderboard's columns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bigfoot.cli.options import MODEL_HELP, ForceOption, may_replace
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

if TYPE_CHECKING:
    from bigfoot.evaluation.leaderboard import Score
    from bigfoot.pipeline.settings import Config
    from bigfoot.storage.ownership import MayReplace


def leaderboard(
    models: Annotated[
        list[str], typer.Argument(help=f"{MODEL_HELP} Also a file that bigfoot export wrote.", metavar="MODEL...")
    ],
    config: Annotated[
        list[str],
        typer.Option(help="YAML file or a name of bigfoot configs: a corpus, and how CTC is decoded; repeatable."),
    ],
    split: Annotated[str, typer.Option(help="dev or test.")] = "test",
    normalizer: Annotated[
        str, typer.Option(help="english and basic are Whisper's; vocabulary leaves texts as they are.")
    ] = "english",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for every configuration, such as data.num_test=100; repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the timed runtime.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the table and the answers.")] = Path("leaderboard"),
    force: ForceOption = False,
) -> None:
    """Evaluate any models on any corpora, with one normalizer for all of them and the speed beside the error rate.

    WER is over words that Whisper's English normalizer leaves (it and basic
    need the extra [leaderboard]), so models of other vocabularies can be compared; RTFx is
    seconds of audio per second of computing on this machine, a figure to
    compare within this table alone (bigfoot benchmark interleaves). A string of
    digits is one number to that normalizer, and so one word: for digits take
    --normalizer vocabulary.

    OUT has leaderboard.csv with the open ASR leaderboard's columns, the same as
    .md with 95 % intervals, and a file of answers for each pair, which that
    leaderboard's own scripts score too. A stopped call goes on where it was.
    For example:

    bigfoot leaderboard tiny_teacher student.onnx --config demo_config.yaml --normalizer vocabulary
    """
    from bigfoot.report.files import encode_text
    from bigfoot.report.leaderboard import render_leaderboard, render_leaderboard_csv
    from bigfoot.storage.lock import locked
    from bigfoot.storage.replace import write_files

    settings = _read_settings(models, config, set_ or [], split, normalizer)
    may, asked = may_replace(force), _Asked(out, split, normalizer, threads)
    with locked(out, inside=True):
        scores = {
            (model, name): score
            for name, each in settings.items()
            for model, score in _score_corpus(models, name, each, asked, may).items()
        }
        ordered = {(model, name): scores[model, name] for model in models for name in settings}
        page = render_leaderboard(ordered, _describe(split, normalizer, threads, settings))
        csv = render_leaderboard_csv(ordered)
        write_files({out / "leaderboard.md": encode_text(page), out / "leaderboard.csv": encode_text(csv)}, may=may)
    typer.echo(page)
    typer.echo(f"Table: {out / 'leaderboard.csv'}")


def _read_settings(
    models: list[str], configs: list[str], overrides: list[str], split: str, normalizer: str
) -> dict[str, Config]:
    """Read the configurations by the names of their corpora in the table, and refuse what cannot be evaluated."""
    from bigfoot.decoding.choose import decoder_problems
    from bigfoot.pipeline.settings import load_config

    if split not in ("dev", "test"):
        raise ConfigError([Problem("--split", "unknown_word", f"{split!r} is neither dev nor test")])
    if doubled := next((name for name in models if models.count(name) > 1), None):
        raise ConfigError([Problem("MODEL", "repeated", f"{doubled} is given twice")])
    found: dict[str, Config] = {}
    for name in configs:
        short = Path(name).stem
        if short in found:
            raise ConfigError([Problem("--config", "repeated", f"{short} is the name of two; rename one of the files")])
        found[short] = load_config(name, [*overrides, f"evaluate.normalizer={normalizer}"])
    problems = [each.under("evaluate") for config in found.values() for each in decoder_problems(config.evaluate)]
    if problems:
        raise ConfigError(problems)
    return found


@dataclass(frozen=True)
class _Asked:
    out: Path
    split: str
    normalizer: str
    threads: int


def _score_corpus(models: list[str], name: str, config: Config, asked: _Asked, may: MayReplace) -> dict[str, Score]:
    """Evaluate all models on a corpus; answers of an earlier call are taken where nothing has changed."""
    from bigfoot.cli.transcribe import open_transcriber
    from bigfoot.data.corpora import prepare_data
    from bigfoot.decoding.settings import SearchConfig
    from bigfoot.evaluation.leaderboard import score_answers, transcribe_timed
    from bigfoot.pipeline.fingerprints import digest_files, fingerprint
    from bigfoot.report.leaderboard import name_answers, read_answers, save_answers

    data = prepare_data(config.data, config.seed, asked.out / "data" / name, None)
    if asked.split not in data.manifests:
        message = f"{name} has no {asked.split} split; it has {', '.join(data.manifests)}"
        raise ConfigError([Problem("--split", "no_split", message)])
    search = {entry.name: getattr(config.evaluate, entry.name) for entry in fields(SearchConfig)}
    lists = digest_files(config.evaluate.lm_path, config.evaluate.lexicon, config.evaluate.hot_words_file)
    scores = {}
    for model in models:
        path = asked.out / name_answers(model, name, asked.split)
        key = fingerprint(_digest_model(model), data.contents[asked.split], search, lists, asked.threads)
        answers = read_answers(path, key)
        if answers is None:
            transcriber = open_transcriber(model, asked.threads, config.evaluate)
            answers = transcribe_timed(transcriber, data.manifests[asked.split], f"{Path(model).name} on {name}")
            save_answers(path, answers, key, may)
        samples = config.evaluate.bootstrap_samples
        scores[model] = score_answers(answers, asked.normalizer, samples=samples, seed=config.seed)
    return scores


def _digest_model(model: str) -> list[str]:
    from bigfoot.cli.transcribe import list_model_files
    from bigfoot.formats.folder import resolve_model
    from bigfoot.measure.deployed import find_deployed
    from bigfoot.pipeline.fingerprints import fingerprint_files
    from bigfoot.storage.digests import digest_file
    from bigfoot.storage.remote import fetch

    exported = find_deployed(fetch(model))
    if exported is None:
        return [fingerprint_files(resolve_model(model))]
    return [digest_file(path) for path in list_model_files(str(exported))]


def _describe(split: str, normalizer: str, threads: int, settings: dict[str, Config]) -> str:
    from bigfoot.decoding.choose import describe_decoder
    from bigfoot.measure.speed import name_processor

    decoders = dict.fromkeys(describe_decoder(config.evaluate) for config in settings.values())
    return (
        f"Split {split}; {', '.join(decoders)}; normalizer: {normalizer}. RTFx: seconds of audio per second of "
        f"computing with {threads} thread{'s' if threads > 1 else ''} of {name_processor()}; models one after the "
        "other, so compare speeds by bigfoot benchmark. The average is over the corpora, each counted once."
    )
