"""Which models a page offers: those of runs, with the figures of their reports, and others by their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError
from bigfoot.paths import MODEL_SUFFIXES
from bigfoot.report.rows import Report, Row, load_report
from bigfoot.runtime.engine import Engine


@dataclass(frozen=True)
class ListedModel:
    """A model that a page offers.

    Args:
        name: on the page.
        place: its file or folder.
        role: ``teacher``, ``student``, or nothing for a model of no run.
        size_bytes: of its weights on disk.
        figures: of its run's report: ``split``, ``wer``, ``speedup`` and ``num_params``, those that were measured.
    """

    name: str
    place: str
    role: str
    size_bytes: int
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """What a page offers.

    Args:
        models: in the order of the arguments, the teacher of a run first.
        worst: utterances of reports, with ``audio`` where the report carries it.
    """

    models: Sequence[ListedModel]
    worst: Sequence[Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return what the page shows, without places of files."""
        models = [{key: value for key, value in asdict(model).items() if key != "place"} for model in self.models]
        return {"models": models, "worst": list(self.worst)}


def list_models(arguments: Sequence[str], locate: Callable[[str], Path]) -> Listed:
    """Find the models of runs, and others.

    Args:
        arguments: run folders (with a report), exported files and model folders.
        locate: finds the place of a model's name.

    Raises:
        ConfigError: nothing is there, or a run has no model of its report.
    """
    models: list[ListedModel] = []
    worst: list[Mapping[str, Any]] = []
    problems: list[Problem] = []
    for argument in arguments:
        folder = Path(argument)
        if (folder / "report" / "report.json").is_file():
            report = load_report(folder / "report")
            found = list(_of_run(folder, report, locate, len(arguments) > 1))
            models += found
            worst += [{**item, "run": folder.name} for item in report.worst if item.get("reference")]
            if not found:
                problems.append(Problem("RUN", "no_models", f"{folder}: none of its report's models is there"))
        elif (place := locate(argument)).exists():
            models.append(ListedModel(_shorten(argument), str(place), "", measure_bytes(place)))
        else:
            problems.append(Problem("RUN", "no_run", f"{argument}: neither a run with a report nor a model is there"))
    if problems:
        raise ConfigError(problems)
    return Listed(list({model.name: model for model in models}.values()), worst)


def _of_run(folder: Path, report: Report, locate: Callable[[str], Path], several: bool) -> Iterator[ListedModel]:
    seen: set[str] = set()
    for row in report.rows:
        place = _locate_row(folder, row, report, locate)
        if row.name in seen or place is None:
            continue
        seen.add(row.name)
        name = f"{folder.name}: {row.name}" if several else row.name
        facts = {"split": row.split, "wer": row.wer, "speedup": row.speedup, "num_params": row.num_unique_params}
        figures = {key: value for key, value in facts.items() if value is not None}
        role = "teacher" if row.is_teacher else "student"
        yield ListedModel(name, str(place), role, row.size_bytes or measure_bytes(place), figures)


def _locate_row(folder: Path, row: Row, report: Report, locate: Callable[[str], Path]) -> Path | None:
    if row.is_teacher:
        path = report.config.get("teacher", {}).get("path")
        found = [folder / "teacher" / "model", *([locate(path)] if path else [])]
    else:
        found = [folder / name / "model" for name in (row.name, row.step)]
    return next((place for place in found if place.exists()), None)


def _shorten(argument: str) -> str:
    path = Path(argument)
    return path.stem if path.suffix in MODEL_SUFFIXES else path.name


def measure_bytes(place: Path) -> int:
    """Return the bytes of a model's weights on disk.

    Args:
        place: a file, with what lies beside it of the same name (an ``.xml`` and its ``.bin``), or a folder.
    """
    if place.is_file():
        return sum(path.stat().st_size for path in {place, place.with_suffix(".bin")} if path.is_file())
    weights = {".safetensors", ".bin", ".onnx"}
    return sum(path.stat().st_size for path in place.iterdir() if path.suffix in weights)


class OpenedModels:
    """Models, opened when they are first wanted.

    Args:
        listed: those that may be opened.
        open_engine: opens a place.
    """

    def __init__(self, listed: Sequence[ListedModel], open_engine: Callable[[str], Engine]) -> None:
        self._places = {model.name: model.place for model in listed}
        self._open, self._opened, self._lock = open_engine, dict[str, Engine](), Lock()

    def get(self, name: str) -> Engine:
        """Return a model by its name, one of those that are listed."""
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._open(self._places[name])
            return self._opened[name]
