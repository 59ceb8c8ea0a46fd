"""Figures as SVG to stand inside an HTML page: text stays text, and the same figure gives the same bytes."""

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
    r"""Take out what has no shape: XML has no way to write most of it, and it turns the direction of what follows.

    Examples:
        >>> printable("a\x00b")
        'ab'
    """
    return "".join(sign for sign in text if sign.isprintable())


def render_svg(figure: Figure, title: str) -> str:
    """Draw a figure as one ``<svg>`` element without background.

    Args:
        figure: what to draw.
        title: what it shows, for those who cannot see it; several figures of one page need different ones.

    Returns:
        The element. It names no other file and has no size but its proportions, so that a page can scale it.

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
    # The salt makes the names of shared shapes depend on nothing but what is drawn and the title.
    fonts = ["DejaVu Sans", "Verdana"]  # as wide as each other, so that labels stay clear where the first is missing
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
    """Take out the names that nothing refers to: every figure calls its parts alike, and a page may use an id once."""
    used = set()
    for element in root.iter():
        used.add(element.get(_LINK, "")[1:])
        for value in element.attrib.values():
            used.update(_REFERENCE.findall(value))
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
