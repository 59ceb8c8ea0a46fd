"""Write a report with all its views to a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from bigfoot.report.files import encode_json, encode_text, write_set
from bigfoot.report.plots import draw_losses, draw_wer_vs_size, render_png
from bigfoot.report.render import render_markdown
from bigfoot.report.render_html import render_html
from bigfoot.report.rows import Report
from bigfoot.report.spreadsheet import render_csv
from bigfoot.storage.ownership import OWN_OR_EDITED


def save_report(report: Report, folder: str | Path) -> None:
    """Write ``report.{md,html,csv,json}``, ``wer_vs_size.png`` and ``losses.png``.

    Each file is written atomically; ``report.json`` is last, so that if it exists, the others do too.

    Args:
        report: to write; non-finite numbers become null in the JSON.
        folder: created if missing.

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
    write_set(folder, contents, sign="report.json", may=OWN_OR_EDITED)
