"""One run of a comparison: an ordinary run without its report, and its results.

    python -m bigfoot.study.trial --config methods/bigfoot.yaml [key=value ...]

Only what differs from run to run is measured here; the teacher, and speed, are measured once for all runs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bigfoot.data.manifests import load_prepared
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.formats.folder import load_model
from bigfoot.measure.size import measure_size
from bigfoot.pipeline.execute import Turn, list_turns, read_turn
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.run import run_pipeline
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import Config, load_config
from bigfoot.pipeline.teacher import teacher_path
from bigfoot.report.files import write_whole
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.state import encode_state, read_state
from bigfoot.study.inputs import digest_inputs

RESULT = "trial.json"
_SPLIT = "test"


@dataclass(frozen=True)
class Trial:
    """Results of a run.

    Args:
        key: of its plan.
        model: folder of its final model.
        wer: of that model, greedy, a fraction.
        references: transcripts, one per utterance.
        hypotheses: outputs of that model.
        speakers: one per utterance.
        start: row of the model as first initialized from the teacher; empty for the teacher itself.
        start_wer: of that model.
        losses: by training step, the loss of its first record and the mean over its last fifth.
        train_seconds: of all training steps together.
        steps: optimizer steps by training step.
        num_params: unique parameters of the final model.
        macs_per_second: of audio.
        size_bytes: of its weights.
        notes: problems, one sentence each.
        inputs: digest of what it was made of; see ``digest_inputs``.
    """

    key: str
    model: str
    wer: float
    references: list[str]
    hypotheses: list[str]
    speakers: list[str]
    num_params: int
    macs_per_second: int
    size_bytes: int | None
    start: str = ""
    start_wer: float | None = None
    losses: dict[str, list[float]] = field(default_factory=dict)
    train_seconds: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    inputs: str = ""


def run_trial(config: Config, key: str, config_path: str | None = None) -> Trial:
    """Run a method and write ``trial.json`` beside its steps.

    Args:
        config: of the run; without steps it is the teacher alone.
        key: stored in the result, to check whether it still belongs to the plan.
        config_path: of the method's file.

    Returns:
        Its results; finished work is skipped.

    Raises:
        BigfootError: as ``run_pipeline``.
    """
    config, folder = apply_scale(config), Path(config.run_dir)
    run_pipeline(config, until=config.steps[-1] if config.steps else "teacher", config_path=config_path)
    turns = list_turns(config.steps)
    found = {turn: read_turn(turn, folder) for turn in turns}
    results = {turn: result for turn, result in found.items() if result is not None}
    last = str(results[turns[-1]].folder) if turns else teacher_path(config)
    trial = replace(_judge(config, key, last, results), inputs=digest_inputs(config, last))
    write_whole(folder / RESULT, encode_state(trial), sign=RESULT, key="wer", may=OWN_OR_EDITED)
    return trial


def read_trial(folder: Path, key: str, on_damage: Callable[[str], None] = lambda _: None) -> Trial | None:
    """Read the result of a run.

    Args:
        folder: of the run.
        key: of its plan.
        on_damage: called with the reason where a result is there and cannot be used.

    Returns:
        None if it is unfinished, damaged, or belongs to another plan.
    """
    trial, reason = read_state(folder / RESULT, Trial)
    if trial is None or trial.key != key:
        if reason:
            on_damage(reason)
        return None
    if trial.start:
        # The folder may have been moved or copied since; the final model is the one in it.
        model = Path(trial.model)
        trial = replace(trial, model=str(folder / model.parent.name / model.name))
    return trial if Path(trial.model).is_dir() or not trial.start else None


def _judge(config: Config, key: str, last: str, results: dict[Turn, StepResult]) -> Trial:
    manifest = load_prepared(Path(config.run_dir) / "data").manifests[_SPLIT]
    loaded = load_model(last)
    accuracy = evaluate_accuracy(loaded, manifest, config.evaluate, config.seed)
    size = measure_size(loaded.model, loaded.folder)
    trained = {turn.label: result for turn, result in results.items() if result.records}
    cut = [result for turn, result in results.items() if turn.step.reshapes or not turn.step.trains]
    started = evaluate_accuracy(load_model(cut[0].folder), manifest, config.evaluate, config.seed) if cut else None
    transcripts = accuracy.transcripts
    return Trial(
        key=key, model=last, wer=_known(accuracy.error_rate.wer), references=transcripts.references,
        hypotheses=transcripts.hypotheses, speakers=transcripts.speakers, num_params=size.num_unique_params,
        macs_per_second=size.macs_per_second, size_bytes=size.size_bytes,
        start=cut[0].row if cut else "", start_wer=None if started is None else started.error_rate.wer,
        losses={label: summarize_losses(result.records) for label, result in trained.items()},
        train_seconds=round(sum(result.seconds for result in trained.values()), 1),
        steps={label: int(result.records[-1]["step"]) for label, result in trained.items()},
        notes=[f"{turn.label}: {note}" for turn, result in results.items() for note in result.notes],
    )  # fmt: skip


def _known(wer: float | None) -> float:
    assert wer is not None  # the corpora of comparisons have transcripts
    return wer


def summarize_losses(records: Sequence[dict[str, Any]]) -> list[float]:
    """Return the loss at the start and at the end of a training.

    Args:
        records: of a training step, some with ``loss``.

    Returns:
        The first loss, and the mean of the last fifth.

    Examples:
        >>> summarize_losses([{"step": step, "loss": 10.0 - step} for step in range(10)])
        [10.0, 1.5]
    """
    losses = [float(record["loss"]) for record in records if "loss" in record]
    return [losses[0], statistics.fmean(losses[-max(1, len(losses) // 5) :])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one trial; ``recipes/compare_methods.py`` starts this in a process for each."""
    parser = argparse.ArgumentParser(description="One run of a comparison of methods.")
    parser.add_argument("--config", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    trial = run_trial(load_config(given.config, given.overrides), given.key, given.config)
    print(f"WER {trial.wer:.2%} after {trial.train_seconds:.0f} s of training")


if __name__ == "__main__":
    from bigfoot.errors import BigfootError

    try:
        main()
    except BigfootError as error:
        raise SystemExit(f"error: {error}") from None
