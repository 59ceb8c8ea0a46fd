"""A small report with everything in it, hostile names among it, and a reader of pages."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from bigfoot.report.render_html import render_html
from bigfoot.report.rows import Report, Row

SCRIPT = '<script>document.title="taken"</script>'
REFERENCE = "one two six three four nine"
RTL = "אחת שתיים"  # one two, in Hebrew
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """What a page holds: tags, addresses outside it, and the cells of its first table with their values."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.outside: list[str] = []
        self.rows: list[list[str]] = []
        self.values: list[list[str | None]] = []
        self.text = ""
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        links = [found.get(name) for name in ("src", "href", "xlink:href", "action", "data", "srcset")]
        self.outside += [link for link in links if link and not link.startswith(("#", "data:"))]
        if self.tags.count("table") == 1 and tag == "tr":
            self.rows.append([])
            self.values.append([])
        if self.tags.count("table") == 1 and tag in ("td", "th"):
            self.rows[-1].append("")
            self.values[-1].append(found.get("data-value"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing that is open"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th") and self.tags.count("table") == 1:
            self.rows[-1][-1] += data
        if not {"script", "style"} & set(self.open):
            self.text += data


@pytest.fixture(scope="session")
def read_page() -> Any:
    """A page from its text; every tag must be closed."""

    def read(text: str) -> Page:
        page = Page()
        page.feed(text)
        page.close()
        assert page.open == []
        return page

    return read


@pytest.fixture(scope="session")
def hostile_report() -> Report:
    """Two splits, three models, errors, ten thousand files left out, names as bad as they get. Not to be changed."""
    macs = {"conv": 40_000_000, "positional_conv": 3_000_000, "transformer": 190_000_000, "head": 200_000}
    rows = [
        row
        for split in ("test", "test-$other$")
        for row in (
            Row("teacher", "teacher", split, protocol="CTC", wer=0.041, wer_low=0.03, wer_high=0.053, cer=0.02,
                num_words=1149, num_utterances=260, bootstrap_unit="utterance", num_unique_params=2_500_000,
                size_bytes=10_100_000, macs_per_second=233_200_000, macs_by_part=macs, compression_ratio=1.0,
                speedup=1.0, speedup_low=1.0, speedup_high=1.0, real_time_factor=0.0108, batch_invariant=True,
                batch_invariance_max_difference=1.7e-5, versions={"torch": "2.13.0"}, config_path="a.yaml", seed=7),
            Row("finetune", "finetune", split, protocol="CTC", wer=0.07, wer_low=0.055, wer_high=0.085, cer=0.03,
                num_words=1149, num_utterances=260, bootstrap_unit="utterance", num_unique_params=905_000,
                size_bytes=3_600_000, macs_per_second=89_700_000, macs_by_part={k: v // 2 for k, v in macs.items()},
                compression_ratio=2.79, speedup=10.2, speedup_low=1.9, speedup_high=12.0, real_time_factor=0.005,
                batch_invariant=True, batch_invariance_max_difference=1.1e-5, wer_difference=0.029,
                wer_difference_low=0.014, wer_difference_high=0.044),
            Row(SCRIPT, "export", split, wer_missing_reason="no <b>head</b>", size_bytes=950_000, speedup=2.0,
                speedup_low=1.8, speedup_high=2.1),
        )
    ]  # fmt: skip
    losses = {
        "finetune": [{"step": 10 * i, "ctc": 2.0 / i, "<i>term</i>": 1.0, "dev_wer": 0.5} for i in range(1, 9)],
    }
    worst: list[dict[str, Any]] = [
        {"split": "test", "model": "finetune", "id": SCRIPT, "speaker": "ann", "reference": REFERENCE,
         "hypotheses": {"teacher": REFERENCE, "finetune": "one too six four nine five", SCRIPT: "&amp;"},
         "errors": 3},
        {"split": "test", "model": "finetune", "id": "rtl\u202e", "speaker": "", "reference": RTL,
         "hypotheses": {"finetune": "", "teacher": RTL}, "errors": 2},
    ]  # fmt: skip
    skipped = [
        {"split": "train", "id": f"u{index}", "path": f'/a/"b"/{SCRIPT}{index}.wav', "reason": f"empty ({index} bytes)"}
        for index in range(10_000)
    ]
    return Report(
        SCRIPT, rows, {"finetune": 75.0}, skipped, [f"kept {SCRIPT}"], losses, [f"note {SCRIPT}"],
        {"data": {"root": SCRIPT, "bad": "${x"}}, {"processor": SCRIPT}, worst,
    )  # fmt: skip


@pytest.fixture(scope="session")
def hostile_page(hostile_report: Report) -> str:
    return render_html(hostile_report)
