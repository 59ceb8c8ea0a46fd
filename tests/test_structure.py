"""The structure of the package beyond its floors: no import cycle of files, no private name of another module."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest

from bigfoot.compress.registry import BUILT_IN

ROOT = Path(__file__).resolve().parent.parent

_spec = importlib.util.spec_from_file_location("floors", Path(__file__).with_name("test_floors.py"))
floors = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(floors)

def import_graph(late=()):
    """Which file imports which, inside functions, for type checkers and by name too; a package is its ``__init__``.

    Names as text of the modules of ``floors.LATE`` are left out, but for those of ``late``.
    """
    names = {floors.name_of(path): path for path in floors.MODULES}
    graph = {}
    for name, path in names.items():
        found = set()
        for _, imported in floors.imports_of(path, late=name in late):
            # ``from package import name`` imports the module of that name, or else the package.
            home = imported if imported in names else imported.rpartition(".")[0]
            if home in names and home != name:
                found.add(home)
        graph[name] = found
    return graph


def find_cycles(graph):
    """Sets of files that import each other, by Tarjan's algorithm."""
    index, low, stack, on_stack, cycles = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on_stack.add(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            members = set()
            while node not in members:
                members.add(stack.pop())
            on_stack.difference_update(members)
            if len(members) > 1:
                cycles.append(members)

    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10 * len(graph)))
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return cycles


def private_names(path):
    """Private names of other modules of the package that a file imports or reads."""
    tree, modules = ast.parse(path.read_text(encoding="utf-8")), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bigfoot":
            for alias in node.names:
                if alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield node.lineno, f"{node.module}.{alias.name}"
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    known = {floors.name_of(module) for module in floors.MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = modules.get(node.value.id)
            if home in known and node.attr.startswith("_") and not node.attr.startswith("__"):
                yield node.lineno, f"{home}.{node.attr}"


@pytest.mark.slow
def test_no_import_cycle_of_files():
    assert [sorted(cycle) for cycle in find_cycles(import_graph())] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", floors.LATE)
def test_every_name_that_may_come_late_has_to(name):
    assert find_cycles(import_graph(late=[name]))


def test_cycles_are_found():
    assert find_cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert find_cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.slow
def test_no_module_of_a_run_reads_a_private_name_of_another():
    faults = [
        f"{path}:{line}: {name}"
        for path in floors.MODULES
        if floors.room_of(floors.name_of(path)) in ("pipeline", "study")
        for line, name in private_names(path)
    ]
    assert not faults, "\n".join(faults)


def test_private_names_are_found(tmp_path):
    file = tmp_path / "module.py"
    imports = "from bigfoot.pipeline import run\nfrom bigfoot.errors import _hidden\n"
    file.write_text(f"{imports}run._report()\nrun.__name__\n")
    assert {name for _, name in private_names(file)} == {"bigfoot.errors._hidden", "bigfoot.pipeline.run._report"}


def test_models_and_shape_of_a_run_are_resolved_in_its_plan_alone():
    resolving = {"bigfoot.formats.folder.outline_model", "bigfoot.pipeline.student_shape.resolve_student"}
    users = {
        floors.name_of(path)
        for path in floors.MODULES
        if floors.room_of(floors.name_of(path)) == "pipeline"
        for _, imported in floors.imports_of(path)
        if imported in resolving
    }
    # A summary has no run: it counts a file's student without a corpus or a run folder.
    assert users == {"bigfoot.pipeline.plan", "bigfoot.pipeline.preset"}


def test_no_technique_is_imported_where_a_run_applies_them():
    """The student's techniques are named once, where the settings are turned into them."""
    applied = {f"bigfoot.compress.{name}.apply" for name in BUILT_IN}
    faults = [
        (floors.name_of(path), imported)
        for path in floors.MODULES
        if floors.room_of(floors.name_of(path)) in ("pipeline", "study")
        for _, imported in floors.imports_of(path)
        if imported in applied or imported in {name.rpartition(".")[0] for name in applied}
    ]
    assert faults == []


PROGRAMS = [*floors.MODULES, *(path for room in ("recipes", "tools") for path in sorted((ROOT / room).rglob("*.py")))]


def lengths(path):
    """Lines of every function, without its docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node, clean=False) is not None
            words = first.end_lineno - first.lineno + 1 if documented else 0
            yield f"{path.name}: {node.name}", node.end_lineno - node.lineno + 1 - words


@pytest.mark.slow
def test_a_function_fits_a_screen():
    assert [(name, lines) for path in PROGRAMS for name, lines in lengths(path) if lines > 40] == []


def test_a_file_has_one_job():
    long = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PROGRAMS}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
