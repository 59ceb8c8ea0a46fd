"""The commands as one application, and its exit codes."""

from __future__ import annotations

import typer

from bigfoot.cli.benchmark import benchmark
from bigfoot.cli.compare import compare
from bigfoot.cli.compress import compress
from bigfoot.cli.configs import configs
from bigfoot.cli.convert import convert
from bigfoot.cli.doctor import doctor
from bigfoot.cli.embed import embed
from bigfoot.cli.evaluate import evaluate
from bigfoot.cli.export import export
from bigfoot.cli.generate import generate
from bigfoot.cli.push import push
from bigfoot.cli.quantize import quantize
from bigfoot.cli.summary import summary
from bigfoot.cli.transcribe import transcribe
from bigfoot.errors import BigfootError, ConfigError, MissingExtraError
from bigfoot.progress import close_bars

COMMANDS = (
    compress, evaluate, summary, benchmark, compare, transcribe, generate, embed, convert, quantize, export, push,
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


def main(arguments: list[str] | None = None) -> None:
    """Run a command; errors that a user caused are printed without a traceback.

    Args:
        arguments: of the command line; ``sys.argv``'s by default.

    Raises:
        SystemExit: 0 for success, 2 for an invalid configuration, 1 for any other expected error.
    """
    try:
        app(arguments)
    except BigfootError as error:
        close_bars()
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except ModuleNotFoundError as error:
        missing = MissingExtraError.of_import(error)
        if missing is None:
            raise
        typer.echo(f"error: {missing}", err=True)
        raise SystemExit(1) from None
    except OSError as error:
        # A full disk, a missing permission, a file in place of a folder: the system's message names the path.
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
