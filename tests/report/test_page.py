"""The skeleton of all pages."""

from __future__ import annotations

import base64
import hashlib
import math
import re

import pytest
from jinja2 import UndefinedError

from bigfoot.report.columns import COLUMNS
from bigfoot.report.page import Cell, Head, SortableTable, draw_tradeoffs, render_page, tabulate_rows
from bigfoot.report.rows import Row
from tests.refusals import refused


def test_values_behind_the_cells() -> None:
    rows = [Row("a", "x", "test", wer=0.05, cer=math.nan, size_bytes=4_000_000), Row("b", "x", "test")]
    table = tabulate_rows("models", COLUMNS, rows, {"run": ["r1", "r2"]})
    assert table.heads[:3] == [Head("run", False), Head("model", False), Head("WER % [95 %]", True)]
    assert table.rows[0][:4] == [Cell("r1", "r1"), Cell("a", "a"), Cell("5.00", 0.05), Cell("n/a", None)]
    assert {cell.value for cell in table.rows[1][2:]} == {None}


def test_only_our_own_script_may_run() -> None:
    table = SortableTable("models", [Head("model", False)], [])
    text = render_page("compare.html", "demo", warnings=[], table=table, figures=[])
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src"
    assert f"{policy} 'sha256-{digest}'\"" in text


def test_what_a_template_lacks_is_an_error() -> None:
    with refused(UndefinedError, "table"):
        render_page("compare.html", "demo", warnings=[], figures=[])


@pytest.mark.slow
def test_pictures_of_what_there_is() -> None:
    sized = Row("a", "x", "test", wer=0.1, size_bytes=9)
    fast = Row("a", "x", "dev", wer=0.1, speedup=2.0)
    figures = draw_tradeoffs([sized, fast, Row("b", "x", "dev")])
    titles = [re.findall(r'aria-label="([^"]+)"', svg)[0] for svg in figures]
    assert titles == ["WER against size, test", "WER against speed, dev"]
