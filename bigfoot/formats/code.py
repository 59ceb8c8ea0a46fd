"""A folder that carries its modelling code, so that transformers opens it where bigfoot is not installed.

The files are made from the package's own sources when a folder is written: transformers copies flat files that import
each other relatively, and nothing else.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_AUTO_MAP = {
    "AutoConfig": ("bigfoot.models.configuration", "BigfootConfig"),
    "AutoModel": ("bigfoot.models.encoder", "SpeechEncoder"),
    "AutoModelForCTC": ("bigfoot.models.ctc", "BigfootForCTC"),
}
_IMPORT = re.compile(r"^(\s*)from (bigfoot(?:\.\w+)*) import ", re.MULTILINE)


def write_code(folder: Path) -> list[Path]:
    """Write the modules that the model needs into its folder and name their classes in ``config.json``.

    ``AutoModelForCTC.from_pretrained(folder, trust_remote_code=True)`` then opens it without bigfoot.

    Args:
        folder: a bigfoot folder.

    Returns:
        The files written.
    """
    sources = _collect_sources([module for module, _ in _AUTO_MAP.values()])
    written = []
    for module, source in sources.items():
        written.append(folder / f"{_flat_name(module)}.py")
        relative = _IMPORT.sub(lambda found: f"{found[1]}from .{_flat_name(found[2])} import ", source)
        written[-1].write_text(relative, encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {auto: f"{_flat_name(module)}.{name}" for auto, (module, name) in _AUTO_MAP.items()}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return written


def _flat_name(module: str) -> str:
    """``bigfoot.models.ctc`` is ``bigfoot_models_ctc``: modules of different rooms may share a last name."""
    return module.replace(".", "_")


def _collect_sources(modules: list[str]) -> dict[str, str]:
    """Return the sources of modules and of all of bigfoot's that they import, by name."""
    sources: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in sources:
            continue
        sources[module] = (_PACKAGE.parent / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
        waiting += _own_imports(module, sources[module])
    return sources


def _own_imports(module: str, source: str) -> list[str]:
    """Modules of bigfoot that a source imports, each in the form that the rewriting finds."""
    imported = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        own = [name for name in names if name.split(".")[0] == "bigfoot"]
        imported += own
        plain_import = isinstance(node, ast.ImportFrom) and node.level == 0
        if own and not (plain_import and (_PACKAGE.parent / own[0].replace(".", "/")).with_suffix(".py").is_file()):
            raise RuntimeError(f"{module}: `{ast.unparse(node)}` cannot travel; import from a module of ours")
    return imported
