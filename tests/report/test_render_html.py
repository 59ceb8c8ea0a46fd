"""The page of a report: whole without scripts and without the network, harmless whatever it shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigfoot.report.render_html import NUM_SKIPPED_LISTED, render_html
from bigfoot.report.rows import Report, Row, load_report
from bigfoot.report.writer import save_report
from tests.refusals import names

Reader = Callable[[str], Any]


@pytest.mark.slow
def test_table_by_hand(hostile_page: str, read_page: Reader) -> None:
    page = read_page(hostile_page)
    assert page.rows[0][:3] == ["model", "WER % [95 %]", "CER %"]
    assert page.rows[2][:3] == ["finetune", "7.00 [5.50, 8.50]", "3.00"]
    assert page.values[2][:4] == ["finetune", "0.07", "0.03", "905000"]
    # What is missing says so and has no value to sort by.
    assert page.rows[3][1] == "n/a (no <b>head</b>)" and page.values[3][1] is None


def test_nothing_shown_is_read_as_html(hostile_page: str, read_page: Reader) -> None:
    page = read_page(hostile_page)
    assert page.tags.count("script") == 1 and not {"b", "i", "iframe", "object"} & set(page.tags)
    assert page.handlers == []
    assert page.outside == []
    assert len(set(page.ids)) == len(page.ids)
    shown = '<script>document.title="taken"</script>'
    for text in (f"kept {shown}", f"note {shown}", f"processor: {shown}", f"root: {shown}", "bad: ${x", "&amp;"):
        assert text in page.text, text


def test_every_part_is_there(hostile_page: str, read_page: Reader) -> None:
    page = read_page(hostile_page)
    for text in (
        "finetune against the teacher: +2.90 points of WER (95 % interval +1.40 to +4.40", ": worse.",
        "Protocol: CTC; decoder greedy; split test, 1,149 words in 260 utterances", "times faster than the teacher",
        "size on disk (MB)", "GMACs per second of audio", "optimizer step", "1 min 15 s", "versions: torch 2.13.0",
        "config: a.yaml, seed 7", "Parameters are counted once",
    ):  # fmt: skip
        assert text in page.text, text
    # Size and speed for each split, MACs, and one training step.
    assert page.tags.count("svg") == 2 * 2 + 1 + 1


def test_errors_are_aligned_and_marked_without_colour(hostile_page: str) -> None:
    words = hostile_page[hostile_page.index("<article>") : hostile_page.index("<h2>MACs")]

    def word(kind: str, reference: str, found: str) -> str:
        title = "" if kind == "hit" else f' title="{kind}"'
        mark = "" if kind == "hit" else f' <span class="mark">{kind[0].upper()}</span>'
        return (
            f'<span class="word {kind}"{title}><span class="reference">{reference}</span> '
            f'<span class="hypothesis">{found}</span>{mark}</span>'
        )

    kinds = [
        word("hit", "one", "one"), word("substitution", "two", "too"), word("hit", "six", "six"),
        word("deletion", "three", "·"), word("hit", "nine", "nine"), word("insertion", "·", "five"),
    ]  # fmt: skip
    places = [words.index(each) for each in kinds]
    assert places == sorted(places)
    assert names(words, "3 wrong in 6", "1 substituted, 1 deleted, 1 inserted", "all 6")
    # The student stands before the teacher, and the third model behind a fold.
    assert words.index("<bdi>finetune</bdi>") < words.index("<bdi>teacher</bdi>") < words.index("<summary", places[-1])


def test_ten_thousand_skipped_files_leave_the_page_small(hostile_page: str) -> None:
    text = hostile_page
    assert len(text) < 500_000
    assert "10,000 left out." in text
    assert f"<bdi>u{NUM_SKIPPED_LISTED - 1}</bdi>" in text and f"<bdi>u{NUM_SKIPPED_LISTED}</bdi>" not in text
    assert names(text, f"And {10_000 - NUM_SKIPPED_LISTED}", "report.json")
    many = Report("demo", skipped=[{"split": "train", "id": "a", "reason": f"reason {i}"} for i in range(300)])
    assert names(render_html(many), "And 250")


def test_what_is_empty_is_left_out(read_page: Reader) -> None:
    page = read_page(render_html(Report("demo", [Row("a", "b", "test")])))
    assert not {"svg", "details", "article"} & set(page.tags)
    assert page.tags.count("h2") == 1
    assert "h2" not in read_page(render_html(Report("demo"))).tags


@pytest.mark.slow
def test_the_saved_report_gives_the_same_page(hostile_report: Report, tmp_path: Path) -> None:
    save_report(hostile_report, tmp_path)
    code = (
        "import sys; from bigfoot.report.rows import load_report; from bigfoot.report.render_html import render_html; "
        "sys.stdout.buffer.write(render_html(load_report(sys.argv[1])).encode())"
    )
    # In a process of its own: hashes of texts, and the order of sets with them, differ from process to process.
    again = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True).stdout
    assert again == (tmp_path / "report.html").read_bytes()
    assert load_report(tmp_path) == hostile_report
