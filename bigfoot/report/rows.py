"""Data of a report: one row per model and split, and the facts of the run, saved and loaded.

``report.json`` is the report; Markdown, CSV and plots are views of it. Its first lines read::

    {
      "title": "bigfoot demo",
      "rows": [
        {"name": "teacher", "step": "teacher", "split": "test", "decoder": "greedy", "wer": 0.0312, ...
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from bigfoot.errors import DataError
from bigfoot.report.earlier import rename_rows
from bigfoot.report.entries import ENTRIES
from bigfoot.storage.state import parse_as


@dataclass
class Row:
    """Facts about one model on one split; None if not measured.

    Examples:
        >>> row = Row(name="student", step="finetune", split="test", wer=0.05, size_bytes=3_900_000)
        >>> row.is_teacher, row.cer is None
        (False, True)
    """

    name: str
    """Displayed name of the model."""
    step: str
    """The step that produced it; ``teacher`` for the original model."""
    split: str
    """Evaluated split: ``dev``, ``test``, ``test-other``."""
    decoder: str = "greedy"
    """Decoding of the logits."""
    protocol: str = ""
    """Conditions of the WER, such as ``fine-tuned, CTC, no language model``."""
    wer: float | None = None
    """Word error rate, a fraction."""
    wer_low: float | None = None
    """Lower end of its 95 % interval."""
    wer_high: float | None = None
    """Upper end."""
    cer: float | None = None
    """Character error rate, a fraction."""
    hits: int | None = None
    """Correct words."""
    substitutions: int | None = None
    """Substituted words."""
    deletions: int | None = None
    """Deleted words."""
    insertions: int | None = None
    """Inserted words."""
    num_utterances: int | None = None
    """Evaluated utterances."""
    num_words: int | None = None
    """Words in their references."""
    bootstrap_unit: str | None = None
    """Unit of the bootstrap: ``speaker`` or ``utterance``."""
    num_params: int | None = None
    """Parameters; shared ones count at each use."""
    num_unique_params: int | None = None
    """Parameters; shared ones count once."""
    size_bytes: int | None = None
    """Bytes of the weights on disk."""
    macs_per_second: int | None = None
    """Multiply-accumulates per second of audio."""
    macs_by_part: dict[str, int] = field(default_factory=dict)
    """The same by part: ``conv``, ``positional_conv``, ``transformer``, ``head``."""
    real_time_factor: float | None = None
    """Seconds of computing per second of audio, one thread."""
    peak_memory_bytes: int | None = None
    """Peak memory of the process while transcribing."""
    compression_ratio: float | None = None
    """Unique parameters of the teacher over this model's."""
    bytes_ratio: float | None = None
    """Bytes of the teacher's weights on disk over this model's."""
    speedup: float | None = None
    """Time of the teacher over this model's, one thread, interleaved rounds."""
    speedup_low: float | None = None
    """Lower end of the spread of the rounds."""
    speedup_high: float | None = None
    """Upper end."""
    speedup_all_threads: float | None = None
    """The same with every thread of the machine."""
    batch_invariant: bool | None = None
    """Whether each utterance has the same output in a batch and alone."""
    batch_invariance_max_difference: float | None = None
    """Largest difference of a logit between the two."""
    wer_difference: float | None = None
    """WER minus the teacher's, a fraction, paired bootstrap; None for the teacher."""
    wer_difference_low: float | None = None
    """Lower end of its 95 % interval."""
    wer_difference_high: float | None = None
    """Upper end."""
    unit: str = "word"
    """Unit of the error rate: ``word``, or ``phoneme`` for a PER."""
    transcripts: str = ""
    """Normalization of transcripts before scoring."""
    greedy_difference: float | None = None
    """WER minus that of greedy decoding, a fraction, paired bootstrap; None for the greedy decoder."""
    greedy_difference_low: float | None = None
    """Lower end of its 95 % interval."""
    greedy_difference_high: float | None = None
    """Upper end."""
    score: float | None = None
    """Of a model with a task head: its metric, see ``metric``."""
    score_low: float | None = None
    """Lower end of its 95 % interval."""
    score_high: float | None = None
    """Upper end."""
    metric: str = ""
    """Name of the metric, such as ``macro_f1``."""
    metrics: dict[str, float] = field(default_factory=dict)
    """All metrics of the task, by name."""
    wer_missing_reason: str | None = None
    """Why there is no WER, if it is missing."""
    seconds: float | None = None
    """Training time of the step."""
    config_path: str | None = None
    """Configuration file of the run."""
    seed: int | None = None
    """Its seed."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that the row was measured with."""

    @property
    def is_teacher(self) -> bool:
        """Whether this is the model that the others are compared with."""
        return "teacher" in (self.step, self.name)


