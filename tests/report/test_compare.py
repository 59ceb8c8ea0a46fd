"""Several runs in one table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from bigfoot.errors import DataError
from bigfoot.report.compare import compare_runs, find_incomparable, render_comparison_html, save_comparison
from bigfoot.report.rows import Report, Row
from bigfoot.report.writer import save_report
from tests.refusals import names


def make_run(folder: Path, *rows: Row) -> Path:
    save_report(Report(folder.name, list(rows)), folder / "report")
    return folder


def judged(name: str, wer: float, split: str = "test", **facts: str | int) -> Row:
    facts = {"num_words": 100, "size_bytes": 4_000_000, **facts}
    return Row(name, name, split, wer=wer, **facts)  # type: ignore[arg-type]


@pytest.mark.slow
def test_rows_of_all_runs(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", judged("student", 0.06), judged("teacher", 0.04))
    b = make_run(tmp_path / "b", judged("student", 0.05))
    c = make_run(tmp_path / "c", judged("student", 0.07))
    comparison = compare_runs([a, str(b), c / "report"])
    assert [(each.run, each.row.name) for each in comparison.rows] == [
        ("a", "teacher"), ("a", "student"), ("b", "student"), ("c", "student"),
    ]  # fmt: skip
    assert comparison.rows[0].folder == str((a / "report").resolve())
    assert comparison.warnings == []


@pytest.mark.slow
def test_runs_of_one_name_stay_apart(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / seed / "demo", judged("student", 0.05)) for seed in ("seed1", "seed2")]
    assert [each.run for each in compare_runs(folders).rows] == ["seed1/demo", "seed2/demo"]


@pytest.mark.slow
def test_all_folders_without_report_are_named(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", judged("student", 0.05))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        compare_runs([good, tmp_path / "empty", tmp_path / "missing"])
    assert "good" not in str(caught.value)


@pytest.mark.slow
def test_no_folders_and_one_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        compare_runs([])
    run = make_run(tmp_path / "a", judged("student", 0.05))
    with pytest.raises(DataError):
        compare_runs([run, run / "report"])


def test_warnings_name_what_differs() -> None:
    base = judged("a", 0.1, protocol="CTC")
    assert find_incomparable([base, judged("b", 0.2, protocol="CTC")]) == []
    assert "(greedy; beam)" in find_incomparable([base, judged("b", 0.2, protocol="CTC", decoder="beam")])[0]
    # How a model was made is what a comparison compares.
    assert find_incomparable([base, judged("b", 0.2, protocol="distilled")]) == []
    assert "(word; phoneme)" in find_incomparable([base, judged("b", 0.2, unit="phoneme")])[0]
    assert names(find_incomparable([base, judged("b", 0.2, protocol="CTC", num_words=99)])[0], 99, "test")
    # Another split has another number of words: one warning says it.
    other = judged("b", 0.2, split="dev", protocol="CTC", num_words=9)
    (warning,) = find_incomparable([base, other])
    assert names(warning, "splits") and not names(warning, 9)
    # Where there is no WER there is nothing to compare.
    assert find_incomparable([base, Row("b", "export", "dev", decoder="beam")]) == []


@pytest.mark.slow
def test_files(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", judged("teacher", 0.04), judged("student", 0.06))
    b = make_run(tmp_path / "b", judged("student", 0.05, decoder="beam"))
    out = tmp_path / "out"
    save_comparison(compare_runs([a, b]), out)
    made = sorted(path.name for path in out.iterdir())
    assert made == [".bigfoot", "compare.csv", "compare.html", "compare.json", "compare.md", "compare.png"]
    text = (out / "compare.md").read_text()
    assert "| b | student | test | 5.00 |" in text
    assert any(names(line, "- **Careful:**", "decoders") for line in text.splitlines())
    with (out / "compare.csv").open(newline="") as file:
        assert [(line["run"], line["wer"]) for line in csv.DictReader(file)] == [
            ("a", "0.04"), ("a", "0.06"), ("b", "0.05"),
        ]  # fmt: skip
    content = json.loads((out / "compare.json").read_text())
    assert (content["rows"][2]["run"], content["rows"][2]["wer"], len(content["warnings"])) == ("b", 0.05, 1)
    image = matplotlib.image.imread(out / "compare.png")
    assert image[..., :3].std() > 0.02


@pytest.mark.slow
def test_html_escapes_and_sorts_by_values(tmp_path: Path, read_page: Callable[[str], Any]) -> None:
    name = '<script>alert("1")</script> & {braces} {{ 7 * 7 }}'
    run = make_run(tmp_path / "a", judged(name, 0.05, decoder="<b>"), judged("b", 0.05))
    text = render_comparison_html(compare_runs([run]))
    page = read_page(text)
    assert page.tags.count("script") == 1 and "b" not in page.tags
    assert page.rows[1][:4] == ["a", name, "test", "5.00"]
    assert page.values[1][:5] == ["a", name, "test", "0.05", None]
    assert page.outside == []
    assert "&lt;b&gt;; greedy" in text
    assert page.tags.count("svg") == 1, "without speeds there is no picture of them"
