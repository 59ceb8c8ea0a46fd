"""A report as Markdown, as CSV and as a table for the console.

``COLUMNS`` says once what a table shows and how; rates are fractions in the rows and percent here.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # rows imports this module to save what it renders
    from _typeshed import DataclassInstance

    from bigfoot.report.rows import Report, Row

PARTS = ("conv", "positional_conv", "transformer", "head")
NUM_SKIPPED_SHOWN = 20
MISSING = "n/a"
MACS_UNIT = "10^9 multiply-accumulates per second of audio."


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Args:
        head: its title, with the unit.
        render: what it shows of a row.
        value: the number behind that, None where it is missing; without it the column is text.
    """

    head: str
    render: Callable[[Row], str]
    value: Callable[[Row], float | None] | None = None


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are written.

    Args:
        heads: titles of the columns.
        cells: a list a row.
    """

    heads: list[str]
    cells: list[list[str]]


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number with so many significant digits, with an exponent only below 0.0001.

    Example:
        >>> [format_number(x) for x in (315.44, 94.4, 0.96, 0.00123, 1234567.0, None)]
        ['315', '94.4', '0.960', '0.00123', '1234567', 'n/a']
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    # The exponent after rounding: 9.999 is 10.0, not 10.00.
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])
    return f"{value:.{max(digits - 1 - exponent, 0)}f}" if exponent >= -4 else f"{value:.1e}"


def format_percent(fraction: float | None) -> str:
    """Write a fraction as percent without the sign.

    Example:
        >>> format_percent(0.03125), format_percent(None)
        ('3.12', 'n/a')
    """
    return MISSING if fraction is None or not math.isfinite(fraction) else f"{100 * fraction:.2f}"


def format_wer(row: Row) -> str:
    """Write the WER in percent with its interval, or why there is none."""
    if row.wer is None:
        return f"{MISSING} ({row.wer_missing_reason})" if row.wer_missing_reason else MISSING
    counted = "" if row.unit == "word" else " PER"
    if row.wer_low is None or row.wer_high is None:
        return format_percent(row.wer) + counted
    return f"{format_percent(row.wer)} [{format_percent(row.wer_low)}, {format_percent(row.wer_high)}]{counted}"


def format_seconds(seconds: float) -> str:
    """Write a duration as people say it.

    Example:
        >>> [format_seconds(x) for x in (0.42, 75, 3720)]
        ['0.4 s', '1 min 15 s', '1 h 2 min']
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _scaled(value: float | None, unit: float) -> str:
    return format_number(None if value is None else value / unit)


def _times(ratio: float | None) -> str:
    return MISSING if ratio is None else f"{format_number(ratio)}x"


def _speedup(row: Row) -> str:
    if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
        return _times(row.speedup)
    return f"{_times(row.speedup)} [{format_number(row.speedup_low)}, {format_number(row.speedup_high)}]"


def _batch_invariant(row: Row) -> str:
    if row.batch_invariant is None:
        return MISSING
    answer = "yes" if row.batch_invariant else "no"
    difference = row.batch_invariance_max_difference
    return answer if difference is None else f"{answer} ({difference:.1e})"


COLUMNS: tuple[Column, ...] = (
    Column("model", lambda row: row.name),
    Column("WER % [95 %]", format_wer, lambda row: row.wer),
    Column("CER %", lambda row: format_percent(row.cer), lambda row: row.cer),
    Column("params M", lambda row: _scaled(row.num_unique_params, 1e6), lambda row: row.num_unique_params),
    Column("size MB", lambda row: _scaled(row.size_bytes, 1e6), lambda row: row.size_bytes),
    Column("GMACs/s", lambda row: _scaled(row.macs_per_second, 1e9), lambda row: row.macs_per_second),
    Column("smaller", lambda row: _times(row.compression_ratio), lambda row: row.compression_ratio),
    Column("faster [spread]", _speedup, lambda row: row.speedup),
    Column("faster, all threads", lambda row: _times(row.speedup_all_threads), lambda row: row.speedup_all_threads),
    Column("RTF", lambda row: format_number(row.real_time_factor), lambda row: row.real_time_factor),
    Column("peak memory MB", lambda row: _scaled(row.peak_memory_bytes, 1e6), lambda row: row.peak_memory_bytes),
    Column("batch invariant", _batch_invariant, lambda row: row.batch_invariance_max_difference),
)
"""The table of a report and of a comparison, left to right."""

