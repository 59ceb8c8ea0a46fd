"""The floors of bigfoot: a module imports only from its own room and from lower floors."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bigfoot"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    ("config", "errors", "install", "muting", "paths", "progress", "storage", "types", "version"),
    ("text", "audio", "espeak", "runtime"),
    ("models",),
    ("data", "formats"),
    ("compress", "distill", "decoding", "measure"),
    ("training", "evaluation", "embedding", "alignment", "export", "doctor", "tasks"),
    ("report",),
    ("pipeline", "study", "serve", "planner"),
    ("cli", "__main__"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# (module or room, what it must not import), beyond what the floors say already.
FORBIDDEN = (
    ("text", "torch"),
    ("text", "transformers"),
    ("text", "lhotse"),
    ("audio", "torch"),
    ("audio", "transformers"),
    ("audio", "lhotse"),
    ("runtime", "torch"),
    ("runtime", "transformers"),
    ("runtime", "lhotse"),
    ("serve", "torch"),
    ("serve", "transformers"),
    ("alignment", "torch"),
    ("alignment", "transformers"),
    ("alignment", "lhotse"),
    ("data", "bigfoot.models"),
    ("data", "transformers"),
    ("data", "bigfoot.formats"),
    ("formats", "lhotse"),
    ("models", "bigfoot.data"),
    ("models", "lhotse"),
    ("compress", "bigfoot.data"),
    ("compress", "lhotse"),
    ("distill.losses", "bigfoot.models"),
    ("distill.losses", "bigfoot.data"),
    ("distill.losses", "transformers"),
    ("config", "torch"),
    ("storage", "torch"),
    ("storage", "numpy"),
    ("errors", "torch"),
    ("install", "numpy"),
    ("progress", "numpy"),
    ("types", "torch"),
)

# Rooms of one floor do not know each other, but for these.
NEIGHBOURS = {
    ("config", "errors"),
    ("errors", "config"),
    ("errors", "install"),
    ("config", "types"),
    ("storage", "errors"),
    ("storage", "types"),
    ("errors", "paths"),
    ("text", "espeak"),
    ("runtime", "text"),
    ("runtime", "audio"),
    ("compress", "measure"),
    ("__main__", "cli"),
    ("study", "pipeline"),
    ("tasks", "training"),
}


def name_of(path: Path) -> str:
    """``bigfoot/models/ctc.py`` is ``bigfoot.models.ctc``; an ``__init__`` is its package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_in(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Every import as (line, full dotted name), those inside functions and type-checking blocks too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from ((node.lineno, str(name.value)) for name in node.args[:1] if isinstance(name, ast.Constant))


NAME_OF_MODULE = re.compile(r"(bigfoot(?:\.\w+)+)(?::\w+)?")

# Modules that name others as text where an import would close a cycle or climb, and why.
LATE = {
    "bigfoot.compress.registry": "built-in techniques: each registers itself there, and is imported at first use",
    "bigfoot.config.moved": "names of an earlier layout, for code of others: the package reads none of them there",
    "bigfoot.install": "entry point of the command: compared with what is installed, never imported",
    "bigfoot.pipeline.registry": "built-in steps: a configuration is read without the code that runs them",
}


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """Modules that are named as text, as (line, full dotted name): loaded later, they are dependencies too.

    Where a module completes a name (``import_module(f"bigfoot.room.{name}")``), so does every text in it.
    """
    tree = ast.parse(source)
    texts = [(node.lineno, node.value) for node in ast.walk(tree)
             if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
    for line, text in texts:
        found = NAME_OF_MODULE.fullmatch(text)
        if found and room_of(found[1]) in FLOOR_OF:
            yield line, found[1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            for name in node.args[:1]:
                if isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                    yield from ((line, name.values[0].value + text) for line, text in texts if text.isidentifier())


@cache
def imports_of(path: Path, late: bool = False) -> list[tuple[int, str]]:
    """Imports of a module, and names of modules as text; those of ``LATE`` too if asked for."""
    source, package = path.read_text(encoding="utf-8"), path.relative_to(PACKAGE.parent).parent.parts
    named = names_in(source) if late or name_of(path) not in LATE else ()
    return [*imports_in(source, package), *named]


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room_of(name: str) -> str:
    """``bigfoot.models.ctc`` is in the room ``models``; the package itself in none."""
    return name.partition(".")[2].partition(".")[0]


def faults_of(path: Path) -> Iterator[str]:
    """Imports of a module that its floor does not allow."""
    name = name_of(path)
    room = room_of(name)
    if room not in FLOOR_OF:
        yield f"{path}: no floor of design and test has a room {room!r}"
        return
    for line, imported in imports_of(path):
        other = room_of(imported) if is_within(imported, "bigfoot") else ""
        if other in FLOOR_OF and other != room:
            mine, others = FLOOR_OF[room], FLOOR_OF[other]
            if others >= mine and (room, other) not in NEIGHBOURS:
                yield f"{path}:{line}: {room} (floor {mine}) imports {imported} (floor {others})"
        for inside, forbidden in FORBIDDEN:
            if is_within(name, f"bigfoot.{inside}") and is_within(imported, forbidden):
                yield f"{path}:{line}: {inside} must not know {forbidden}, yet imports {imported}"
        if is_within(imported, "recipes") or is_within(imported, "tests"):
            yield f"{path}:{line}: the package does not know {imported}"


@pytest.mark.slow
def test_every_module_keeps_to_its_floor():
    """But for the package itself, which is only a door: see test_package_only_points_to_rooms."""
    faults = [fault for path in MODULES if room_of(name_of(path)) for fault in faults_of(path)]
    assert not faults, "\n".join(faults)


def test_a_module_on_a_wrong_floor_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "bigfoot")
    path = tmp_path / "bigfoot" / "text" / "high.py"
    path.parent.mkdir(parents=True)
    path.write_text("import torch\nfrom bigfoot import training\n")
    assert [fault.partition(": ")[0] for fault in faults_of(path)] == [f"{path}:1", f"{path}:2"]


def test_the_map_of_the_guide_is_that_of_the_tree():
    rows = re.findall(r"^\| (\d) \| (.+) \|$", (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    shown = {int(floor): set(re.findall(r"`(?:bigfoot\.)?(\w+)/?`", rooms)) for floor, rooms in rows}
    assert shown == {floor: {*rooms} - {"__main__"} for floor, rooms in enumerate(FLOORS)} | {8: {"recipes", "cli"}}
    assert {room_of(name_of(path)) for path in MODULES} - {""} == set(FLOOR_OF)


def test_package_only_points_to_rooms():
    """``bigfoot/__init__.py`` names rooms for type checkers and loads them at first use, never at import."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all("bigfoot" not in ast.unparse(node) for node in at_import)


@pytest.mark.slow
def test_espeak_is_known_to_one_module_only():
    """espeak-ng is GPL-3.0: nothing but this module may touch it."""
    users = {name_of(path) for path in MODULES for _, name in imports_of(path) if is_within(name, "espeakng_loader")}
    assert users <= {"bigfoot.espeak"}


def test_names_as_text_are_seen():
    source = """
HOMES = {"bigfoot.data.batches": "find", "b": "not bigfoot.data here"}
ENTRY = "bigfoot.cli:main"
def f(name):
    importlib.import_module(f"bigfoot.compress.{name}")
"""
    found = set(names_in(source))
    assert found >= {(2, "bigfoot.data.batches"), (3, "bigfoot.cli"), (2, "bigfoot.compress.b")}
    assert {name for _, name in found if name.startswith("bigfoot.data")} == {"bigfoot.data.batches"}


def test_every_way_to_write_an_import_is_seen():
    source = """
import lhotse.cut as cut
from . import ctc
def f():
    from ..data import batches
    importlib.import_module("torch")
"""
    assert sorted(imports_in(source, ("bigfoot", "models"))) == [
        (2, "lhotse.cut"),
        (3, "bigfoot.models.ctc"),
        (5, "bigfoot.data.batches"),
        (6, "torch"),
    ]
