"""``bigfoot data``: corpora on disk and in the cloud, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bigfoot.cli.options import DEFAULT_CONFIG, DataConfigName, Overrides, Prepared, name_default
from bigfoot.config.problems import Problem
from bigfoot.errors import ConfigError

data = typer.Typer(help="Write corpora as shards.", no_args_is_help=True, pretty_exceptions_enable=False)


@data.callback()
def _group() -> None:
    """Write corpora as shards."""


@data.command()
def shar(
    out: Annotated[str, typer.Argument(help="Folder, or address such as s3://bucket/corpus, of the shards.")],
    overrides: Overrides = None,
    config: DataConfigName = None,
    prepared: Prepared = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder of the manifests, and of speech that is made; OUT.data by default.")
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Utterances in a shard.")] = 1000,
    flac: Annotated[bool, typer.Option("--flac", help="Write all audio anew, as FLAC of 16 bits.")] = False,
) -> None:
    """Write a corpus as lhotse's Shar, to be streamed by data.corpus=shar.

    Every file is read and checked first, as in a run. Recordings are copied
    byte by byte, stretches of them become FLAC. The same command goes on
    where it was killed: shards that are whole are skipped.
    """
    if prepared is not None and (config or overrides):
        message = "manifests are written as they are; --config and KEY=VALUE go without --prepared"
        raise ConfigError([Problem("--prepared", "not_read", message)])
    # Only now: --help must not wait for lhotse.
    from bigfoot.data.manifests import load_prepared
    from bigfoot.data.shards.write import write_shar
    from bigfoot.pipeline.inputs import prepare_alone
    from bigfoot.pipeline.settings import load_config
    from bigfoot.storage.places import is_remote

    if prepared is not None:
        found = load_prepared(prepared)
    else:
        settings = load_config(config or name_default(DEFAULT_CONFIG), overrides or [])
        if work is None and is_remote(out):
            raise ConfigError([Problem("--work", "no_value", f"{out} is in the cloud; name a folder of this machine")])
        found = prepare_alone(settings, work or Path(f"{out}.data"))
    for split, count in write_shar(found, out, shard_size, flac).items():
        typer.echo(f"{split}: {found.num_utterances[split]:,} utterances, {found.hours[split]:.2f} h, {count} shards")
