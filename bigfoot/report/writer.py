"""A report with all its views, written to a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bigfoot.report.files import encode_json, encode_text, write_whole
from bigfoot.report.plots import draw_losses, draw_wer_vs_size, render_png
from bigfoot.report.render import render_markdown
from bigfoot.report.render_html import render_html
from bigfoot.report.rows import Report
from bigfoot.report.spreadsheet import render_csv
from bigfoot.storage.ownership import OWN_OR_EDITED


def save_report(report: Report, folder: str | Path) -> None:
    """Write ``report.{md,html,csv,json}``, ``wer_vs_size.png`` and ``losses.png``.

    Each file appears whole or not at all; ``report.json`` comes last, so that where it is, the others are too.

    Args:
        report: what to write. Numbers that are not finite become null in the JSON, which has no word for them.
        folder: where, made if it is missing.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> from bigfoot.report.rows import Row, load_report
        >>> save_report(Report(title="demo", rows=[Row("teacher", "teacher", "test", wer=0.04)]), folder)
        >>> load_report(folder).rows[0].wer
        0.04
    """
    contents = {
        "report.md": encode_text(render_markdown(report)),
        "report.html": encode_text(render_html(report)),
        "report.csv": encode_text(render_csv(report.rows)),
        "wer_vs_size.png": render_png(draw_wer_vs_size(report.rows)),
        "losses.png": render_png(draw_losses(report.losses)),
        "report.json": encode_json(dataclasses.asdict(report)),
    }
    for name, content in contents.items():
        write_whole(Path(folder) / name, content, sign="report.json", may=OWN_OR_EDITED)
