import io

import pytest
from rich.console import Console

from bigfoot.measure.benchmark import Benchmark, ModelResult, PeakResult
from bigfoot.measure.by_part import describe_parts
from bigfoot.measure.size import PARTS
from bigfoot.report.benchmark import render_benchmark
from tests.refusals import names

BY_PART = describe_parts([dict.fromkeys(PARTS, 0.01)], dict.fromkeys(PARTS, 25), audio=1.0, peaks=[10_000.0])


def result(name, threads, **changes):
    facts = {
        "name": name, "source": name, "runtime": "bigfoot", "threads": threads, "seconds": 10.0, "batch": 1,
        "median_s": 0.0644, "low_s": 0.0639, "high_s": 0.0652, "speedup_over_first": 1.5, "speedup_low": 1.25,
        "speedup_high": 1.75, "real_time_factor": 0.00644, "share_of_peak": 0.48, "peak_memory_bytes": 405_000_000,
        "num_params": 2_600_000, "num_unique_params": 2_524_000, "size_bytes": 10_120_000,
        "macs_per_second": 238_200_000, "by_part": BY_PART,
    }  # fmt: skip
    return ModelResult(**(facts | changes))


@pytest.fixture
def text():
    models = [result(name, threads) for threads in (1, 2) for name in ("teacher", "[b]odd[/b]")]
    peaks = [PeakResult(threads, 10.0, 1, 1024, 0.013, 82e9) for threads in (1, 2)]
    machine = {"processor": "Some [processor]", "processors": 2}
    console = Console(width=170, record=True, file=io.StringIO())
    console.print(*render_benchmark(Benchmark(models, peaks, machine, ["noted [1.0, 2.0]"], 9)), sep="\n")
    return console.export_text()


def test_a_table_of_models_for_every_setting(text):
    assert names(text, "1 thread, 10 s, batch 1", "2 threads, 10 s, batch 1", "82.0", "1024 x 1024")
    line = next(line for line in text.splitlines() if line.startswith("teacher"))
    cells = ["bigfoot", "64.4 [63.9, 65.2]", "1.50x [1.25, 1.75]", "0.0064", "48.0", "405", "10.12", "2.524", "0.2382"]
    assert " ".join(line.split()) == " ".join(["teacher", *cells])


def test_a_table_of_parts_beside_it(text):
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines.count("teacher" + 4 * " 10.0 / 25% / 25% / 25%") == 2
    assert lines.count(" ".join(["model", *PARTS])) == 2


def test_names_and_notes_are_no_markup(text):
    assert text.count("[b]odd[/b]") == 4
    assert "- noted [1.0, 2.0]" in text and names(text, "Some [processor]", 2, 9)
