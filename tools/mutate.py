"""Change one operator, number or return at a time in a module, and see whether its tests notice.

    python tools/mutate.py bigfoot/measure/error_rate.py tests/measure/test_error_rate.py [--most 150] [--seed 0]

Each mutant is one change of the module's syntax tree: a comparison, an arithmetic or boolean operator, a condition, a
number, true or false, or what a function returns. Texts are left alone (no test asserts on prose), as are f-strings,
messages of errors and annotations. The tests run in a fork of a process in which torch is loaded already, the first
failure ends them, and a limit of processor time ends what never would. The survivors are printed, line by line: each is
a missing test, or a change that changes nothing. The examples of the module's docstrings are tests, too.
"""

from __future__ import annotations

import argparse
import ast
import doctest
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest

OTHER: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.MatMult: ast.Add,
}  # fmt: skip
"""What takes an operator's place."""
UNTOUCHED = {"annotation", "returns", "exc"}
"""Fields of the tree that hold types and messages."""
MEMORY, SPARE_SECONDS = 16 << 30, 20


@dataclass
class Site:
    """A node that can be replaced.

    Args:
        parent: what holds it.
        field: in which field.
        index: at which place of it; None where it is no list.
        new: what takes its place.
        line: where it stands.
    """

    parent: ast.AST
    field: str
    index: int | None
    new: ast.AST
    line: int

    def apply(self) -> None:
        """Put the new node in the old one's place."""
        if self.index is None:
            setattr(self.parent, self.field, self.new)
        else:
            getattr(self.parent, self.field)[self.index] = self.new


def find_sites(node: ast.AST, line: int = 0) -> Iterator[Site]:
    """List all that can be changed in a tree, in its order."""
    line = getattr(node, "lineno", line)
    for field, value in ast.iter_fields(node):
        if field in UNTOUCHED or isinstance(node, ast.JoinedStr):
            continue
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                place = index if isinstance(value, list) else None
                yield from (Site(node, field, place, new, line) for new in replacements(node, field, child))
                yield from find_sites(child, line)


def replacements(parent: ast.AST, field: str, node: ast.AST) -> Iterator[ast.AST]:
    """What may take a node's place."""
    if type(node) in OTHER:
        yield OTHER[type(node)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    if isinstance(node, ast.expr) and (field == "test" or (isinstance(parent, ast.comprehension) and field == "ifs")):
        yield ast.UnaryOp(ast.Not(), node)
    if isinstance(parent, ast.Return) and not (isinstance(node, ast.Constant) and node.value is None):
        yield ast.Constant(None)


class Replaced(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from code instead of its file.

    Args:
        name: of the module.
        code: compiled.
    """

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Take the module of that name."""
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the code in the module."""
        module.__file__ = self.code.co_filename
        exec(self.code, module.__dict__)


def run_tests(tests: list[str], replaced: Replaced | None, seconds: float, listing: Path | None = None) -> int:
    """Run tests in a child.

    Args:
        tests: files.
        replaced: the mutant; None for the module as it is.
        seconds: of processor time that it may take.
        listing: where to write which modules were loaded.

    Returns:
        0 if all pass.
    """
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        if replaced is not None:
            sys.meta_path.insert(0, replaced)
        with tempfile.TemporaryDirectory() as folder:
            quick = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
            status = pytest.main([*tests, *quick])
        if not status and replaced is not None:
            status = doctest.testmod(importlib.import_module(replaced.name), optionflags=doctest.ELLIPSIS).failed
        if listing is not None:
            listing.write_text(json.dumps(sorted(sys.modules)))
        os._exit(min(1, int(status)))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up(tests: list[str]) -> float:
    """Run the tests once as they are, load here what they load of others, and return their processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "modules.json"
        if run_tests(tests, None, 3600, listing):
            raise SystemExit(f"error: {' '.join(tests)} fail without any change")
        names = json.loads(listing.read_text())
    ours = ("bigfoot", "tests", "conftest", "test_", "__main__", "_pytest", "pytest")
    for name in names:
        if not name.startswith(ours):
            try:
                importlib.import_module(name)
            except Exception:
                continue
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run_tests(tests, None, 3600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("module", type=Path, help="file of the module, from the project's root")
    parser.add_argument("tests", nargs="+", help="files of its tests")
    parser.add_argument("--most", type=int, default=150, help="mutants; of more, a sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    given = parser.parse_args(arguments)
    source, name = given.module.read_text(encoding="utf-8"), ".".join(given.module.with_suffix("").parts)
    numbers = range(len(list(find_sites(ast.parse(source)))))
    chosen = sorted(random.Random(given.seed).sample(numbers, min(given.most, len(numbers))))
    began, seconds = time.monotonic(), 3 * warm_up(given.tests) + SPARE_SECONDS
    survivors = 0
    for number in chosen:
        tree = ast.parse(source)
        site = list(find_sites(tree))[number]
        site.apply()
        code = compile(ast.fix_missing_locations(tree), str(given.module), "exec")
        if run_tests(given.tests, Replaced(name, code), seconds) == 0:
            survivors += 1
            changed = ast.unparse(ast.parse(source)).splitlines(), ast.unparse(tree).splitlines()
            line = next(new.strip() for old, new in zip(*changed, strict=False) if old != new)
            print(f"survives: {given.module}:{site.line}: {line}", flush=True)
    killed = len(chosen) - survivors
    print(f"{given.module}: {killed} of {len(chosen)} killed ({killed / len(chosen):.0%}), {len(numbers)} possible, "
          f"seed {given.seed}, {time.monotonic() - began:.0f} s")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    sys.exit(main())
