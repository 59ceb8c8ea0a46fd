"""What must start at once loads nothing heavy."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bigfoot
from tests.refusals import refused

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "lhotse", "onnxruntime", "matplotlib")

# Runs what is asked for, then tells on the last line which modules are there.
REPORTER = """
import json, runpy, sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def modules_after(code):
    done = subprocess.run(
        [sys.executable, "-c", REPORTER.format(code=code)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    output, _, last = done.stdout.rstrip("\n").rpartition("\n")
    return set(json.loads(last)), output


def test_import_loads_nothing_heavy():
    modules, _ = modules_after("import bigfoot")
    assert not modules & set(HEAVY)


@pytest.mark.slow
def test_a_configuration_is_read_without_anything_heavy():
    modules, _ = modules_after("import bigfoot; bigfoot.load_config('demo_config.yaml')")
    assert not modules & set(HEAVY)


def test_lowest_floors_load_nothing_heavy():
    files = [ROOT / f"bigfoot/{name}.py" for name in ("config", "errors", "types", "audio.files")]
    files += sorted((ROOT / "bigfoot/text").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files]
    modules, _ = modules_after(f"import {', '.join(names)}")
    assert not modules & set(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "sys.argv = ['bigfoot', '--help']; runpy.run_module('bigfoot', run_name='__main__')",
        "sys.argv = ['bigfoot', '--help']; from bigfoot.cli import main; sys.exit(main())",
    ],
    ids=["python -m bigfoot", "console script"],
)
def test_help_loads_nothing_heavy(code):
    modules, output = modules_after(code)
    assert not modules & set(HEAVY)
    for command in ("compress", "evaluate", "summary", "benchmark", "compare", "transcribe", "convert", "doctor"):
        assert command in output


def test_public_names_come_from_their_rooms():
    for name in bigfoot.__all__:
        assert getattr(bigfoot, name) is not None
        assert name in dir(bigfoot)
    assert set(bigfoot.__all__) == set(bigfoot._HOMES)


def test_unknown_name_is_refused_with_the_known_ones():
    with refused(AttributeError, "Confog"):
        _ = bigfoot.Confog


def test_version_is_written_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+", bigfoot.__version__)
    assert bigfoot.__version__ not in (ROOT / "setup.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_reading_a_configuration_loads_nothing_heavy():
    modules, _ = modules_after("import bigfoot; bigfoot.load_config('demo_config.yaml')")
    assert not modules & set(HEAVY)
