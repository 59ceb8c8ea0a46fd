"""The commands as one application, and its exit codes."""

from __future__ import annotations

import io
import os
import sys

import typer

from bigfoot.cli.align import align
from bigfoot.cli.ask import ask
from bigfoot.cli.benchmark import benchmark
from bigfoot.cli.classify import classify
from bigfoot.cli.compare import compare
from bigfoot.cli.compress import compress
from bigfoot.cli.configs import configs
from bigfoot.cli.convert import convert
from bigfoot.cli.data import data
from bigfoot.cli.describe import describe
from bigfoot.cli.doctor import doctor
from bigfoot.cli.embed import embed
from bigfoot.cli.evaluate import evaluate
from bigfoot.cli.export import export
from bigfoot.cli.generate import generate
from bigfoot.cli.leaderboard import leaderboard
from bigfoot.cli.listen import listen
from bigfoot.cli.pick import pick
from bigfoot.cli.plan import plan
from bigfoot.cli.push import push
from bigfoot.cli.quantize import quantize
from bigfoot.cli.serve import serve
from bigfoot.cli.shrink import shrink
from bigfoot.cli.summary import summary
from bigfoot.cli.train_task import train_task
from bigfoot.cli.train_text import train_text
from bigfoot.cli.transcribe import transcribe
from bigfoot.cli.tune import tune
from bigfoot.errors import plain_errors
from bigfoot.muting import mute_libraries
from bigfoot.progress import close_bars

COMMANDS = (
    plan, compress, shrink, tune, pick, train_task, train_text, describe, evaluate, summary, benchmark, compare,
    leaderboard, transcribe, align, serve, listen, classify, generate, ask, embed, convert, quantize, export, push,
    configs, doctor,
)  # fmt: skip
"""In the order of ``bigfoot --help``: one file per command."""

app = typer.Typer(
    help="Make wav2vec2-like speech models small and fast, and prove what that cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(data, name="data")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors that a user caused are printed without a traceback.

    Args:
        arguments: of the command line; ``sys.argv``'s by default.

    Raises:
        SystemExit: 0 for success, 2 for an invalid configuration, 1 for any other expected error.
    """
    _open_closed_streams()
    mute_libraries()
    with plain_errors():
        try:
            app(arguments)
        finally:
            close_bars()


def _open_closed_streams() -> None:
    """Open standard streams that the caller closed, as by ``2>&-``, on the null device.

    Their numbers would go to the next files that are opened, and libraries write messages to number 2 whatever it is.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number, which is this one
        stream = io.FileIO(number, mode, closefd=False)
        setattr(sys, name, io.TextIOWrapper(stream, "utf-8", "backslashreplace", write_through=mode == "w"))
