"""Write the generated pages of the reference: command line and configuration.

    python tools/docs_reference.py docs/reference

Both come from the application and the dataclasses themselves, so that they cannot differ from what runs.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    from bigfoot import Config
    from bigfoot.cli import app
    from bigfoot.study.plan import ComparisonConfig
    from bigfoot.tasks.speech_llm.settings import SpeechLLMConfig
    from bigfoot.tasks.text.settings import TrainTextConfig

_FILES = {
    "": Config, "Speech LLM": SpeechLLMConfig, "Classifier of text": TrainTextConfig,
    "Comparison of methods": ComparisonConfig,
}  # fmt: skip
"""What a YAML file can configure, by the title of its sections."""


def main(folder: Path) -> None:
    """Write ``cli.md`` and ``config.md``.

    Args:
        folder: of the reference pages.
    """
    (folder / "cli.md").write_text(command_line(), encoding="utf-8")
    (folder / "config.md").write_text(configuration(), encoding="utf-8")


def command_line() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    lines = ["# Command line", "", "`bigfoot COMMAND --help` prints the same.", ""]
    for name, command in sorted(group.commands.items()):
        context = command.make_context(f"bigfoot {name}", [], resilient_parsing=True)
        usage = " ".join(command.get_usage(context).removeprefix("Usage: ").split())
        lines += [f"## bigfoot {name}", "", inspect.cleandoc(command.help or ""), ""]
        lines += ["```text", usage, "```", "", "| option | meaning | default |", "|:--|:--|:--|"]
        lines += [_option_row(parameter) for parameter in command.params]
        lines.append("")
    return "\n".join(lines)


def _option_row(parameter: Any) -> str:  # noqa: ANN401 - typer carries its own click
    names = ", ".join(f"`{option}`" for option in [*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    default = parameter.default
    shown = "" if default in (None, (), [], False) or callable(default) else f"`{default}`"
    return f"| {names} | {_cell(parameter.help or '')} | {shown} |"


def configuration() -> str:
    """Every key with its type, default and meaning, from the dataclasses."""
    lines = [
        "# Configuration", "",
        "A YAML file holds only what differs from these defaults; `key=value` on the command line overrides it.", "",
    ]  # fmt: skip
    sections = [
        (": ".join(filter(None, [what, f"`{prefix}`" if prefix else ""])) or "The run", prefix, settings)
        for what, whole in _FILES.items()
        for prefix, settings in _sections("", whole)
    ]
    for title, prefix, settings in sections:
        lines += [f"## {title}", "", inspect.cleandoc(settings.__doc__ or ""), ""]
        rows = list(_key_rows(prefix, settings))
        if rows:
            lines += ["| key | type | default | meaning |", "|:--|:--|:--|:--|", *rows, ""]
    return "\n".join(lines)


def _sections(prefix: str, settings: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    yield prefix, settings
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[field.name]):
            inner = typing.cast(type[Any], hints[field.name])
            yield from _sections(f"{prefix}.{field.name}".lstrip("."), inner)


def _key_rows(prefix: str, settings: type[Any]) -> Iterator[str]:
    meanings, hints, defaults = field_docs(settings), typing.get_type_hints(settings), settings()
    for field in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[field.name]):
            continue
        key = f"{prefix}.{field.name}".lstrip(".")
        kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", str(field.type))
        default = "null" if (value := getattr(defaults, field.name)) is None else str(value)
        yield f"| `{key}` | {_cell(kind)} | `{default}` | {_cell(meanings.get(field.name, ''))} |"


def field_docs(settings: type[Any]) -> dict[str, str]:
    """The sentence that stands below each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for owner in reversed(settings.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            described = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and described:
                found[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return found


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


if __name__ == "__main__":
    with plain_errors():
        main(Path(sys.argv[1]))
