"""Search for hyper-parameters: trials are ordinary runs that end with their last training, chosen by optuna on dev.

The study lies in ``study.db`` of the search's folder, each trial's run in ``trials/NUMBER``. The same command resumes a
killed search: the trial that was under way goes on from its checkpoint, and the next ones are those that an
uninterrupted search would have chosen.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bigfoot.config import to_dict
from bigfoot.data.augment import stable_seed
from bigfoot.errors import ConfigError, OutputError, TrainingError
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.execute import Turn, list_turns, read_turn
from bigfoot.pipeline.fingerprints import fingerprint
from bigfoot.pipeline.inputs import needs_same_data
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.run import run_pipeline
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import Config, load_config
from bigfoot.report.numbers import format_number, format_seconds
from bigfoot.storage.lock import locked
from bigfoot.storage.places import refuse_remote
from bigfoot.study.space import Space, read_space
from bigfoot.study.tuned import Tuned, TunedTrial
from bigfoot.text.json_files import read_json
from bigfoot.training.observing import observed_by

if TYPE_CHECKING:  # an extra
    import optuna

_STUDY, _SETTINGS, _ATTEMPTS, _REASON = "bigfoot", "settings", "attempts", "reason"


@dataclass(frozen=True)
class TuneRequest:
    """What is searched.

    Args:
        config: YAML file or name of a configuration.
        overrides: ``a.b=c`` each, the same in all trials; ``run_dir`` is the search's folder.
        trials: number of trials, those of earlier calls included.
        space: YAML file of the search space; None for the default one.
    """

    config: str
    overrides: Sequence[str]
    trials: int
    space: str | None = None


def tune(request: TuneRequest, on_progress: Callable[[str], None] = print) -> Tuned:
    """Run trials until there are as many as wanted.

    Args:
        request: what is searched.
        on_progress: called with a line for each trial.

    Returns:
        All trials of the study, also of earlier calls.

    Raises:
        ConfigError: of the run or the space, before anything is done.
        OutputError: the folder holds a study of other settings, or another process searches there.
        TrainingError: the first trials all failed.
    """
    run = load_config(request.config, request.overrides)
    refuse_remote(run.run_dir)
    space = read_space(request.space, request.config, request.overrides, run)
    if problems := find_problems(resolve_plan(apply_scale(run))):
        raise ConfigError(problems)
    turns = [turn for turn in list_turns(run.steps) if turn.step.trains]
    if not turns:
        raise TrainingError(f"steps {run.steps}: nothing is trained, so there is nothing to search for")
    folder = Path(run.run_dir)
    with locked(folder, inside=True):
        search = _Search(request, space, run, turns, folder, on_progress)
        search.run()
        return search.result()


class _Search:
    def __init__(
        self, request: TuneRequest, space: Space, run: Config, turns: Sequence[Turn], folder: Path,
        on_progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna, self._request, self._space, self._run = optuna, request, space, run
        self._turns, self._folder, self._on_progress = turns, folder, on_progress
        settings = space.settings
        pruners = {"none": optuna.pruners.NopPruner(), "median": optuna.pruners.MedianPruner(settings.startup_trials)}
        self._study = optuna.create_study(
            storage=f"sqlite:///{folder.absolute() / 'study.db'}", study_name=_STUDY, load_if_exists=True,
            pruner=pruners[settings.pruner],
        )  # fmt: skip
        own = fingerprint(to_dict(run) | {"run_dir": ""}, repr(space.dimensions))
        if self._study.user_attrs.setdefault(_SETTINGS, own) != own:
            raise OutputError(f"{folder} holds a study of other settings or another space; choose another run_dir")
        self._study.set_user_attr(_SETTINGS, own)

    def run(self) -> None:
        wanted, few = self._request.trials, self._space.settings.startup_trials
        while len(ended := [each for each in self._study.trials if each.state.is_finished()]) < wanted:
            if len(ended) >= few and all(each.state.name == "FAIL" for each in ended):
                reason = ended[-1].user_attrs.get(_REASON)
                raise TrainingError(f"all {len(ended)} trials failed, the last for this: {reason}")
            self._try(self._next(), f"[{len(ended) + 1}/{wanted}]")

    def _next(self) -> optuna.Trial:
        """Return a trial that was under way when the search was killed, else a new one."""
        states = self._optuna.trial.TrialState
        for stopped in self._study.get_trials(deepcopy=False, states=(states.RUNNING,)):
            return self._optuna.Trial(self._study, stopped._trial_id)
        # Of its own for each trial: what is drawn follows from the trials before it, whenever these were.
        seed = stable_seed(self._run.seed, "tune", len(self._study.trials)) % 2**32
        few = self._space.settings.startup_trials
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=few)
        return self._study.ask()

    def _try(self, trial: optuna.Trial, count: str) -> None:
        states, attempts = self._optuna.trial.TrialState, trial.user_attrs.get(_ATTEMPTS, 0)
        start = time.monotonic()
        try:
            values = self._space.suggest(trial)
            trial.set_user_attr(_ATTEMPTS, attempts + 1)
            if attempts > self._space.settings.retries:
                raise TrainingError(f"its process was killed {attempts} times")
            value = self._train(trial, values)
            self._study.tell(trial, value)
            how = f"dev {format_number(value)}"
        except self._optuna.TrialPruned as pruned:
            self._study.tell(trial, state=states.PRUNED)
            how = f"pruned at {pruned}"
        except KeyboardInterrupt:
            trial.set_user_attr(_ATTEMPTS, attempts)
            raise
        except Exception as error:  # one trial in thirty out of memory does not end a search
            trial.set_user_attr(_REASON, f"{type(error).__name__}: {error}"[:500])
            self._study.tell(trial, state=states.FAIL)
            how = f"failed: {error}"
        seconds = time.monotonic() - start
        for checkpoint in self._trial_folder(trial.number).glob("*/checkpoint"):
            shutil.rmtree(checkpoint, ignore_errors=True)
        shown = ", ".join(f"{key}={value}" for key, value in trial.params.items())
        self._on_progress(f"{count} trial {trial.number}: {how} in {format_seconds(seconds)} ({shown})")

    def _train(self, trial: optuna.Trial, values: Sequence[str]) -> float:
        folder = self._trial_folder(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        given = [*self._request.overrides, *values, f"run_dir={folder}"]
        config = load_config(self._request.config, given)
        self._link_data(config, folder)
        starts, total = {}, 0
        for turn in self._turns:
            starts[turn.label] = total
            total += turn.step.section(config).max_steps
        reported = set(self._study.trials[trial.number].intermediate_values)

        def observe(name: str, step: int, error: float | None) -> None:
            place = starts[name] + step
            if error is None or place in reported:
                return
            trial.report(error, place)
            if trial.should_prune():
                raise self._optuna.TrialPruned(f"step {step} of {name}")

        last = self._turns[-1]
        with observed_by(observe):
            run_pipeline(config, until=last.step.name, config_path=self._request.config)
        return read_dev_error(last, folder)

    def _trial_folder(self, number: int) -> Path:
        return self._folder / "trials" / f"{number:04}"

    def _link_data(self, config: Config, folder: Path) -> None:
        """Let a trial read the manifests of the first one, where its own would be the same."""
        first = self._trial_folder(0) / "data"
        wanted = folder / "data"
        if first != wanted and first.is_dir() and not wanted.exists() and needs_same_data(config, self._run):
            wanted.unlink(missing_ok=True)  # a dangling link
            wanted.symlink_to(os.path.relpath(first, folder), target_is_directory=True)

    def result(self) -> Tuned:
        """Collect all trials."""
        found = [
            TunedTrial(
                each.number, each.state.name.lower(), each.value if each.state.name == "COMPLETE" else None,
                {key: dimension.read(each.params[key]) for key, dimension in self._space.dimensions.items()
                 if key in each.params},
                dict(each.intermediate_values), each.user_attrs.get(_REASON, ""),
                str(self._trial_folder(each.number)),
            )
            for each in self._study.trials
        ]  # fmt: skip
        logarithmic = [key for key, dimension in self._space.dimensions.items() if dimension.log]
        return Tuned(self._request.config, list(self._request.overrides), found, logarithmic)


def read_dev_error(turn: Turn, folder: Path) -> float:
    """Read the lowest error on dev of a finished training.

    Args:
        turn: of a step that trains.
        folder: of the run.

    Returns:
        The error by which its best model was selected.

    Raises:
        TrainingError: dev has no score there.
    """
    result = read_turn(turn, folder)
    history = read_json(result.folder / "history.json").get("steps") if result else None
    error = history[-1].get("best_dev_wer") if isinstance(history, list) and history else None
    if not isinstance(error, (int, float)):
        raise TrainingError(f"{turn.label}: dev has no score (no transcripts, or a model without a head)")
    return float(error)
