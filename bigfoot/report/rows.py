"""The facts of a run: one row of facts per model and split, and everything around the rows, saved and read back.

``report.json`` is the report; the Markdown, the CSV and the plots are views of it. Its first lines read::

    {
      "title": "bigfoot demo",
      "rows": [
        {"name": "teacher", "step": "teacher", "split": "test", "decoder": "greedy", "wer": 0.0312, ...
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.errors import DataError
from bigfoot.report.earlier import rename_rows


@dataclass
class Row:
    """Facts about one model on one split; None is what was not measured.

    Examples:
        >>> row = Row(name="student", step="finetune", split="test", wer=0.05, size_bytes=3_900_000)
        >>> row.is_teacher, row.cer is None
        (False, True)
    """

    name: str
    """What a reader calls the model."""
    step: str
    """The step that made it; ``teacher`` for the one that was given."""
    split: str
    """What it was judged on: ``dev``, ``test``, ``test-other``."""
    decoder: str = "greedy"
    """How logits became text."""
    protocol: str = ""
    """What the WER stands for, such as ``fine-tuned, CTC, no language model``."""
    wer: float | None = None
    """Word error rate, a fraction."""
    wer_low: float | None = None
    """Lower end of its 95 % interval."""
    wer_high: float | None = None
    """Upper end."""
    cer: float | None = None
    """Character error rate, a fraction."""
    hits: int | None = None
    """Words found as they are."""
    substitutions: int | None = None
    """Words found as others."""
    deletions: int | None = None
    """Words not found."""
    insertions: int | None = None
    """Words found where there are none."""
    num_utterances: int | None = None
    """Utterances judged."""
    num_words: int | None = None
    """Words in their references."""
    bootstrap_unit: str | None = None
    """What was resampled for the interval: ``speaker`` or ``utterance``."""
    num_params: int | None = None
    """Parameters, shared ones counted as often as they are used."""
    num_unique_params: int | None = None
    """Parameters, shared ones counted once."""
    size_bytes: int | None = None
    """Bytes of the weights on disk."""
    macs_per_second: int | None = None
    """Multiply-accumulates per second of audio."""
    macs_by_part: dict[str, int] = field(default_factory=dict)
    """The same by part: ``conv``, ``positional_conv``, ``transformer``, ``head``."""
    real_time_factor: float | None = None
    """Seconds of computing per second of audio, one thread."""
    peak_memory_bytes: int | None = None
    """Most memory the process held while it transcribed."""
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
    """Whether a batch gives what each utterance gives alone."""
    batch_invariance_max_difference: float | None = None
    """Largest difference of a logit between the two."""
    wer_difference: float | None = None
    """WER minus the teacher's, a fraction, paired bootstrap; None for the teacher."""
    wer_difference_low: float | None = None
    """Lower end of its 95 % interval."""
    wer_difference_high: float | None = None
    """Upper end."""
    unit: str = "word"
    """What was counted for the WER: ``word``, or ``phoneme``, which makes it a PER."""
    transcripts: str = ""
    """How transcripts were normalized before they were compared."""
    greedy_difference: float | None = None
    """WER minus that of greedy decoding, a fraction, paired bootstrap; None where the decoder is greedy."""
    greedy_difference_low: float | None = None
    """Lower end of its 95 % interval."""
    greedy_difference_high: float | None = None
    """Upper end."""
    wer_missing_reason: str | None = None
    """Why there is no WER, where there is none."""
    seconds: float | None = None
    """How long the training of the step took."""
    config_path: str | None = None
    """The configuration the run began with."""
    seed: int | None = None
    """Its seed."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that made the row."""

    @property
    def is_teacher(self) -> bool:
        """Whether this is the model the others are compared with."""
        return "teacher" in (self.step, self.name)


@dataclass
class Report:
    """A run in full.

    Examples:
        >>> report = Report(title="demo", rows=[Row("teacher", "teacher", "test", wer=0.04)])
        >>> report.rows[0].wer
        0.04
    """

    title: str
    """The heading."""
    rows: list[Row] = field(default_factory=list)
    """One per model and split."""
    seconds_per_step: dict[str, float] = field(default_factory=dict)
    """How long each step took."""
    skipped: list[dict[str, Any]] = field(default_factory=list)
    """Data left out: ``split``, ``id``, ``path`` and ``reason`` of each."""
    changes: list[str] = field(default_factory=list)
    """What was kept of the teacher and what was dropped, a sentence each."""
    losses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By training step, the records of its log: ``step``, the terms of the loss, now and then ``dev_wer`` and
    ``blank_rate``."""
    notes: list[str] = field(default_factory=list)
    """What a reader should know besides."""
    config: dict[str, Any] = field(default_factory=dict)
    """The whole configuration."""
    machine: dict[str, Any] = field(default_factory=dict)
    """Processor, threads, memory, operating system."""
    worst: list[dict[str, Any]] = field(default_factory=list)
    """Utterances in which the last student errs most, the worst of a split first: ``split``, ``model`` (the student),
    ``id``, ``speaker``, ``reference``, ``hypotheses`` by model, and ``errors`` (words, of the student)."""


def load_report(folder: str | Path) -> Report:
    """Read ``report.json`` back.

    Keys that this version does not know are left aside and missing ones have their defaults, so that reports of
    older and newer versions can stand side by side.

    Args:
        folder: the folder given to ``save_report``.

    Raises:
        DataError: there is no ``report.json``, or it is not one.
    """
    path = Path(folder) / "report.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give the folder in which a run has written its report") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); run the report step again") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected an object with a list `rows`; this is not a report of bigfoot")
    content = rename_rows(content)
    rows = content["rows"]
    fields = {"title": "", **_known_fields(Report, content)}
    nameless = {"name": "", "step": "", "split": ""}
    fields["rows"] = [Row(**{**nameless, **_known_fields(Row, row)}) for row in rows]
    return Report(**fields)


def _known_fields(kind: type[Row] | type[Report], content: Mapping[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(kind)}
    return {name: value for name, value in content.items() if name in names and value is not None}
