"""The open ASR leaderboard's table of models, and the files of answers that its own scripts read."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from bigfoot.errors import BigfootError
from bigfoot.evaluation.leaderboard import Answer, Score
from bigfoot.report.files import encode_text
from bigfoot.report.numbers import MISSING, format_number, format_percent
from bigfoot.report.render import render_table
from bigfoot.report.spreadsheet import flatten_cell
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import write_file
from bigfoot.storage.state import parse_as

_UNKNOWN = ("License", "Size (B)", "# Languages", "Encoder", "Decoder")
_KEY = "fingerprint"


def name_answers(model: str, corpus: str, split: str) -> str:
    """Return the file name by which the leaderboard's scripts know model and data.

    Examples:
        >>> name_answers("runs/demo/student", "fsdd.yaml", "test")
        'MODEL_runs-demo-student_DATASET_fsdd.yaml_test.jsonl'
    """
    return f"MODEL_{_plain(model)}_DATASET_{_plain(corpus)}_{split}.jsonl"


def _plain(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name).strip("-")


def save_answers(path: Path, answers: Sequence[Answer], fingerprint: str, may: MayReplace = OWN_ONLY) -> None:
    """Write answers as JSON lines.

    Args:
        path: named by ``name_answers``.
        answers: one a line.
        fingerprint: of all that they depend on, which stands in every line.
        may: what may be replaced, besides bigfoot's output.

    Raises:
        OutputError: the file is not of bigfoot's making.
    """
    lines = (json.dumps({**asdict(each), _KEY: fingerprint}, ensure_ascii=False) for each in answers)
    write_file(path, encode_text("".join(f"{line}\n" for line in lines)), may=may)


def read_answers(path: Path, fingerprint: str) -> list[Answer] | None:
    """Read answers of an earlier call.

    Args:
        path: of ``save_answers``.
        fingerprint: that they should have.

    Returns:
        None where there are none, or they are of another model, other data or other settings, or damaged.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not lines or any(line.pop(_KEY) != fingerprint for line in lines):
            return None
        return [parse_as(Answer, line) for line in lines]
    except (OSError, ValueError, KeyError, AttributeError, BigfootError):
        return None


def render_leaderboard_csv(scores: Mapping[tuple[str, str], Score]) -> str:
    """Render the scores with the leaderboard's columns; those that no measurement knows, such as License, are empty.

    Args:
        scores: by model and corpus.
    """
    models, corpora = _axes(scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "RTFx", *_UNKNOWN, *(f"{corpus} WER" for corpus in corpora), "Average WER"])
    for model in models:
        rates = [_percent(scores[model, corpus].rate.wer) for corpus in corpora]
        empty = [""] * len(_UNKNOWN)
        writer.writerow([flatten_cell(model), _rtfx(scores, model, corpora), *empty, *rates, _average(scores, model)])
    return text.getvalue()


def render_leaderboard(scores: Mapping[tuple[str, str], Score], conditions: str) -> str:
    """Render the scores as Markdown, with intervals.

    Args:
        scores: by model and corpus.
        conditions: sentence below the table.
    """
    models, corpora = _axes(scores)
    heads = ["model", "RTFx", *(f"{corpus} WER % [95 %]" for corpus in corpora), "average WER %"]
    cells = [
        [
            model,
            format_number(_rtfx(scores, model, corpora)),
            *(_interval(scores[model, corpus]) for corpus in corpora),
            str(_average(scores, model)),
        ]
        for model in models
    ]
    return "\n".join([*render_table(heads, cells), "", conditions, ""])


def _axes(scores: Mapping[tuple[str, str], Score]) -> tuple[list[str], list[str]]:
    return list(dict.fromkeys(model for model, _ in scores)), list(dict.fromkeys(corpus for _, corpus in scores))


def _rtfx(scores: Mapping[tuple[str, str], Score], model: str, corpora: Sequence[str]) -> float:
    chosen = [scores[model, corpus] for corpus in corpora]
    computing = sum(score.computing_seconds for score in chosen)
    return round(sum(score.audio_seconds for score in chosen) / computing, 2) if computing else 0.0


def _average(scores: Mapping[tuple[str, str], Score], model: str) -> float | str:
    rates = [score.rate.wer for (name, _), score in scores.items() if name == model]
    known = [rate for rate in rates if rate is not None]
    return _percent(fmean(known)) if len(known) == len(rates) else MISSING


def _percent(rate: float | None) -> float | str:
    return MISSING if rate is None else round(100 * rate, 2)


def _interval(score: Score) -> str:
    rate = score.rate
    if rate.wer_low is None or rate.wer_high is None:
        return format_percent(rate.wer)
    return f"{format_percent(rate.wer)} [{format_percent(rate.wer_low)}, {format_percent(rate.wer_high)}]"
