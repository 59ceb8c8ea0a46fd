"""The table of families is what the tests' own parameters make; BIGFOOT_WRITE_MATRIX=1 writes it."""

import os

import pytest

from tests.matrix import BEGIN, END, PAGE, write_table


@pytest.mark.slow
def test_the_page_is_what_the_tests_run():
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN + "\n")
    _, _, after = rest.partition("\n" + END)
    expected = f"{before}{BEGIN}\n{write_table()}\n{END}{after}"
    if os.environ.get("BIGFOOT_WRITE_MATRIX"):
        PAGE.write_text(expected, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == expected
