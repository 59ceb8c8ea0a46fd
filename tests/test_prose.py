"""Tests assert on classes, codes and values, not on prose; ``tests/pipeline/wording.txt`` alone holds wording."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
ASSERTING = ("startswith", "endswith", "count", "index")


def faults_in(source, label):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            yield from prose_of([node.left], f"{label}:{node.lineno}")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("pytest.raises", "pytest.warns") and any(keyword.arg == "match" for keyword in node.keywords):
            yield f"{label}:{node.lineno}: {called}(match=): take refused(error, values) of tests/refusals.py"
        elif called in ("refused", "names") or called.rpartition(".")[2] in ASSERTING:
            yield from prose_of(node.args, f"{label}:{node.lineno}")


def prose_of(values, label):
    """What is prose of constants and of the constant parts of f-strings."""
    for value in values:
        parts = value.values if isinstance(value, ast.JoinedStr) else [value]
        texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        yield from (f"{label}: {text!r} is prose" for text in texts if is_prose(text))


def is_prose(text):
    """Three bare words or more; a row of a table is no sentence."""
    return not text.startswith("| ") and len(re.findall(r"(?<!\S)[A-Za-z]+(?!\S)", text)) > 2


@pytest.mark.slow
def test_no_test_asserts_on_prose():
    files = [path for path in sorted(ROOT.rglob("*.py")) if path != Path(__file__)]
    assert [fault for path in files for fault in faults_in(path.read_text(), path.relative_to(ROOT))] == []


def test_prose_is_seen():
    assert list(faults_in('with pytest.raises(ValueError, match="a.b"): pass', "x"))
    assert list(faults_in('with refused(ValueError, "a.b", "should be a whole number"): pass', "x"))
    assert list(faults_in('assert "should be a whole number" in text', "x"))
    assert list(faults_in('assert f"{file} could not be written" not in text', "x"))
    assert list(faults_in('assert note.startswith("no more than that: ")', "x"))
    assert not list(faults_in('with refused(ValueError, "a.b", "hidden_states [0, 1]", 3): pass', "x"))