@dataclass
class Report:
    """Report of a run.

    Examples:
        >>> report = Report(title="demo", rows=[Row("teacher", "teacher", "test", wer=0.04)])
        >>> report.rows[0].wer
        0.04
    """

    title: str
    """Heading."""
    rows: list[Row] = field(default_factory=list)
    """One per model and split."""
    seconds_per_step: dict[str, float] = field(default_factory=dict)
    """Duration of each step."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """Skipped data: ``split``, ``id``, ``path`` and ``reason`` of each."""
    changes: list[str] = field(default_factory=list)
    """What was kept of the teacher and what was dropped, one sentence each."""
    losses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By training step, the records of its log: ``step``, the loss terms, in some ``dev_wer`` and ``blank_rate``."""
    notes: list[str] = field(default_factory=list)
    """Further remarks."""
    config: dict[str, Any] = field(default_factory=dict)
    """The whole configuration."""
    machine: dict[str, Any] = field(default_factory=dict)
    """Processor, threads, memory, operating system."""
    worst: list[dict[str, Any]] = field(default_factory=list)
    """Utterances with the most errors of the last student, the worst of a split first: ``split``, ``model`` (the
    student), ``id``, ``speaker``, ``reference``, ``hypotheses`` by model, ``errors`` (words, of the student), and
    ``audio``, an address that holds it."""
    tasks: list[dict[str, Any]] = field(default_factory=list)
    """Of models with a task head: ``name``, ``split``, ``kind``, ``labels``, ``metrics``, ``per_class`` (precision,
    recall, f1 and support by label) and ``confusion`` (true class down, chosen one across); ``floors`` in the first of
    a split: what a model without learning, and one on log-mel energies, reach; ``gain`` on the best of them, with its
    interval; ``shown``: ``reliability``,
    ``projection`` (of pooled vectors), ``attention`` of the pooling, and the ``worst`` answers with their audio.
    Of a fold, ``answers`` and ``floor_answers``: what all folds are scored by together."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Examples of a speech LLM's last model: ``id``, ``task``, ``prompt``, ``answer``, ``prediction``, ``scores``,
    ``metadata``, and ``sound``, its audio as a data URI."""


def load_report(folder: str | Path) -> Report:
    """Load ``report.json``.

    Unknown keys are ignored and missing ones have their defaults, so that reports of older and newer versions can be
    compared.

    Args:
        folder: argument of ``save_report``.

    Raises:
        DataError: there is no ``report.json``, or it is invalid.
    """
    path = Path(folder) / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give the folder in which a run has written its report") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); run the report step again") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected an object with a list `rows`; this is not a report of bigfoot")
    nameless = {"name": "", "step": "", "split": ""}
    try:
        content = rename_rows(content)
        fields = {"title": "", **_known_fields(Report, content)}
        fields["rows"] = [Row(**{**nameless, **_known_fields(Row, row)}) for row in content["rows"]]
    except ValueError as error:
        raise DataError(f"{path}: {error}; run the report step again") from error
    return Report(**fields)


def _known_fields(kind: type[Row] | type[Report], content: Mapping[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind) | ({"rows": Any} | ENTRIES if kind is Report else {})
    return {
        name: parse_as(hints[name], value, name)
        for name, value in content.items()
        if name in hints and value is not None
    }
