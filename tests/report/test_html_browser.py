"""The page of a report in a real browser, at the width of a phone: headless Chromium by its own driver, no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from bigfoot.report.columns import COLUMNS
from bigfoot.report.rows import Report
from bigfoot.report.writer import save_report
from tests.browsers import browsing, need_chromium

pytestmark = pytest.mark.slow

need_chromium()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browsing(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def phone(browser: Any, hostile_report: Report, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The browser as a phone of 390 x 844, with a saved report open."""
    folder = tmp_path_factory.mktemp("report")
    save_report(hostile_report, folder)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    # The browser's own first page is no part of ours, nor what it asks for.
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get((folder / "report.html").as_uri())
    return browser


def column(driver: Any, index: int) -> list[str]:
    """The cells of a column of the first table, from the top."""
    script = "return [...document.querySelector('table').tBodies[0].rows].map(row => row.cells[arguments[0]].innerText)"
    return driver.execute_script(script, index)


def press(driver: Any, index: int, key: str | None = None) -> str:
    """Click on a head of the first table, or press a key on it; how it is sorted then."""
    head = driver.find_elements("css selector", "table:first-of-type thead th")[index]
    button = head.find_element("css selector", "button")
    if key is None:
        button.click()
    else:
        button.send_keys(key)
    return head.get_attribute("aria-sort")


def test_a_click_sorts_by_value_and_what_is_missing_stays_last(phone: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    heads = [column.head for column in COLUMNS]
    model, wer, faster = (heads.index(head) for head in ("model", "WER % [95 %]", "faster [spread]"))
    given = column(phone, wer)
    assert given == ["4.10 [3.00, 5.30]", "7.00 [5.50, 8.50]", "n/a (no <b>head</b>)"]
    assert press(phone, wer) == "ascending" and column(phone, wer) == given
    assert press(phone, wer) == "descending" and column(phone, wer) == [given[1], given[0], given[2]]
    # As texts, 10.2x would stand before 2.00x; by keyboard, as for those who have no mouse.
    assert press(phone, faster, Keys.ENTER) == "ascending"
    assert [text.split()[0] for text in column(phone, faster)] == ["1.00x", "2.00x", "10.2x"]
    assert press(phone, faster, Keys.SPACE) == "descending"
    assert [text.split()[0] for text in column(phone, faster)] == ["10.2x", "2.00x", "1.00x"]
    assert press(phone, model) == "ascending"
    assert column(phone, model)[1:] == ["finetune", "teacher"]
    titles = phone.find_elements("css selector", "table:first-of-type thead th")[: len(COLUMNS)]
    assert [title.get_attribute("aria-sort") for title in titles] == ["ascending"] + ["none"] * (len(COLUMNS) - 1)
    press(phone, model)
    assert press(phone, model) == "none" and column(phone, wer) == given


def test_nothing_runs_fails_or_leaves_the_machine(phone: Any) -> None:
    # A name full of script is still the title, and nothing has changed it.
    assert phone.title == '<script>document.title="taken"</script>'
    assert phone.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in phone.get_log("performance")]
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    # The page itself, and its empty icon.
    assert [url.rpartition("/")[2] for url in asked if url != "data:,"] == ["report.html"]


def test_it_fits_a_phone(phone: Any, tmp_path: Path) -> None:
    phone.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    inner, outer = phone.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert inner <= outer == 390
    # The table is wider than that, and moves by itself, under its first column.
    before, after, moved = phone.execute_script(
        """const wide = document.querySelector(".wide"), cell = wide.querySelector("tbody th");
        const left = cell.getBoundingClientRect().left;
        wide.scrollLeft = 200;
        return [left, cell.getBoundingClientRect().left, wide.scrollLeft];"""
    )
    assert moved == 200 and after == before
    # A name of one long word breaks rather than run into the next column.
    firsts = "return [...document.querySelectorAll('tbody th')].map(cell => cell.scrollWidth - cell.clientWidth)"
    assert max(phone.execute_script(firsts)) <= 1
    picture = tmp_path / "phone.png"
    picture.write_bytes(base64.b64decode(phone.get_screenshot_as_base64()))
    image = matplotlib.image.imread(picture)
    assert image.shape[:2] == (2 * 844, 2 * 390)
    assert image[..., :3].std() > 0.02, "the page is blank"
