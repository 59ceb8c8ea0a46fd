"""The floors of bigfoot: a module imports only from its own room and from lower floors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bigfoot"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    ("config", "errors", "types"),
    ("text", "audio_io", "runtime"),
    ("data", "models"),
    ("compress", "distill", "decoding", "measure"),
    ("training", "evaluation", "export"),
    ("report", "planner"),
    ("pipeline",),
    ("cli", "__main__"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# (module or room, what it must not import, at any depth of the name). Rooms of one floor do not know each other, save
# for the pairs of SAME_FLOOR.
FORBIDDEN = (
    ("text", "torch"),
    ("text", "transformers"),
    ("text", "lhotse"),
    ("audio_io", "torch"),
    ("audio_io", "transformers"),
    ("audio_io", "lhotse"),
    ("runtime", "torch"),
    ("runtime", "transformers"),
    ("runtime", "lhotse"),
    ("data", "bigfoot.models"),
    ("data", "transformers"),
    ("models", "bigfoot.data"),
    ("models", "lhotse"),
    ("compress", "bigfoot.data"),
    ("compress", "lhotse"),
    ("distill.losses", "bigfoot.models"),
    ("distill.losses", "bigfoot.data"),
    ("distill.losses", "transformers"),
    ("config", "torch"),
    ("errors", "torch"),
    ("types", "torch"),
)

# Floors 0 and 3 to 7 order the rooms well enough; within one of them a room may use a neighbour (config its errors,
# distill what compress cuts). On floors 1 and 2 nobody knows a neighbour, but for the transcriber's audio and text.
SAME_FLOOR_FORBIDDEN = {1: {("runtime", "text"), ("runtime", "audio_io")}, 2: set()}


def name_of(path: Path) -> str:
    """``bigfoot/models/ctc.py`` is ``bigfoot.models.ctc``; an ``__init__`` is its package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file as (line, full dotted name), those inside functions and type-checking blocks too."""
    package = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room_of(name: str) -> str:
    """``bigfoot.models.ctc`` is in the room ``models``; the package itself in none."""
    return (name.split(".") + [""])[1]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_keeps_to_its_floor(path):
    name = name_of(path)
    room = room_of(name)
    if not room:
        pytest.skip("the package itself is only a door: see test_package_only_points_to_rooms")
    assert room in FLOOR_OF, f"{name}: no floor of design and test has a room {room!r}"
    faults = []
    for line, imported in imports_of(path):
        other = room_of(imported) if is_within(imported, "bigfoot") else ""
        if other in FLOOR_OF and other != room:
            floor, below = FLOOR_OF[room], FLOOR_OF[other]
            strict = floor in SAME_FLOOR_FORBIDDEN and (room, other) not in SAME_FLOOR_FORBIDDEN[floor]
            if below > floor or (below == floor and strict):
                faults.append(f"{path}:{line}: {room} (floor {floor}) imports {imported} (floor {below})")
        for inside, forbidden in FORBIDDEN:
            if is_within(name, f"bigfoot.{inside}") and is_within(imported, forbidden):
                faults.append(f"{path}:{line}: {inside} must not know {forbidden}, yet imports {imported}")
        if is_within(imported, "recipes") or is_within(imported, "tests"):
            faults.append(f"{path}:{line}: the package does not know {imported}")
    assert not faults, "\n".join(faults)


def test_package_only_points_to_rooms():
    """``bigfoot/__init__.py`` names rooms for type checkers and loads them at first use, never at import."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_import = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert all("bigfoot" not in ast.unparse(node) for node in at_import)


def test_espeak_is_known_to_one_module_only():
    """espeak-ng is GPL-3.0: nothing but the synthetic corpus may touch it."""
    users = {name_of(path) for path in MODULES for _, name in imports_of(path) if is_within(name, "espeakng_loader")}
    assert users <= {"bigfoot.data.espeak"}


def test_imports_inside_functions_and_relative_ones_are_seen():
    source = PACKAGE / "models" / "imagined.py"

    class Imagined(type(source)):
        def read_text(self, encoding=None):
            return "def f():\n    from ..data import batches\n    import lhotse.cut\n    from . import ctc\n"

    assert list(imports_of(Imagined(source))) == [
        (2, "bigfoot.data.batches"),
        (3, "lhotse.cut"),
        (4, "bigfoot.models.ctc"),
    ]
