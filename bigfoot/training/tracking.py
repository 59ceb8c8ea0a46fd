"""Trackers of training curves: TensorBoard, Weights & Biases, MLflow and Comet, through accelerate's classes."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accelerate.tracking import CometMLTracker, GeneralTracker, MLflowTracker, TensorBoardTracker, WandBTracker

from bigfoot.config import Problem
from bigfoot.install import package_hint

log = logging.getLogger("bigfoot")

PROJECT = "bigfoot"
"""Project (MLflow: experiment) of all runs, unless the tracker's own environment variable names another."""


@dataclass(frozen=True)
class Tracked:
    """What trackers call a training, and where they may write.

    Args:
        step: of the run, such as ``distill``.
        run_dir: of the run; whatever is kept on this machine goes below it.
        settings: of the training.
    """

    step: str
    run_dir: Path
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the training among those of a project."""
        return f"{self.run_dir.name}/{self.step}"


def _tensorboard(tracked: Tracked) -> GeneralTracker:
    # Beside the steps' folders, so that one page shows the curves of the whole run.
    return TensorBoardTracker(tracked.step, str(tracked.run_dir / "tensorboard"))


def _wandb(tracked: Tracked) -> GeneralTracker:
    tracked.run_dir.mkdir(parents=True, exist_ok=True)
    offline = {}
    if "WANDB_MODE" not in os.environ and not _has_wandb_key():
        offline = {"mode": "offline"}
        log.info("wandb: no API key, kept in %s; wandb sync sends it", tracked.run_dir / "wandb")
    return WandBTracker(
        os.environ.get("WANDB_PROJECT", PROJECT), name=tracked.name, group=tracked.run_dir.name,
        job_type=tracked.step, dir=str(tracked.run_dir), **offline,
    )  # fmt: skip


def _has_wandb_key() -> bool:
    """Look where ``wandb login`` puts it; wandb itself would ask for one, which no batch job answers."""
    if "WANDB_API_KEY" in os.environ:
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


def _mlflow(tracked: Tracked) -> GeneralTracker:
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow: Any = importlib.import_module("mlflow")
        # Newer versions refuse a store of plain files, unless this is set.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri((tracked.run_dir / "mlruns").absolute().as_uri())
    return MLflowTracker(PROJECT, run_name=tracked.name)


def _comet(tracked: Tracked) -> GeneralTracker:
    comet: Any = importlib.import_module("comet_ml")
    settings = {"name": tracked.name}
    if comet.get_api_key(None, comet.get_config()) is not None:
        config, offline = comet.ExperimentConfig(**settings), {}
    else:
        folder = tracked.run_dir / "comet"
        log.info("comet_ml: no API key, kept in %s; comet upload sends it", folder)
        folder.mkdir(parents=True, exist_ok=True)
        config, offline = comet.ExperimentConfig(offline_directory=str(folder), **settings), {"online": False}
    return CometMLTracker(os.environ.get("COMET_PROJECT_NAME", PROJECT), experiment_config=config, **offline)


_BUILDERS: dict[str, Callable[[Tracked], GeneralTracker]] = {
    "tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow, "comet_ml": _comet,
}  # fmt: skip


def missing_trackers(names: list[str]) -> Iterator[Problem]:
    """Find trackers whose package is not there; accelerate would leave them out in silence.

    Args:
        names: of trackers, known ones.

    Yields:
        Problem by problem.
    """
    for name in names:
        if name in _BUILDERS and importlib.util.find_spec(name) is None:
            message = f"{name} needs a package of its own: {package_hint(name.replace('_', '-'))}"
            yield Problem("trackers", "missing_package", message)


class Tracking:
    """The trackers of one training, in the first of several processes.

    A tracker that fails (a network, a full disk) is reported once and left out: curves are not worth a training.

    Args:
        names: of trackers.
        tracked: what is tracked.
        is_main: whether this process is the first.
    """

    def __init__(self, names: list[str], tracked: Tracked, *, is_main: bool) -> None:
        self._trackers: dict[str, GeneralTracker] = {}
        for name in dict.fromkeys(names) if is_main else ():
            self._try(name, partial(self._start, name, tracked))

    def _start(self, name: str, tracked: Tracked) -> None:
        tracker = _BUILDERS[name](tracked)
        tracker.start()
        if name != "tensorboard":  # its page of settings is a run of its own
            tracker.store_init_configuration(dict(_flatten(tracked.settings)))
        self._trackers[name] = tracker

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Add a point to each curve.

        Args:
            values: numbers by the curve's name; None is left out.
            step: of the training, 1-based.
        """
        numbers = {name: value for name, value in values.items() if value is not None}
        for name, tracker in list(self._trackers.items()):
            self._try(name, partial(tracker.log, numbers, step=step))

    def finish(self) -> None:
        """Write what is left."""
        for name, tracker in list(self._trackers.items()):
            self._try(name, tracker.finish)
        self._trackers.clear()

    def _try(self, name: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # of four libraries, in and beyond their documentation
            self._trackers.pop(name, None)
            log.warning("%s: no curves any more (%s: %s); the training goes on", name, type(error).__name__, error)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, (bool, int, float, str)) else str(value)
