"""``bigfoot configs``: the configurations that come with the package."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Annotated

import typer

from bigfoot.config.files import CONFIG_FOLDER, describe_config, find_config, list_configs


def configs(
    name: Annotated[str | None, typer.Argument(help="Print this one instead, such as methods/distilhubert.")] = None,
) -> None:
    """List the configurations that come with the package, or print one.

    Each can be given to bigfoot compress --config, from any folder. Those of
    methods/ are 15 published methods and three of ours (bigfoot_thin,
    conv_groups_only, conv_sharing_only); those of compare/ are what
    recipes/compare_methods.sh shares between its runs.
    """
    if name is not None:
        typer.echo(find_config(name).read_text(encoding="utf-8"), nl=False)
        return
    names = list_configs()
    column = max(map(len, names)) + 2
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 120
    for found in names:
        about = describe_config(CONFIG_FOLDER / found)
        room = max(width - column, 40)
        typer.echo(f"{found:<{column}}{textwrap.shorten(about, room, placeholder=' ...', break_on_hyphens=False)}")
