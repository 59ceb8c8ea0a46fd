"""The package and its documentation speak the field's words (docs/glossary.md), not a dialect of their own."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DIALECT = re.compile(r"\b(hears?|heard|unheard|told|spelled|strangers?|lessons?)\b", re.IGNORECASE)

# What stands for itself: part of a path, and why.
LITERAL: dict[str, str] = {}

FILES = [
    *sorted((ROOT / "bigfoot").rglob("*.py")), *sorted((ROOT / "bigfoot" / "configs").rglob("*.yaml")),
    *sorted(path for kind in ("md", "html", "css") for path in (ROOT / "bigfoot" / "assets").rglob(f"*.{kind}")),
    *sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md",
]  # fmt: skip


@pytest.mark.parametrize("room", sorted({path.relative_to(ROOT).parts[:2] for path in FILES}), ids="/".join)
def test_a_room_speaks_the_words_of_the_field(room):
    found = []
    for path in FILES:
        name = path.relative_to(ROOT)
        if name.parts[:2] != room or str(name) in LITERAL:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        found += [f"{name}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if DIALECT.search(line)]
    assert found == []
