"""Describe a corpus: hours, speakers, how lengths and characters are spread, and what is left out and why.

    python tools/describe_corpus.py --config fsdd.yaml data.root=/path/to/fsdd --out runs/describe_fsdd
    python tools/describe_corpus.py --prepared runs/demo/data --out runs/describe_demo

The first looks into every file of the corpus (``data.verify_audio=false`` reads headers only), the second describes the
manifests that a run has made. Tables are printed; describe.json, describe.md and describe.png are written to OUT.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bigfoot.errors import BigfootError, plain_errors

if TYPE_CHECKING:
    from bigfoot.data.describe import CorpusFacts


def main(arguments: list[str] | None = None) -> int:
    """Describe what the command line names."""
    given = parse_arguments(arguments)
    # Only now: --help must not wait for torch.
    from rich.console import Console

    from bigfoot.report.corpus import render_tables, save_description

    try:
        facts = describe(given)
    except BigfootError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    save_description(facts, given.out)
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in render_tables(facts):
        console.print(table)
    console.print(f"Description: {given.out / 'describe.md'}  (JSON and plot beside it)", soft_wrap=True)
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="YAML file whose data section names the corpus; looked up under configs/ too")
    source.add_argument("--prepared", help="folder of manifests, such as runs/demo/data")
    parser.add_argument("--out", required=True, type=Path, help="folder to write to")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as data.root=/path/to/corpus")
    given = parser.parse_intermixed_args(arguments)
    if given.prepared and given.overrides:
        parser.error("manifests are described as they are: KEY=VALUE goes with --config")
    return given


def describe(given: argparse.Namespace) -> CorpusFacts:
    """Count what is in the corpus or in the manifests."""
    from bigfoot.data.corpora import prepare_data
    from bigfoot.data.describe import describe_corpus
    from bigfoot.data.manifests import load_prepared
    from bigfoot.pipeline.settings import load_config

    if given.prepared:
        return describe_corpus(load_prepared(given.prepared), given.prepared)
    config = load_config(given.config, given.overrides)
    # No vocabulary: what is described is the corpus, not how it suits a model.
    return describe_corpus(prepare_data(config.data, config.seed, given.out / "data"), config.data.corpus)


if __name__ == "__main__":
    with plain_errors():
        sys.exit(main())