LEGEND = (
    "Parameters are counted once where they are shared; MB are 10^6 bytes of weights on disk; GMACs/s are 10^9 "
    "multiply-accumulates per second of audio; smaller and faster are against the teacher, faster and RTF (seconds of "
    "computing per second of audio) with one thread unless said otherwise; batch invariant: a batch gives what each "
    "utterance gives alone (largest difference of a logit)."
)


def sort_rows(rows: Sequence[Row]) -> list[Row]:
    """Put the teacher first and leave the others in the order in which they were made."""
    return sorted(rows, key=lambda row: not row.is_teacher)


def render_markdown(report: Report) -> str:
    """Write a report for people.

    Args:
        report: what to write.

    Returns:
        Markdown; sections without content are left out.

    Example:
        >>> from bigfoot.report.rows import Report, Row
        >>> text = render_markdown(Report("demo", [Row("teacher", "teacher", "test", wer=0.04)]))
        >>> text.splitlines()[0], "| teacher | 4.00 |" in text
        ('# demo', True)
    """
    lines = [f"# {report.title}", ""]
    lines += render_splits(report.rows)
    lines += _render_list("What was kept and dropped", report.changes)
    macs = tabulate_macs(report.rows)
    if macs.cells:
        lines += ["## MACs by part", "", MACS_UNIT, "", *render_table(macs.heads, macs.cells), ""]
    seconds = tabulate_seconds(report.seconds_per_step)
    if seconds.cells:
        lines += ["## Time per step", "", *render_table(seconds.heads, seconds.cells), ""]
    lines += render_skipped(report.skipped)
    lines += _render_list("Notes", report.notes)
    lines += _render_list("Where this comes from", describe_origin(report))
    return "\n".join(lines).rstrip() + "\n"


def render_splits(rows: Sequence[Row]) -> list[str]:
    """Write one table a split, each with its protocol, and what the columns mean.

    Args:
        rows: of a report.

    Returns:
        Lines of Markdown; none where there are no rows.
    """
    lines: list[str] = []
    for split in dict.fromkeys(row.split for row in rows):
        lines += _render_split(split, sort_rows([row for row in rows if row.split == split]))
    return [*lines, LEGEND, ""] if rows else lines


def render_table(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    r"""Write a Markdown table, first column to the left, the others to the right.

    Example:
        >>> render_table(["model", "WER %"], [["a|b", "3.1"]])
        ['| model | WER % |', '| :--- | ---: |', '| a\\|b | 3.1 |']
    """
    rule = [":---"] + ["---:"] * (len(heads) - 1)
    # A pipe or a newline in a name would end the cell.
    escaped = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in (heads, *cells)]
    return [f"| {' | '.join(row)} |" for row in (escaped[0], rule, *escaped[1:])]


def _render_split(split: str, rows: Sequence[Row]) -> list[str]:
    table = render_table([column.head for column in COLUMNS], [[c.render(row) for c in COLUMNS] for row in rows])
    protocols, differences = describe_protocols(rows), describe_differences(rows)
    if len(protocols) > 1:
        protocols = [f"- {sentence}" for sentence in protocols]
    lines = [f"## {split}", "", *table, "", *protocols, ""]
    return [*lines, *(f"- {sentence}" for sentence in differences), ""] if differences else lines


def describe_protocols(rows: Sequence[Row]) -> list[str]:
    """Say under which conditions the WERs of a table came about, one line for each set of conditions.

    Example:
        >>> from bigfoot.report.rows import Row
        >>> describe_protocols([Row("teacher", "teacher", "test", protocol="CTC", wer=0.1, num_words=90)])
        ['Protocol: CTC; decoder greedy; split test, 90 words.']
    """
    names: dict[str, list[str]] = {}
    for row in rows:
        parts = [row.protocol or "protocol not stated", f"decoder {row.decoder}", f"split {row.split}"]
        if row.num_words is not None:
            utterances = "" if row.num_utterances is None else f" in {row.num_utterances:,} utterances"
            parts[-1] += f", {row.num_words:,} {row.unit}s{utterances}"
        if row.bootstrap_unit:
            parts.append(f"95 % intervals by bootstrap over {row.bootstrap_unit}s")
        if row.transcripts:
            parts.append(f"transcripts {row.transcripts}")
        if row.wer is not None:
            names.setdefault("; ".join(parts), []).append(row.name)
    if len(names) == 1:
        return [f"Protocol: {conditions}." for conditions in names]
    return [f"Protocol of {', '.join(models)}: {conditions}." for conditions, models in names.items()]


