"""A run on text: examples, training, evaluation and report in one folder; the same command resumes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed

from bigfoot.audio.account import Account
from bigfoot.config import Problem, read_settings, to_dict
from bigfoot.config.reading import save_config
from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.settings import DataConfig
from bigfoot.errors import ConfigError
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import find_labels, name_ratings
from bigfoot.pipeline.fingerprints import digest_files, fingerprint, fingerprint_files
from bigfoot.pipeline.rows import describe_machine
from bigfoot.pipeline.run import start_logging
from bigfoot.pipeline.run_folder import sole_run
from bigfoot.report.rows import Report, Row
from bigfoot.report.writer import save_report
from bigfoot.storage.digests import find_damage
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.remote import fetch
from bigfoot.storage.replace import replacing
from bigfoot.storage.state import read_state, write_state
from bigfoot.tasks.folds import pack_answers, pack_floors
from bigfoot.tasks.gains import add_floors_, compare_with_floors
from bigfoot.tasks.labels import balanced_weights, describe_few_labels, describe_unread
from bigfoot.tasks.text.examples import read_examples
from bigfoot.tasks.text.floors import measure_text_floors
from bigfoot.tasks.text.folder import LoadedText, build_text, load_text, save_text
from bigfoot.tasks.text.judge import TextJudge, answer_examples, score_result
from bigfoot.tasks.text.objective import TextObjective
from bigfoot.tasks.text.settings import RETRIEVAL, TrainTextConfig
from bigfoot.tasks.text.texts import rewrite_texts
from bigfoot.tasks.text.trainer import TextTrainer
from bigfoot.text.tokenizers import Processor
from bigfoot.training.run import TrainingRun

log = logging.getLogger("bigfoot")

_UNCOUNTED = ("run_dir", "trackers", "csv", "dev", "test", "floors")
"""Settings that the model does not depend on: what the tables hold counts."""
Splits = Mapping[str, Sequence[ListedUtterance]]


@dataclass(frozen=True)
class _Facts:
    """Content of ``facts.json``, which vouches for the trained model.

    Args:
        fingerprint: of settings and inputs.
        seconds: of training.
        best_step: of the selected checkpoint.
        records: lines of losses and dev scores.
        notes: problems and their remedies.
    """

    fingerprint: str
    seconds: float
    best_step: int
    records: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_text_config(path: str | Path | None, overrides: Sequence[str]) -> TrainTextConfig:
    """Read the settings of a run on text.

    Args:
        path: YAML file; None for the defaults.
        overrides: ``a.b=c`` each.

    Raises:
        ConfigError: with all that is wrong.
    """
    config, problems = read_settings(TrainTextConfig, path, overrides)
    if problems:
        raise ConfigError(problems)
    return config


def run_text(config: TrainTextConfig) -> Report:
    """Train a text model, evaluate it and write its report.

    Args:
        config: without problems.

    Returns:
        The report; it lies in ``run_dir/report`` too.

    Raises:
        DataError: a table cannot be used.
        ModelError: a model cannot be loaded.
        ConfigError: settings that the models at hand do not allow.
    """
    run_dir = Path(config.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with sole_run(run_dir):
        start_logging(run_dir)
        with replacing(run_dir / "config.yaml", may=OWN_OR_EDITED) as beside:
            save_config(config, beside)
        given, accounts = read_examples(config)
        # So that no seed of the loop depends on what was loaded before.
        set_seed(config.seed)
        splits = rewrite_texts(given, config)
        facts = _train(config, splits, run_dir)
        report = _report(config, splits, accounts, facts, run_dir)
        save_report(report, run_dir / "report")
        return report


def _digest_inputs(config: TrainTextConfig, splits: Splits) -> str:
    """Digest of settings, examples, audio and models; where the run lies does not count."""
    settings = {key: value for key, value in to_dict(config).items() if key not in _UNCOUNTED}
    models = [fingerprint_files(fetch(path)) for path in _models(config)]
    listed = {split: [[item.id, item.text, dict(item.labels)] for item in items] for split, items in splits.items()}
    paths = sorted({str(item.path) for items in splits.values() for item in items}) if config.speech.is_used else []
    return fingerprint(settings, models, listed, digest_files(*paths))


def _models(config: TrainTextConfig) -> list[str]:
    return [path for path in (config.model, config.speech.encoder, config.speech.phonemes) if path]


def _train(config: TrainTextConfig, splits: Splits, run_dir: Path) -> _Facts:
    """Train, unless the model of these settings and inputs is there already."""
    expected, model = _digest_inputs(config, splits), run_dir / "model"
    facts, reason = read_state(run_dir / "facts.json", _Facts)
    if facts is not None and facts.fingerprint == expected and not (reason := find_damage(model)):
        log.info("train_text: nothing has changed, skipped")
        return facts
    if reason:
        log.warning("train_text: %s; trained again", reason)
    shape, keep_head = build_shape(config, splits), config.head == "kept"
    loaded = build_text(config.model, shape, config.speech, config.max_tokens, config.seed, keep_head)
    attributes = [item.labels for item in splits["train"]]
    balanced = config.class_weights == "balanced" and config.kind != "regression" and config.task_weight
    weights = balanced_weights(loaded.model.shape, attributes) if balanced else []
    judge: Any = TextJudge(loaded.reader, splits["dev"], config.batch_size, config.chosen_metric)
    run = TrainingRun(
        name="train_text", config=config, data=DataConfig(), processor=loaded.reader.processor or Processor(),
        manifests={}, folder=run_dir, seed=config.seed, fingerprint=expected, precision=config.precision,
        trackers=config.trackers, eval_batch_size=config.batch_size, judge=judge,
    )  # fmt: skip
    objective = TextObjective(config, loaded.model, weights)
    trained = TextTrainer(objective, run, loaded, splits["train"], config.batch_size).train()
    best = load_text(trained.best)
    save_text(best, best.model, model)
    facts = _Facts(expected, round(trained.seconds, 1), trained.best_step, trained.records, trained.notes)
    write_state(run_dir / "facts.json", facts)
    return facts


def build_shape(config: TrainTextConfig, splits: Splits) -> TaskShape:
    """Build the shape of the task from the settings and the labels of train.

    Args:
        config: of the run.
        splits: examples.

    Raises:
        ConfigError: fewer than two classes.
    """
    if not config.task_weight:
        return TaskShape(kind="regression", labels=["none"], column="")
    found = [item.labels for item in splits["train"]]
    labels = config.labels or (name_ratings(config.edges) if config.edges else
                               find_labels(config.kind, config.column, found))  # fmt: skip
    if len(labels) < {"single_label": 2, "ordinal": 2}.get(config.kind, 1):
        raise ConfigError([Problem("column", "empty", describe_few_labels(config.column, labels))])
    return TaskShape(kind=config.kind, labels=labels, column="" if config.kind == "regression" else config.column,
                     edges=list(config.edges))  # fmt: skip


def _report(
    config: TrainTextConfig, splits: Splits, accounts: Mapping[str, Account], facts: _Facts, run_dir: Path
) -> Report:
    loaded = load_text(run_dir / "model")
    rows: list[Row] = []
    tasks: list[dict[str, Any]] = []
    for split in ("dev", "test"):
        if split in splits:
            row, task = _judge(loaded, splits, split, config)
            row.size_bytes = sum(path.stat().st_size for path in (run_dir / "model").rglob("*.safetensors"))
            rows.append(row)
            tasks.append(task)
    skipped = [
        {"split": split, "id": "", "path": item.name, "reason": item.reason}
        for split, account in accounts.items() for item in account.left_out
    ]  # fmt: skip
    notes = [f"examples: {', '.join(f'{len(items)} {split}' for split, items in splits.items())}"]
    if cut := {split: count for split, items in splits.items() if (count := loaded.reader.count_cut(items))}:
        named = ", ".join(f"{count} of {split}" for split, count in cut.items())
        notes.append(f"texts cut to max_tokens={config.max_tokens}: {named}")
    beaten = compare_with_floors(tasks)
    for sentence in beaten:
        log.info("%s", sentence)
    notes += beaten
    title = f"speech beside text, {config.contrastive.loss.replace('_', ' ')}"
    if config.task_weight:
        title = f"text task, {config.kind.replace('_', '-')}"
        found = (describe_unread(loaded.model.shape, [item.labels for item in items], split)
                 for split, items in splits.items())  # fmt: skip
        notes += filter(None, found)
    return Report(
        title=title, rows=rows, seconds_per_step={"train_text": facts.seconds},
        skipped=skipped, losses={"train_text": facts.records}, notes=[*notes, *facts.notes],
        config=to_dict(config), machine=describe_machine(), tasks=tasks,
    )  # fmt: skip


def _judge(
    loaded: LoadedText, splits: Splits, split: str, config: TrainTextConfig
) -> tuple[Row, dict[str, Any]]:
    result = answer_examples(loaded.model, loaded.reader, splits[split], config.batch_size)
    score = score_result(result, config.chosen_metric, config.bootstrap_samples, config.seed)
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    row = Row("train_text", "train_text", split, decoder="text classifier", num_unique_params=parameters)
    row.metric, row.metrics, row.score = score.metric, score.metrics, score.metrics.get(score.metric)
    row.score_low, row.score_high = score.low, score.high
    row.num_utterances, row.bootstrap_unit = score.num_utterances, score.unit
    row.wer_missing_reason = "a text task"
    task = {
        "name": row.name, "split": split, "kind": config.kind, "labels": list(loaded.model.shape.labels),
        "per_class": score.per_class, "confusion": score.confusion, "shape": dataclasses.asdict(loaded.model.shape),
        **score.entry,
    }  # fmt: skip
    if score.metric == RETRIEVAL:
        task["labels"] = []
    elif config.floors:
        draws = config.bootstrap_samples, config.seed
        scores = measure_text_floors(loaded.model.shape, splits["train"], splits[split], score.metric, *draws)
        add_floors_([task], {row.name: result.answers}, scores, *draws)
        if config.split.folds:
            task["floor_answers"] = pack_floors(scores)
    if result.retrieval is not None:
        task.setdefault("floors", {})["chance"] = {RETRIEVAL: 1 / len(splits[split])}
    if config.split.folds and score.metric != RETRIEVAL:
        task["answers"] = pack_answers(result.answers)
    return row, task
