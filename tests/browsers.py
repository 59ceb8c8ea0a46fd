"""A headless Chromium by its own driver; no network."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")


def need_chromium():
    """Skip a module where there is no browser."""
    pytest.importorskip("selenium.webdriver", reason="no selenium: the extra [test]")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip(
            "no Chromium with chromedriver to show the page: install them (Debian: apt-get install chromium "
            "chromium-driver)", allow_module_level=True,
        )  # fmt: skip


@contextmanager
def browsing(folder, *arguments):
    """A browser, with a profile of its own in a folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={folder}",
        *arguments,
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Given its path, selenium searches for no driver of its own on the network.
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