def describe_differences(rows: Sequence[Row]) -> list[str]:
    """Say how each model compares with its teacher, and its decoder with greedy, and whether the difference is one.

    Example:
        >>> from bigfoot.report.rows import Row
        >>> describe_differences([Row("student", "distill", "test", wer_difference=0.01)])
        ['student against the teacher: +1.00 points of WER.']
    """
    sentences = []
    for row in rows:
        if row.wer_difference is not None:
            interval = (row.wer_difference_low, row.wer_difference_high)
            sentences.append(_describe_difference(row, "against the teacher", row.wer_difference, interval))
        if row.greedy_difference is not None:
            interval = (row.greedy_difference_low, row.greedy_difference_high)
            sentences.append(_describe_difference(row, "against greedy decoding", row.greedy_difference, interval))
    return sentences


def _describe_difference(
    row: Row, against: str, difference: float, interval: tuple[float | None, float | None]
) -> str:
    rate = "WER" if row.unit == "word" else "PER"
    sentence, (low, high) = f"{row.name} {against}: {100 * difference:+.2f} points of {rate}", interval
    if low is not None and high is not None:
        verdict = "worse" if low > 0 else "better" if high < 0 else "no difference shown"
        unit = f" over {row.bootstrap_unit}s" if row.bootstrap_unit else ""
        shown = f"95 % interval {100 * low:+.2f} to {100 * high:+.2f}, paired bootstrap{unit}"
        sentence += f" ({shown}): {verdict}"
    return f"{sentence}."


def _render_list(head: str, items: Sequence[str]) -> list[str]:
    return [f"## {head}", "", *(f"- {item}" for item in items), ""] if items else []


def name_parts(rows: Sequence[Row]) -> list[str]:
    """List the parts that have MACs in any row, those of every model first."""
    others = {part for row in rows for part in row.macs_by_part} - set(PARTS)
    return [*PARTS, *sorted(others)]


def pick_models(rows: Sequence[Row]) -> list[Row]:
    """Take a row of each model with MACs, the teacher first: it has one size on however many splits it was judged."""
    models: dict[str, Row] = {}
    for row in sort_rows(rows):
        if row.macs_by_part:
            models.setdefault(row.name, row)
    return list(models.values())


def tabulate_macs(rows: Sequence[Row]) -> TextTable:
    """Put the MACs of every model by part into a table, in billions per second of audio."""
    parts = name_parts(rows)
    cells = [
        [row.name, *(_scaled(row.macs_by_part.get(part), 1e9) for part in parts), _scaled(row.macs_per_second, 1e9)]
        for row in pick_models(rows)
    ]
    return TextTable(["model", *(part.replace("_", " ") for part in parts), "all"], cells)


def tabulate_seconds(seconds_per_step: Mapping[str, float]) -> TextTable:
    """Put the time of every step, and of all together, into a table."""
    durations = {**seconds_per_step, "all": sum(seconds_per_step.values())} if seconds_per_step else {}
    return TextTable(["step", "time"], [[step, format_seconds(seconds)] for step, seconds in durations.items()])


def count_skipped(skipped: Sequence[Mapping[str, Any]]) -> TextTable:
    """Count the data left out by split and kind of reason, the most frequent first."""
    # Reasons may carry the figures of their file; what stands before the first bracket or colon is the kind.
    kinds = Counter((str(item.get("split", "")), _kind_of(str(item.get("reason", "")))) for item in skipped)
    cells = [[split, kind, str(count)] for (split, kind), count in kinds.most_common()]
    return TextTable(["split", "reason", "count"], cells)


def _kind_of(reason: str) -> str:
    return reason.split("(")[0].split(":")[0].strip() or "no reason given"


