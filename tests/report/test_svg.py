"""Figures inside a page."""

from __future__ import annotations

import re
import warnings
from xml.etree import ElementTree

import pytest

from bigfoot.report.plots import draw_losses, draw_macs_by_part, draw_wer_vs_size
from bigfoot.report.rows import Row
from bigfoot.report.svg import render_svg

ROWS = [
    Row("teacher", "teacher", "test", wer=0.04, wer_low=0.03, wer_high=0.05, size_bytes=10_000_000),
    Row("student", "distill", "test", wer=0.05, wer_low=0.04, wer_high=0.06, size_bytes=3_000_000),
]


def test_text_is_text_and_the_title_is_there() -> None:
    root = ElementTree.fromstring(render_svg(draw_wer_vs_size(ROWS), 'WER & "size"'))
    name = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in root.iter(f"{name}text")]
    assert {"teacher", "student", "WER (%)", "size on disk (MB)"} <= set(texts)
    assert root.get("aria-label") == root.findtext(f"{name}title") == 'WER & "size"'
    assert "width" not in root.attrib and "viewBox" in root.attrib
    assert not list(root.iter(f"{name}metadata"))


@pytest.mark.slow
def test_shapes_are_found_and_names_are_there_once_a_page() -> None:
    figures = [render_svg(draw_wer_vs_size(ROWS), title) for title in ("one", "two")]
    for svg in figures:
        ids = set(re.findall(r' id="([^"]+)"', svg))
        used = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg))
        assert ids == {first or second for first, second in used}
    both = re.findall(r' id="([^"]+)"', "".join(figures))
    assert len(both) == len(set(both))
    assert figures[0] == render_svg(draw_wer_vs_size(ROWS), "one")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["$\\frac$", "a\x00b\x1b", "</svg><script>", "\u202eabc", "\udcff", "_x", "100%", ""])
def test_any_name_is_drawn(name: str) -> None:
    row = Row(name, "x", name, wer=0.1, size_bytes=9, macs_by_part={name: 5})
    figures = [draw_wer_vs_size([row], [name]), draw_losses({name: [{"step": 1, name: 1.0}]}), draw_macs_by_part([row])]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for figure in figures:
            svg = render_svg(figure, name)
            ElementTree.fromstring(svg)
            assert "<script" not in svg
