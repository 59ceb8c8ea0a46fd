"""Arguments and options that several commands share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bigfoot.storage.ownership import MayReplace

DEFAULT_CONFIG = "demo_config.yaml"
MODEL_HELP = (
    "A bigfoot or Hugging Face folder, a hub id, a .pt file of fairseq's or torchaudio's, "
    "torchaudio:BUNDLE, or tiny_teacher."
)
ModelArgument = Annotated[str, typer.Argument(help=MODEL_HELP)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="key=value, such as student.conv_groups=4", metavar="[KEY=VALUE]...")
]
DataConfigName = Annotated[
    str | None,
    typer.Option(help=f"YAML file or a name of bigfoot configs, for its data; {DEFAULT_CONFIG} by default."),
]
Prepared = Annotated[
    Path | None, typer.Option(help="Manifests that a run has made, such as runs/demo/data, in place of a config.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Also replace what bigfoot did not write, or what was changed since; it is named."),
]


def may_replace(force: bool) -> MayReplace:
    """Return what a command may replace; files replaced by ``--force`` are reported.

    Args:
        force: option of the command line.
    """
    from bigfoot.storage.ownership import MayReplace

    return MayReplace(force, report=partial(typer.echo, err=True))


def name_default(config: str) -> str:
    """Return the configuration that is taken where none is given, and name it.

    Args:
        config: name of ``bigfoot configs``.
    """
    typer.echo(f"note: --config {config}, the default; bigfoot configs lists the others", err=True)
    return config