def render_skipped(skipped: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write what was left out: how many by split and reason, and the first of them by name.

    Args:
        skipped: each with ``split``, ``id``, ``path`` and ``reason``.

    Returns:
        Lines of Markdown; none where nothing was left out.

    Example:
        >>> lines = render_skipped([{"split": "dev", "id": "a", "path": "a.wav", "reason": "no such file"}])
        >>> lines[-2]
        '- dev `a` a.wav: no such file'
    """
    if not skipped:
        return []
    kinds = count_skipped(skipped)
    shown = [
        f"- {item.get('split', '')} `{item.get('id', '')}` {item.get('path') or ''}: {item.get('reason', '')}"
        for item in skipped[:NUM_SKIPPED_SHOWN]
    ]
    rest = len(skipped) - len(shown)
    if rest:
        shown.append(f"- and {rest} more: all are in report.json under `skipped`")
    return ["## Skipped data", "", *render_table(kinds.heads, kinds.cells), "", *shown, ""]


def describe_origin(report: Report) -> list[str]:
    """Say on what machine, with which versions and which configurations the report came about."""
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in report.machine.items()]
    versions: dict[str, list[str]] = {}
    for row in report.rows:
        for package, version in row.versions.items():
            if version not in versions.setdefault(package, []):
                versions[package].append(version)
    if versions:
        lines.append("versions: " + ", ".join(f"{name} {' / '.join(found)}" for name, found in versions.items()))
    configs = {row.config_path: row.seed for row in report.rows if row.config_path}
    return lines + [f"config: {path}" + ("" if seed is None else f", seed {seed}") for path, seed in configs.items()]


def flatten_row(row: DataclassInstance) -> dict[str, Any]:
    """Make a dataclass fit a CSV line: dictionaries and lists become JSON, None becomes an empty cell.

    Example:
        >>> from bigfoot.report.rows import Row
        >>> flatten_row(Row("student", "prune", "test", macs_by_part={"conv": 5}))["macs_by_part"]
        '{"conv": 5}'
    """
    def flatten(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
        if isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=False)
        return "" if value is None else value

    return {name: flatten(value) for name, value in dataclasses.asdict(row).items()}


def render_csv(rows: Sequence[DataclassInstance], labels: Mapping[str, Sequence[str]] | None = None) -> str:
    """Write rows as CSV, one line each, all fields, in the order of their dataclass.

    Args:
        rows: what to write, in this order.
        labels: further columns to put in front, by name, one value a row.

    Returns:
        CSV with a header line; nothing where there are no rows.

    Example:
        >>> from bigfoot.report.rows import Row
        >>> render_csv([Row("student", "prune", "test")], {"run": ["a"]}).splitlines()[1][:21]
        'a,student,prune,test,'
    """
    front = [{name: values[index] for name, values in (labels or {}).items()} for index in range(len(rows))]
    lines = [{**label, **flatten_row(row)} for label, row in zip(front, rows, strict=True)]
    if not lines:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


_CONSOLE_HEADS = ("model", "WER % [95 %]", "CER %", "params M", "size MB", "smaller")
_CONSOLE_WRAPPED = ("model", "split", "WER % [95 %]")


def render_console(report: Report) -> Table:
    """Make the short table that a recipe prints at its end; 100 columns hold it.

    Args:
        report: what to show.

    Returns:
        A table for ``rich.console.Console.print``.

    Example:
        >>> from bigfoot.report.rows import Report, Row
        >>> render_console(Report("demo", [Row("teacher", "teacher", "test", wer=0.04)])).row_count
        1
    """
    several = len({row.split for row in report.rows}) > 1
    title = report.title if several or not report.rows else f"{report.title}, {report.rows[0].split}"
    # Text, not str: rich would read a bracket in a name as an order to change colour.
    table = Table(title=Text(title), box=box.SIMPLE_HEAD)
    shown = [column for column in COLUMNS if column.head in _CONSOLE_HEADS]
    shown.append(Column("faster", lambda row: _times(row.speedup)))
    if several:
        shown.insert(1, Column("split", lambda row: row.split))
    for column in shown:
        justify: Literal["left", "right"] = "left" if column.head in ("model", "split") else "right"
        wraps = column.head in _CONSOLE_WRAPPED
        table.add_column(Text(column.head), justify=justify, overflow="fold", no_wrap=not wraps)
    for row in sort_rows(report.rows):
        table.add_row(*(Text(column.render(row)) for column in shown))
    return table
