"""Pages that name tests name tests that are there."""

import ast
import re
from pathlib import Path

import pytest

from bigfoot.formats.registry import FORMATS
from bigfoot.models.shape import FAMILY_PREFIXES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "formats.md"
CITED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def table_rows():
    """Cells of the first table, without its head."""
    table = PAGE.read_text(encoding="utf-8").split("\n\n")[2]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("cited", sorted(set(CITED.findall(PAGE.read_text(encoding="utf-8")))), ids="::".join)
def test_a_cited_test_is_there(cited):
    path, name = cited
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_family_has_every_format_in_the_table():
    proper = {"hubert": "HuBERT", "wavlm": "WavLM"}
    found = [(row[0].split(" ")[0], row[1].split(" ")[0]) for row in table_rows()]
    wanted = {(proper.get(family, family), name) for family in FAMILY_PREFIXES for name in FORMATS}
    assert wanted <= set(found) and len(found) == len(set(found))


def test_every_cell_is_tested_or_has_a_reason():
    for row in table_rows():
        for cell in row[2:]:
            assert CITED.search(cell) or re.search(r"reason: \w+", cell), row
