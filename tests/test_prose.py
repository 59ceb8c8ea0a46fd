"""Tests assert on classes, codes and values, not on prose; ``tests/pipeline/wording.txt`` alone holds wording."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# Whose problems are still getting codes.
LEFT = ("pipeline", "config", "compress", "documentation")


def faults_in(source, label):
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "pytest.raises" and any(keyword.arg == "match" for keyword in node.keywords):
            yield f"{label}:{node.lineno}: pytest.raises(match=): take refused(error, values) of tests/refusals.py"
        elif called in ("refused", "names"):
            said = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            yield from (f"{label}:{node.lineno}: {text!r} is prose" for text in said if is_prose(text))


def is_prose(text):
    return len(re.findall(r"(?<!\S)[A-Za-z]+(?!\S)", text)) > 2


def test_no_test_asserts_on_prose():
    files = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in LEFT]
    assert [fault for path in files for fault in faults_in(path.read_text(), path.relative_to(ROOT))] == []


def test_prose_is_seen():
    assert list(faults_in('with pytest.raises(ValueError, match="a.b"): pass', "x"))
    assert list(faults_in('with refused(ValueError, "a.b", "should be a whole number"): pass', "x"))
    assert not list(faults_in('with refused(ValueError, "a.b", "hidden_states [0, 1]", 3): pass', "x"))
