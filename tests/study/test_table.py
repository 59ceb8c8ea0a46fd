"""Methods in one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import matplotlib.image
import pytest

from bigfoot.study.table import MethodComparison, MethodRow, mark_fronts, render_methods, save_methods


def row(name: str, wer: float, params: float, speedup: float | None = None, kind: str = "method") -> MethodRow:
    facts = {"steps": {"distill": 16, "finetune": 10}, "losses": {"distill": [1.2, 0.3]}, "start": "student_init"}
    return MethodRow(
        name, wer, wer - 0.01, wer + 0.01, [wer - 0.02, wer, wer + 0.02], params * 1e6, 9e7, kind, speedup=speedup,
        speedup_low=speedup, speedup_high=speedup, start_wer=0.9, wer_difference=wer - 0.04, wer_difference_low=0.0,
        wer_difference_high=0.1, train_seconds=75.0, **facts,  # type: ignore[arg-type]
    )  # fmt: skip


ROWS = [
    row("slow_and_small", 0.06, 0.4, 1.1), row("best_of_all", 0.05, 0.3, 3.0, kind="other"),
    row("teacher", 0.04, 2.5, 1.0, kind="teacher"), row("beaten", 0.08, 0.6, 1.0),
    row("ctc_only", 0.07, 0.9, 2.0, kind="control"),
]  # fmt: skip


def test_fronts_of_size_and_speed() -> None:
    fronts = {each.name: each.front for each in mark_fronts(ROWS)}
    assert list(fronts) == ["teacher", "best_of_all", "slow_and_small", "ctc_only", "beaten"]
    # What had fewer steps is on no front, nor does it push the others off.
    assert fronts == {
        "teacher": ["size", "speed"], "best_of_all": [], "slow_and_small": ["size", "speed"], "ctc_only": ["speed"],
        "beaten": [],
    }  # fmt: skip


def test_without_speeds_nobody_is_on_their_front() -> None:
    assert [each.front for each in mark_fronts([row("a", 0.1, 1.0), row("b", 0.2, 0.5)])] == [["size"], ["size"]]


def test_table_sorted_by_wer_with_marks_and_conditions() -> None:
    text = render_methods(MethodComparison(ROWS, ["`bash x`", "split test, greedy"], ["lowrank, seed 2: failed"]))
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    assert names == ["teacher", "best_of_all*", "slow_and_small", "control: ctc only", "beaten"]
    assert "6.00 [5.00, 7.00] | 6.00 [4.00, 8.00] of 3 | +2.00 [+0.00, +10.00] | 0.400 |" in lines[2]
    assert lines[2].endswith(
        "| 1.10x [1.10, 1.10] | size, speed | 90.00 (student_init) | 16 + 10 | 1.20 to 0.300 | 1 min 15 s |"
    )
    assert text.index("split test, greedy") < text.index(lines[0])
    assert "\n- lowrank, seed 2: failed" in text
    # What the star means, where there is one.
    bare = render_methods(MethodComparison(ROWS[2:], []))
    assert [any(line.startswith("* ") for line in each.splitlines()) for each in (text, bare)] == [True, False]


@pytest.mark.slow
def test_files(tmp_path: Path) -> None:
    save_methods(MethodComparison(ROWS, []), tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines][:2] == ["teacher", "best_of_all"]
    assert json.loads(lines[0]["wer_by_seed"]) == [0.02, 0.04, 0.06]
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["rows"][2]["front"] == ["size", "speed"] and content["failed"] == []
    for name in ("wer_vs_params.png", "wer_vs_speed.png"):
        assert matplotlib.image.imread(tmp_path / name)[..., :3].std() > 0.02
