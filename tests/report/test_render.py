"""What a reader sees, checked by hand."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from bigfoot.report.columns import format_wer
from bigfoot.report.console import render_console
from bigfoot.report.numbers import format_number, format_seconds
from bigfoot.report.render import render_markdown, render_table
from bigfoot.report.rows import Report, Row
from bigfoot.report.sentences import describe_protocols
from bigfoot.report.spreadsheet import render_csv
from tests.refusals import names

TEACHER = Row(
    "teacher", "teacher", "test", protocol="fine-tuned, CTC, no language model", wer=0.039, wer_low=0.031,
    wer_high=0.048, cer=0.013, num_utterances=260, num_words=1170, bootstrap_unit="utterance",
    num_unique_params=2_880_000, size_bytes=11_600_000, macs_per_second=346_000_000,
    macs_by_part={"conv": 173_000_000, "positional_conv": 23_000_000, "transformer": 144_000_000, "head": 6_000_000},
    real_time_factor=0.0123, peak_memory_bytes=412_000_000, compression_ratio=1.0, batch_invariant=True,
    batch_invariance_max_difference=1.3e-6, versions={"torch": "2.13.0"}, config_path="configs/demo.yaml", seed=7,
)  # fmt: skip
STUDENT = dataclasses.replace(
    TEACHER, name="student", step="finetune", wer=0.045, wer_low=0.036, wer_high=0.05625, num_unique_params=960_000,
    size_bytes=3_900_000, compression_ratio=3.0, speedup=2.13, speedup_low=2.01, speedup_high=2.2,
    speedup_all_threads=1.8, batch_invariant=False, batch_invariance_max_difference=0.12, wer_difference=0.006,
    wer_difference_low=0.001, wer_difference_high=0.012,
)  # fmt: skip


def test_table_by_hand() -> None:
    lines = render_markdown(Report("demo", [STUDENT, TEACHER])).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| model | WER"))
    assert lines[start + 2] == (
        "| teacher | 3.90 [3.10, 4.80] | 1.30 | 2.88 | 11.6 | 0.346 | 1.00x | n/a | n/a | n/a | 0.0123 "
        "| 81.3 | 412 | yes (1.3e-06) |"
    )
    assert lines[start + 3] == (
        "| student | 4.50 [3.60, 5.62] | 1.30 | 0.960 | 3.90 | 0.346 | 3.00x | n/a | 2.13x [2.01, 2.20] | 1.80x "
        "| 0.0123 | 81.3 | 412 | no (1.2e-01) |"
    )
    assert any(names(line, TEACHER.protocol, "decoder greedy", "split test", "1,170", "260") for line in lines)
    assert any(names(line, "student", "+0.60", "+0.10", "+1.20", "worse") for line in lines)
    assert "| teacher | 0.173 | 0.0230 | 0.144 | 0.00600 | 0.346 |" in lines
    assert "- versions: torch 2.13.0" in lines
    assert "- config: configs/demo.yaml, seed 7" in lines


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.02, -0.01, "better"), (-0.01, 0.01, "no difference shown"), (0.01, 0.02, "worse")]
)
def test_verdict_of_a_paired_difference(low: float, high: float, verdict: str) -> None:
    row = dataclasses.replace(STUDENT, wer_difference_low=low, wer_difference_high=high)
    assert f": {verdict}." in render_markdown(Report("demo", [row]))


def test_missing_wer_says_why() -> None:
    assert format_wer(Row("a", "b", "test", wer_missing_reason="no test split")) == "n/a (no test split)"
    assert format_wer(Row("a", "b", "test")) == "n/a"
    assert format_wer(Row("a", "b", "test", wer=0.0)) == "0.00"


def test_a_section_for_each_split() -> None:
    other = dataclasses.replace(TEACHER, split="test-other")
    text = render_markdown(Report("demo", [TEACHER, other]))
    assert text.index("## test\n") < text.index("## test-other\n")
    assert text.count("| teacher | 0.173 |") == 1  # the MACs of a model do not depend on the split


def test_other_protocols_have_their_own_line() -> None:
    lines = describe_protocols([TEACHER, STUDENT, dataclasses.replace(STUDENT, name="beam", decoder="beam 10")])
    assert lines[0].startswith("Protocol of teacher, student: ") and "decoder greedy" in lines[0]
    assert lines[1].startswith("Protocol of beam: ") and "decoder beam 10" in lines[1]


def test_skipped_data_is_counted_and_cut() -> None:
    skipped: list[dict[str, str | None]] = [
        {"split": "train", "id": f"u{index}", "path": f"{index}.wav", "reason": f"truncated: {index} of 99 samples"}
        for index in range(25)
    ]
    skipped.append({"split": "dev", "id": "v", "path": None, "reason": "the file is empty (0 bytes)"})
    text = render_markdown(Report("demo", skipped=skipped))
    assert "| train | truncated | 25 |" in text
    assert any(names(line, "| dev |", "| 1 |") for line in text.splitlines())
    assert names(text, "u19", "19.wav", skipped[19]["reason"])
    assert "u20" not in text
    assert any(names(line, "- and 6", "report.json") for line in text.splitlines())


def test_lists_and_times() -> None:
    text = render_markdown(Report("demo", [], {"distill": 611.0, "export": 0.42}, changes=["kept 0"], notes=["mind"]))
    assert "\n\n- kept 0\n" in text
    assert names(text, "| distill | 10 min 11 s |", "| export | 0.4 s |", "| all | 10 min 11 s |")
    assert text.endswith("## Notes\n\n- mind\n")


def test_empty_report_is_a_heading() -> None:
    assert render_markdown(Report("demo")) == "# demo\n"
    assert render_csv([]) == ""


def test_names_cannot_break_the_table() -> None:
    text = render_markdown(Report("demo", [Row("a|b\nc", "x", "test", wer=0.1)]))
    assert "| a\\|b c | 10.00 |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.9996, "1.00"), (9.999, "10.0"), (12_345.6, "12346"), (-2.5, "-2.50"), (1e-7, "1.0e-07"),
     (0.0001, "0.000100"), (float("nan"), "n/a"), (float("inf"), "n/a")],
)  # fmt: skip
def test_format_number(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(59.97, "1 min 0 s"), (3599.8, "1 h 0 min"), (0, "0.0 s")])
def test_format_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_console_fits_in_100_columns() -> None:
    silent = Row("student, int8 [bold]", "export", "dev", wer_missing_reason="no vocabulary to write words with")
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_console(Report("demo", [STUDENT, TEACHER, silent])))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "[bold]" in text, "a bracket in a name is no markup"
    assert text.index("teacher") < text.index("student")
    assert "4.50 [3.60, 5.62]" in text and "3.00x" in text and "2.13x [2.01, 2.20]" in text


@pytest.mark.parametrize(
    "hostile",
    ["<img src=x onerror=1>", "a`b\n# heading", "[x](javascript:1)", "# h", "- item", "1. one", "\u2028# h", "&lt;",
     "$x$", r"\(x\)", r"\[x\]"],
)
def test_names_of_others_are_shown_as_text(hostile: str) -> None:
    """No HTML, heading, list, link or code comes out of an id, a path, a reason, a title or a change."""
    skipped = [{"split": "train", "id": hostile, "path": hostile, "reason": hostile}]
    rows = [dataclasses.replace(TEACHER, name=hostile)]
    text = render_markdown(Report(hostile, rows, skipped=skipped, changes=[hostile], notes=[hostile]))
    assert not re.search(r"(?<!\\)\$|\\\\[(\[]", text)
    assert "<img" not in text and "](" not in text and "\u2028" not in text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    known = ("# ", "## test", "## What was", "## Notes", "## Skipped data", "## MACs", "## Where", "## Time")
    assert all(line.startswith(known) for line in headings) and len([h for h in headings if h.startswith("# ")]) == 1
    assert not [line for line in text.splitlines() if line.startswith(("- - ", "- # ", "- 1. "))]


@pytest.mark.slow
@given(st.text(alphabet="\\`[]()<>#*_|&;!:/=-+~ \nab1.", min_size=1, max_size=12).filter(str.strip))
def test_no_text_of_others_is_markup(hostile: str) -> None:
    """By a parser of Markdown: no HTML, heading, link, image, list or further cell, whatever the backslashes."""

    def parse(name: str) -> tuple[Counter[str], set[str]]:
        rows = [dataclasses.replace(TEACHER, name=name)]
        tokens = MarkdownIt("commonmark").enable("table").parse(
            render_markdown(Report(name, rows, changes=[name], notes=[name], skipped=[
                {"split": "train", "id": name, "path": name, "reason": name}
            ]))
        )  # fmt: skip
        inline = {child.type for token in tokens for child in token.children or ()}
        return Counter(token.type for token in tokens), inline

    plain, (found, inline) = parse("plain")[0], parse(hostile)
    assert found == plain
    assert not inline & {"html_inline", "link_open", "image"}


def test_a_backslash_before_a_pipe_ends_no_cell() -> None:
    # On GitHub, two backslashes are one, and the pipe behind them is a border.
    assert render_table(["a"], [["x\\|y"]])[-1] == "| x\\\\\\|y |"


def test_a_cell_is_no_formula() -> None:
    for start in ("=", "+", "-", "@", "\t", "\uff1d", " ="):
        cell = render_csv([dataclasses.replace(TEACHER, name=f"{start}1+2")], {"run": [f"{start}1"]}).splitlines()[1]
        assert cell.startswith(f"'{start}1,'{start}1+2") or cell.startswith(f"'{start}1,\"'{start}1+2")
    assert ",-0.02," in render_csv([dataclasses.replace(STUDENT, wer_difference=-0.02)]), "a number stays a number"
