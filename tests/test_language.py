"""The project speaks the field's words (docs/glossary.md), not a dialect of its own."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WORDS = (
    "hears?", "hearing", "heard", "unheard", "told", "spell(?:s|ed)?", "said", "looks", "circles?", "strangers?",
    "look(?:ed|ing)? (?:at|like|through)", "beg(?:in|ins|an|un|inning) from", "small folders?", "lessons?",
    "hand(?:s|ed|ing)? over",
)  # fmt: skip
DIALECT = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)

# A line that stands for itself: part of a path, what the line holds, and why.
LITERAL: dict[tuple[str, str], str] = {}

SUFFIXES = {".py", ".md", ".yaml", ".sh", ".html", ".css"}
ROOMS = ("benchmarks", "bigfoot", "configs", "docs", "recipes", "tests", "tools")
PAGES = ("README.md", "RESULTS.md", "CONTRIBUTING.md", "setup.py")
FILES = sorted(
    path.relative_to(ROOT)
    for room in ROOMS
    for path in (ROOT / room).rglob("*")
    if path.suffix in SUFFIXES and "__pycache__" not in path.parts and path != Path(__file__).resolve()
) + [Path(name) for name in PAGES]


def room_of(path):
    """A folder of the first two levels; files beside each other are one room."""
    return path.parent.parts[:2]


def dialect_of(path):
    """Lines in the old dialect, but for literal ones."""
    for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
        literal = any(path.as_posix() == place and part in line for place, part in LITERAL)
        if DIALECT.search(line) and not literal:
            yield f"{path}:{number}: {line.strip()}"


@pytest.mark.parametrize("room", sorted(set(map(room_of, FILES))), ids="/".join)
def test_a_room_speaks_the_words_of_the_field(room):
    assert [line for path in FILES if room_of(path) == room for line in dialect_of(path)] == []


def test_every_literal_use_is_there():
    assert [(place, part) for place, part in LITERAL if part not in (ROOT / place).read_text(encoding="utf-8")] == []


def names_in(source):
    """Names of functions, classes, parameters, variables and attributes, each as words."""
    for node in ast.walk(ast.parse(source)):
        name = next((getattr(node, field) for field in ("name", "id", "arg", "attr") if hasattr(node, field)), None)
        if isinstance(name, str):
            yield getattr(node, "lineno", 0), name.lower().replace("_", " ")


@pytest.mark.slow
@pytest.mark.parametrize("top", ["benchmarks", "bigfoot", "recipes", "tests", "tools"])
def test_names_speak_them_too(top):
    found = [
        f"{path}:{line}: {name}"
        for path in FILES
        if path.parts[0] == top and path.suffix == ".py"
        for line, name in names_in((ROOT / path).read_text(encoding="utf-8"))
        if DIALECT.search(name)
    ]
    assert found == []


def test_dialect_is_found_in_names():
    found = {name for _, name in names_in("def hear_all(x_said): told.handed_over = _spell") if DIALECT.search(name)}
    assert found == {"hear all", "x said", "told", "handed over", " spell"}
