"""Render a benchmark for a terminal: a table of models and one of their parts for every setting, and notes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.markup import escape
from rich.table import Table

from bigfoot.measure.benchmark import Benchmark, ModelResult, PeakResult
from bigfoot.measure.benchmark_plan import Setting
from bigfoot.measure.size import PARTS

_MOST_KINDS = 8
_COLUMNS = (
    "runtime", "ms [quartiles]", "faster [quartiles]", "real-time factor", "of peak %", "memory MB", "size MB",
    "parameters M", "GMACs/s",
)  # fmt: skip


def render_benchmark(benchmark: Benchmark) -> Iterator[str | Table]:
    """Render a benchmark for a terminal.

    Args:
        benchmark: of ``measure_benchmark``.

    Yields:
        Renderables in order: two tables per setting and one more for each ONNX file, then the notes.
    """
    for peak in benchmark.peak:
        models = benchmark.in_setting(peak)
        yield _render_models(peak, models)
        yield _render_parts(models)
        yield from (_render_operators(model) for model in models if model.by_operator)
    machine = benchmark.machine
    yield escape(
        f"{machine['processor']}, {machine['processors']} processors; median of {benchmark.rounds} interleaved rounds; "
        f"of peak: multiply-accumulates per second over those of a matrix product in the same rounds"
    )
    yield from (escape(f"- {note}") for note in benchmark.notes)


def _start_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    return table


def _render_models(peak: PeakResult, models: list[ModelResult]) -> Table:
    setting = Setting(peak.threads, peak.seconds, peak.batch)
    rate = f"{peak.macs_per_second_of_computing / 1e9:.1f} GMACs/s"
    table = _start_table(f"{setting}; this machine's peak {rate} ({peak.size} x {peak.size} product)")
    for heading in _COLUMNS:
        table.add_column(escape(heading), justify="left" if heading == "runtime" else "right")
    for model in models:
        table.add_row(
            escape(model.name),
            model.runtime,
            escape(f"{1e3 * model.median_s:.1f} [{1e3 * model.low_s:.1f}, {1e3 * model.high_s:.1f}]"),
            escape(f"{model.speedup_over_first:.2f}x [{model.speedup_low:.2f}, {model.speedup_high:.2f}]"),
            f"{model.real_time_factor:.4f}",
            f"{100 * model.share_of_peak:.1f}",
            f"{model.peak_memory_bytes / 1e6:.0f}",
            "n/a" if model.size_bytes is None else f"{model.size_bytes / 1e6:.2f}",
            f"{model.num_unique_params / 1e6:.3f}",
            f"{model.macs_per_second / 1e9:.4f}",
        )
    return table


def _render_parts(models: list[ModelResult]) -> Table:
    table = _start_table("by part: ms / of time / of multiply-accumulates / of peak")
    for part in PARTS:
        table.add_column(part, justify="right")
    for model in (model for model in models if model.by_part):
        cells = []
        for part in PARTS:
            own = model.by_part[part]
            shares = (own.time_share, own.macs_share, own.share_of_peak)
            cells.append(" / ".join([f"{1e3 * own.median_s:.1f}", *(f"{share:.0%}" for share in shares)]))
        table.add_row(escape(model.name), *cells)
    return table


def _render_operators(model: ModelResult) -> Table:
    """List the operator types of an ONNX file, the slowest first, and the rest in one line."""
    by_kind: dict[str, dict[str, float]] = {}
    for part, times in model.by_operator.items():
        for kind, seconds in times.items():
            by_kind.setdefault(kind, {})[part] = seconds
    ranked = sorted(by_kind.items(), key=lambda item: -sum(item[1].values()))
    rest = {part: sum(times.get(part, 0.0) for _, times in ranked[_MOST_KINDS:]) for part in PARTS}
    total = sum(sum(times.values()) for times in by_kind.values())
    table = Table(title=f"{escape(model.name)} by operator: ms", title_justify="left", box=None, pad_edge=False)
    table.add_column("operator", overflow="fold")
    for heading in (*PARTS, "of time"):
        table.add_column(heading, justify="right")
    for kind, times in [*ranked[:_MOST_KINDS], ("others", rest)]:
        cells = [f"{1e3 * times[part]:.1f}" if times.get(part) else "" for part in PARTS]
        table.add_row(kind, *cells, f"{sum(times.values()) / total:.0%}")
    return table
