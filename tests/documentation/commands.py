"""Check a command of the documentation without running it: its script, options, settings and extras exist."""

import ast
import re
import shlex
from functools import cache

import typer.main

from bigfoot.cli import app
from bigfoot.config import find_config, read_settings
from bigfoot.errors import ConfigError
from bigfoot.install import EXTRAS
from bigfoot.pipeline.settings import read_config
from bigfoot.tasks.text.settings import TrainTextConfig
from tests.pages import PROGRAMS, ROOT

COMMANDS = typer.main.get_command(app).commands
WRONG = {"unknown_key", "unknown_word", "wrong_type", "out_of_range", "unreadable", "no_value"}
"""Codes of problems that do not depend on the files of a machine."""
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=")
_PLACEHOLDER = re.compile(r"=([A-Z]+|\.\.\.)$")
_SCHEMATIC = re.compile(r"[\[|]-|\.\.\.|\w\|\w")
"""Brackets and bars of a synopsis, such as ``[--int8 static|dynamic]``."""


def check_command(command: str) -> None:
    """Assert that a whole line could be run: nothing in it is unknown."""
    words = shlex.split(re.sub(r"^([A-Z_]+=\S+ )+", "", command))  # without what it sets in the environment
    if words[0] == "export":
        return  # Run as they stand.
    if words[:2] == ["accelerate", "launch"] or words[0] in ("torchrun", "srun"):
        words = ["python", *words[next(i for i, word in enumerate(words) if word.endswith(".py")) :]]
        command = shlex.join(words)  # The launcher's own options are accelerate's.
    assert words[0] in PROGRAMS, command
    if words[0] in ("curl", "npm", "ray", "serve"):  # others' programs
        return
    if words[0] == "pip":
        check_extras(words)
        return
    _check_options(command, words)
    if words[0] == "bigfoot" and not _SCHEMATIC.search(command):
        try:
            COMMANDS[words[1]].make_context(words[1], words[2:])
        except Exception as error:  # typer carries a click of its own, whose classes have no public name
            raise AssertionError(f"{command}: {error}") from None
    check_settings(words)


def check_mention(code: str) -> None:
    """Assert of a command mentioned in a sentence that its script and its options exist; arguments may be left out."""
    words = shlex.split(code) if code.startswith("pip ") else code.split()
    if words[0] == "pip":
        check_extras(words)
        return
    if words[0] == "bigfoot" and len(words) == 1:
        return
    _check_options(code, words)
    check_settings(words)


def check_settings(words: list[str]) -> None:
    """Assert that every ``key=value`` is a setting and a value that fits it."""
    given = [word for word in words if _SETTING.match(word) and not word.startswith(("http", "--"))]
    config = words[words.index("--config") + 1] if "--config" in words else None
    try:
        find_config(config or "demo_config.yaml")
    except ConfigError:
        config = None  # A file of the reader's own.
    if config is not None:
        assert config.endswith(".yaml"), words
    given = [word for word in given if not _PLACEHOLDER.search(word)]
    if words[:2] == ["bigfoot", "train-text"]:
        problems = read_settings(TrainTextConfig, None, ["csv=a", "model=b", *given])[1]
    else:
        problems = read_config(config, given)[1]
    wrong = [problem for problem in problems if problem.code in WRONG]
    assert wrong == [], (words, [str(problem) for problem in wrong])


def check_extras(words: list[str]) -> None:
    """Assert that ``pip install`` asks for extras that exist."""
    known = {*EXTRAS, "docs", "test"}
    for word in words[2:]:
        asked = re.search(r"\[(.+)\]$", word)
        assert asked is None or set(asked[1].split(",")) <= known, words


def _check_options(command: str, words: list[str]) -> None:
    options = set(_OPTION.findall(command))
    if words[0] == "bigfoot":
        assert words[1] in COMMANDS or words[1] == "--help", command
        known = _options_of(words[1])
    elif len(words) == 1 or "/" not in words[1]:
        return  # A module's, or a file of the reader's own.
    else:
        script = ROOT / words[1]
        assert script.is_file(), command
        known = _options_of_script(words[1])
    assert options <= known, (command, options - known)


@cache
def _options_of(name: str) -> set[str]:
    if name not in COMMANDS:
        return {"--help"}
    own = [COMMANDS[name], *getattr(COMMANDS[name], "commands", {}).values()]
    params = [param for command in own for param in command.params]
    return {"--help", *(option for param in params for option in (*param.opts, *param.secondary_opts))}


@cache
def _options_of_script(name: str) -> set[str]:
    """Words with two dashes that a script knows; ``recipes/compress.py`` knows those of ``bigfoot compress``."""
    if name in ("recipes/compress.py", "recipes/demo/run.sh"):
        return _options_of("compress")
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".sh"):
        return set(_OPTION.findall(text)) | set(_OPTION.findall((ROOT / "tools/stages.sh").read_text(encoding="utf-8")))
    nodes = list(ast.walk(ast.parse(text)))
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    # Options that a loop adds by their names.
    built = any(isinstance(node, ast.JoinedStr) and getattr(node.values[0], "value", "") == "--" for node in nodes)
    return {"--help", *words, *(f"--{word}" for word in words if built)}
