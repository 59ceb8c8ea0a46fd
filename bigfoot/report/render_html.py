"""Render a report as one HTML page, also for phones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import Markup

from bigfoot.measure.error_rate import align_words, count_errors
from bigfoot.report.columns import LEGEND, choose_columns, sort_rows
from bigfoot.report.numbers import MISSING
from bigfoot.report.page import FIGURE_WIDTH, draw_tradeoffs, embed_figure, render_page, tabulate_rows
from bigfoot.report.plots import draw_losses, draw_macs_by_part
from bigfoot.report.rows import Report, Row
from bigfoot.report.sentences import describe_differences, describe_origin, describe_protocols
from bigfoot.report.tables import MACS_UNIT, TextTable, count_skipped, tabulate_macs, tabulate_seconds
from bigfoot.report.task_plots import draw_task
from bigfoot.report.tasks import tabulate_tasks

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

_AUDIO = re.compile(r"data:audio/(mpeg|flac);base64,[A-Za-z0-9+/=]*")
NUM_SKIPPED_LISTED = 200
NUM_KINDS_LISTED = 50


def render_html(report: Report) -> str:
    """Render a report as one page that needs no other file and no network.

    Args:
        report: to render; its texts are escaped.

    Returns:
        The page, deterministic for a report, without empty sections.

    Examples:
        >>> from bigfoot.report.rows import Report, Row
        >>> page = render_html(Report("demo", [Row("teacher", "teacher", "test", wer=0.04)]))
        >>> "<h1>demo</h1>" in page, '<td class="number" data-value="0.04">4.00</td>' in page
        (True, True)
    """
    splits = dict.fromkeys(row.split for row in report.rows)
    return render_page(
        "report.html",
        report.title,
        notes=report.notes,
        splits=[_show_split(split, [row for row in report.rows if row.split == split]) for split in splits],
        legend=LEGEND,
        tasks=list(tabulate_tasks(report.tasks)),
        task_figures=[embed_figure(figure, title) for title, figure in _draw_tasks(report.tasks)],
        task_worst=[item for task in _last_of_splits(report.tasks) for item in _show_answers(task)],
        examples=[_show_example(item) for item in report.examples],
        worst=[_show_utterance(item) for item in report.worst],
        macs=tabulate_macs(report.rows),
        macs_unit=MACS_UNIT,
        macs_figures=[embed_figure(draw_macs_by_part(report.rows, FIGURE_WIDTH), "MACs by part")],
        losses=_draw_losses(report.losses),
        changes=report.changes,
        skipped=_show_skipped(report.skipped),
        seconds=tabulate_seconds(report.seconds_per_step),
        origin=describe_origin(report),
        config=yaml.safe_dump(report.config, sort_keys=False, allow_unicode=True) if report.config else "",
    )


def _last_of_splits(tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({task.get("split"): task for task in tasks}.values())


def _draw_tasks(tasks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Figure]]:
    for task in _last_of_splits(tasks):
        yield from draw_task(task, FIGURE_WIDTH)


def _show_answers(task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in (task.get("shown") or {}).get("worst") or []:
        scores = ", ".join(f"{label} {_format(value, 'g')}" for label, value in item["scores"].items())
        of_model = {"split": task.get("split"), "model": task.get("name")}
        yield {"speaker": None, **item, **of_model, "scores": scores, "audio": _keep_audio(item["audio"])}


def _show_example(item: Mapping[str, Any]) -> dict[str, Any]:
    scores = {name: _format(value, ".2f") for name, value in (item.get("scores") or {}).items()}
    return {"metadata": None, **item, "scores": scores, "sound": _keep_audio(item.get("sound"))}


def _format(value: float | None, spec: str) -> str:
    return MISSING if value is None else format(value, spec)


def _keep_audio(address: str | None) -> str:
    """Return the address of audio that a report carries; whatever else it holds is left out, whoever wrote it."""
    return address if address and _AUDIO.fullmatch(address) else ""


def _show_split(split: str, rows: Sequence[Row]) -> dict[str, Any]:
    rows = sort_rows(rows)
    return {
        "name": split,
        "table": tabulate_rows(f"Models on {split}", choose_columns(rows), rows),
        "differences": describe_differences(rows),
        "protocols": describe_protocols(rows),
        "figures": draw_tradeoffs(rows),
    }


def _show_utterance(item: Mapping[str, Any]) -> dict[str, Any]:
    """Align each model's hypothesis; student and teacher are expanded, the others collapsed."""
    reference, hypotheses = str(item.get("reference", "")), dict(item.get("hypotheses", {}))
    first = [name for name in (item.get("model"), "teacher") if name in hypotheses]
    aligned = {name: _show_hypothesis(name, reference, str(text)) for name, text in hypotheses.items()}
    return {
        "id": item.get("id", ""),
        "split": item.get("split", ""),
        "speaker": item.get("speaker"),
        "audio": _keep_audio(item.get("audio")),
        "shown": [aligned[name] for name in first],
        "others": [shown for name, shown in aligned.items() if name not in first],
    }


def _show_hypothesis(name: str, reference: str, hypothesis: str) -> dict[str, Any]:
    (counts,) = count_errors([reference], [hypothesis])
    kinds = (
        (counts.substitutions, "substituted"), (counts.deletions, "deleted"), (counts.insertions, "inserted")
    )  # fmt: skip
    named = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
    words = "1 word" if counts.reference_length == 1 else f"{counts.reference_length} words"
    verdict = f"{counts.errors} wrong in {words} ({named})" if counts.errors else f"all {words} right"
    return {"name": name, "verdict": verdict, "words": align_words(reference, hypothesis)}


def _draw_losses(losses: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Markup]:
    return [
        embed_figure(draw_losses({step: records}, FIGURE_WIDTH), f"Losses of {step}")
        for step, records in losses.items()
        if records
    ]


def _show_skipped(skipped: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Count reasons and list the first few: thousands of skipped utterances would make the page too large."""
    kinds = count_skipped(skipped)
    nothing = {"split": "", "id": "", "path": "", "reason": ""}
    return {
        "count": f"{len(skipped):,}",
        "kinds": TextTable(kinds.heads, kinds.cells[:NUM_KINDS_LISTED]),
        "more_kinds": max(0, len(kinds.cells) - NUM_KINDS_LISTED),
        "shown": [{**nothing, **item} for item in skipped[:NUM_SKIPPED_LISTED]],
        "rest": max(0, len(skipped) - NUM_SKIPPED_LISTED),
    }
