"""Change one operator, number or return at a time in a module, and see whether its tests notice.

    python tools/mutate.py bigfoot/measure/error_rate.py=tests/measure/test_error_rate.py [MODULE=TEST[,TEST] ...]

Each mutant is one change of the module's syntax tree: a comparison, an arithmetic or boolean operator, a condition, a
number, true or false, or what a function returns. Texts are left alone (no test asserts on prose), as are f-strings,
messages of errors and annotations. pytest collects once; every mutant is a fork of that process, in which the code of
the module's functions is exchanged and the named tests and its docstrings' examples run to the first failure. A limit
of processor time ends what never would. Survivors are printed: each is a missing test, or a change of nothing.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import random
import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

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
SPARE, TIMES = 10, 5
"""Processor time of a mutant: seconds, and the time of the tests without a change."""


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


def exchange_(module: ModuleType, tree: ast.Module) -> None:
    """Give the functions of a module the code of another tree, and its constants their new values."""
    changed = ModuleType(module.__name__)
    changed.__file__ = module.__file__
    exec(compile(ast.fix_missing_locations(tree), module.__name__, "exec"), changed.__dict__)
    for name, new in list(vars(changed).items()):
        old = vars(module).get(name)
        if getattr(new, "__module__", module.__name__) == module.__name__ and not name.startswith("__"):
            setattr(module, name, old if _exchanged(old, new) else new)


def _exchanged(old: object, new: object) -> bool:
    """Exchange what a function or class is made of, so that whoever imported it has the new code."""
    if isinstance(old, FunctionType) and isinstance(new, FunctionType):
        old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
        for ours, theirs in zip(old.__closure__ or (), new.__closure__ or (), strict=True):
            ours.cell_contents = theirs.cell_contents
        return True
    if isinstance(old, property | classmethod | staticmethod):
        inner = "fget" if isinstance(old, property) else "__func__"
        return _exchanged(getattr(old, inner), getattr(new, inner, None))
    if not inspect.isclass(old) or not inspect.isclass(new):
        return False
    for name, value in vars(new).items():
        plain = not name.startswith("__") and not inspect.isdatadescriptor(value)
        if not _exchanged(vars(old).get(name), value) and plain:
            setattr(old, name, value)
    return True


class Mutating:
    """A plugin of pytest: instead of running what was collected once, runs it for every mutant.

    Args:
        tests: of every module's file.
        most: mutants of a module.
        seed: of the sample where there are more.
    """

    def __init__(self, tests: dict[str, list[str]], most: int, seed: int) -> None:
        self.tests, self.most, self.seed = tests, most, seed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run every module's mutants."""
        for file, tests in self.tests.items():
            wanted = [str(Path(name).resolve()) for name in (file, *tests)]
            self._run(file, [item for item in session.items if str(item.path) in wanted])
        return True

    def _run(self, file: str, items: list[pytest.Item]) -> None:
        source = Path(file).read_text(encoding="utf-8")
        before = _seconds_of_children()
        if not items or not passes(items, file, None, 3600):
            raise SystemExit(f"error: {file}: its {len(items)} tests fail without any change")
        limit = SPARE + TIMES * int(_seconds_of_children() - before)
        possible = range(len(list(find_sites(ast.parse(source)))))
        chosen = sorted(random.Random(self.seed).sample(possible, min(self.most, len(possible))))
        plain, survivors = ast.unparse(ast.parse(source)).splitlines(), 0
        for number in chosen:
            tree = ast.parse(source)
            site = list(find_sites(tree))[number]
            site.apply()
            if passes(items, file, tree, limit):
                survivors += 1
                after = ast.unparse(tree).splitlines()
                line = next(new.strip() for old, new in zip(plain, after, strict=False) if old != new)
                print(f"survives: {file}:{site.line}: {line}", flush=True)
        killed = len(chosen) - survivors
        counts = f"{killed} of {len(chosen)} mutants killed ({killed / len(chosen):.0%}), {len(possible)} possible"
        print(f"{file}: {counts}, {len(items)} tests", flush=True)


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def passes(items: list[pytest.Item], file: str, tree: ast.Module | None, seconds: int) -> bool:
    """Run tests in a child, with the module's code exchanged where there is a tree."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        if tree is not None:
            exchange_(sys.modules[".".join(Path(file).with_suffix("").parts)], tree)
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if item.session.testsfailed:
                os._exit(1)
    except BaseException:
        os._exit(1)
    os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="+", metavar="MODULE=TEST[,TEST]", help="files, from the project's root")
    parser.add_argument("--most", type=int, default=150, help="mutants of a module; of more, a sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    given = parser.parse_args(arguments)
    tests = {module: named.split(",") for module, _, named in (each.partition("=") for each in given.modules)}
    files = [*tests, *(name for named in tests.values() for name in named)]
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "-s", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
        return int(pytest.main([*dict.fromkeys(files), *options], plugins=[Mutating(tests, given.most, given.seed)]))


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    sys.exit(main())
