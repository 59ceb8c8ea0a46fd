"""Render figures as SVG for an HTML page: text stays text, and the same figure gives the same bytes."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:  # matplotlib is slow to import
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def printable(text: str) -> str:
    r"""Remove unprintable characters: most are invalid in XML, and some change the direction of the following text.

    Examples:
        >>> printable("a\x00b")
        'ab'
    """
    return "".join(sign for sign in text if sign.isprintable())


def render_svg(figure: Figure, title: str) -> str:
    """Render a figure as one ``<svg>`` element without background.

    Args:
        figure: to render.
        title: description for screen readers; unique on a page.

    Returns:
        The element. It refers to no other file and has proportions but no size, so that a page can scale it.

    Examples:
        >>> from bigfoot.report.plots import draw_wer_vs_size
        >>> from bigfoot.report.rows import Row
        >>> svg = render_svg(draw_wer_vs_size([Row("student", "distill", "test", wer=0.04, size_bytes=9)]), "WER, size")
        >>> svg.startswith("<svg ") and ">student</text>" in svg
        True
    """
    from matplotlib import rc_context

    title = printable(title)
    buffer = io.BytesIO()
    # With this salt, the ids of shared shapes depend only on the figure and the title.
    fonts = ["DejaVu Sans", "Verdana"]  # of equal width, so that labels do not overlap if the first is missing
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.sans-serif": fonts}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    _drop_names_(root)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.attrib.update({"role": "img", "aria-label": title})
    described = ElementTree.Element(f"{{{_SVG}}}title")
    described.text = title
    root.insert(0, described)
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK[1:].partition("}")[0])
    return ElementTree.tostring(root, encoding="unicode")


def _drop_names_(root: ElementTree.Element) -> None:
    """Remove unreferenced ids: all figures use the same ones, and an id must be unique on a page."""
    used = set()
    for element in root.iter():
        used.add(element.get(_LINK, "")[1:])
        for value in element.attrib.values():
            used.update(_REFERENCE.findall(value))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
