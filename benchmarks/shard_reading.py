"""How fast batches are read from shards, against the same corpus as loose files.

    python benchmarks/shard_reading.py --utterances 2000 --rounds 7 --workers 0
    python benchmarks/shard_reading.py --cold            # every file out of the system's cache before each round

Strings of digits by espeak-ng are written as FLAC, then as Shar, as WebDataset (tar) and as Parquet. In every round a
form gives the batches of one epoch of a training, the forms in another order each time. Printed are the median seconds
of audio a second, and the median ratio to loose files of the same round with its quartiles. Opening a corpus (the
manifest of shards, the buffer of utterances) is within the time.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
import torch

from bigfoot.data.batches import training_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.data.cuts import path_of, read_cuts
from bigfoot.data.manifests import PreparedData
from bigfoot.data.settings import DataConfig
from bigfoot.data.shards.write import write_shar
from bigfoot.text.tokenizers import Processor

LOOSE = "loose files"


def read_rows(prepared: PreparedData) -> Iterator[tuple[str, str, bytes]]:
    """Name, text and audio file of the utterances of train, in the manifest's order."""
    for cut in read_cuts(prepared.manifests["train"]):
        yield cut.id, str(cut.supervisions[0].text), Path(path_of(cut)).read_bytes()


def write_webdataset(prepared: PreparedData, root: Path, shard: int) -> None:
    """Write tar files of audio beside its JSON."""
    root.mkdir()
    rows, number = read_rows(prepared), 0
    while chosen := list(islice(rows, shard)):
        with tarfile.open(root / f"train-{number:06d}.tar", "w") as tar:
            for name, text, content in chosen:
                for end, each in (("flac", content), ("json", json.dumps({"text": text}).encode())):
                    info = tarfile.TarInfo(f"{name}.{end}")
                    info.size = len(each)
                    tar.addfile(info, io.BytesIO(each))
        number += 1


def write_parquet(prepared: PreparedData, root: Path, shard: int) -> None:
    """Write Parquet files as Hugging Face's ``datasets`` does."""
    import pyarrow
    from pyarrow import parquet

    root.mkdir()
    rows, number = read_rows(prepared), 0
    while chosen := list(islice(rows, shard)):
        listed = [{"id": name, "text": text, "audio": {"bytes": audio, "path": None}} for name, text, audio in chosen]
        parquet.write_table(
            pyarrow.Table.from_pylist(listed), root / f"train-{number:05d}-of-00000.parquet", row_group_size=100
        )
        number += 1


def make_corpora(args: argparse.Namespace, home: Path) -> dict[str, tuple[DataConfig, PreparedData, Path]]:
    """Write the corpus in every form; configuration, manifests and the folder of the audio of each."""
    common = {"batch_seconds": args.batch_seconds, "num_workers": args.workers, "shard_buffer": args.buffer}
    config = DataConfig(num_train=args.utterances, num_dev=0, num_test=0, **common)
    loose = prepare_data(config, 1, home / "loose")
    found = {LOOSE: (config, loose, home / "loose/audio")}
    writers = {"shar": write_shar, "webdataset": write_webdataset, "datasets_streaming": write_parquet}
    for name, write in writers.items():
        write(loose, home / name, args.shard)
        config = DataConfig(corpus=name, root=str(home / name), train_splits=["train"], **common)
        found[name] = config, prepare_data(config, 1, home / f"{name}_manifests"), home / name
    return found


def forget_files(folder: Path) -> None:
    """Ask the system to drop the files of a folder from its cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_epoch(config: DataConfig, prepared: PreparedData, seed: int) -> float:
    """Read an epoch; seconds of audio a second."""
    began = time.perf_counter()
    stream = training_batches(prepared.manifests["train"], Processor(), config, seed)
    batches = takewhile(lambda batch: batch.position is not None and batch.position.epoch == 0, stream)
    return sum(batch.seconds(16_000) for batch in batches) / (time.perf_counter() - began)


def measure(args: argparse.Namespace, home: Path) -> dict[str, list[float]]:
    """Measure all forms in interleaved rounds."""
    forms, rng = make_corpora(args, home), np.random.default_rng(0)
    speeds: dict[str, list[float]] = {name: [] for name in forms}
    for seed in range(args.rounds):
        for index in rng.permutation(len(forms)):
            name = list(forms)[index]
            config, prepared, folder = forms[name]
            if args.cold:
                forget_files(folder)
            speeds[name].append(read_epoch(config, prepared, seed))
    return speeds


def main() -> None:
    """Read the command line, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=2000, help="strings of up to 8 digits")
    parser.add_argument("--shard", type=int, default=250, help="utterances in a shard")
    parser.add_argument("--buffer", type=int, default=1000, help="data.shard_buffer")
    parser.add_argument("--batch_seconds", type=float, default=40.0, help="data.batch_seconds")
    parser.add_argument("--workers", type=int, default=0, help="data.num_workers")
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each form")
    parser.add_argument("--cold", action="store_true", help="drop files from the system's cache before every round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        speeds = measure(args, Path(home))
    print(f"| form | seconds of audio a second | against {LOOSE} [quartiles] |\n|:--|--:|--:|")
    for name, found in speeds.items():
        ratios = [speed / base for speed, base in zip(found, speeds[LOOSE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"| {name} | {statistics.median(found):.0f} | {middle:.2f}x [{low:.2f}, {high:.2f}] |")


if __name__ == "__main__":
    main()
