"""Write a corpus as lhotse's Shar: manifests of cuts beside tar files of audio, a shard at a time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording
from lhotse.cut import Cut, MonoCut
from lhotse.shar.utils import to_shar_placeholder
from lhotse.shar.writers import JsonlShardWriter, TarWriter

from bigfoot.data.batch import CutSource
from bigfoot.data.cuts import read_cuts
from bigfoot.data.manifests import PreparedData
from bigfoot.data.shards.readers import as_file
from bigfoot.errors import OutputError
from bigfoot.progress import track
from bigfoot.storage.files import join_place, list_files, opened, put_file
from bigfoot.storage.state import read_state, write_state

STATE_FILE = "shar.json"
_SUFFIXES = {"WAV": ".wav", "FLAC": ".flac", "OGG": ".ogg", "MP3": ".mp3", "AIFF": ".aiff"}


@dataclass(frozen=True)
class SharState:
    """``shar.json``: what shards are made of.

    Args:
        contents: digest by split.
        shard_size: utterances in a shard.
        flac: all audio was written anew.
    """

    contents: dict[str, str]
    shard_size: int
    flac: bool


def write_shar(prepared: PreparedData, place: str | Path, shard_size: int = 1000, flac: bool = False) -> dict[str, int]:
    """Write the splits of prepared data as Shar, each to a folder of its name; shards that are there are skipped.

    A shard's manifest is written behind its audio, so that a shard that has one is whole. lhotse's own writer decodes
    and encodes all audio; here a recording that is an utterance is copied byte by byte, so that a model is trained on
    the same bits, and stretches become FLAC of 16 bits at their own rate.

    Args:
        prepared: of ``prepare_data``.
        place: a folder or an address of the cloud.
        shard_size: utterances in a shard.
        flac: write all audio anew, as FLAC.

    Returns:
        Shards by split.

    Raises:
        OutputError: shards of other data are there.
        AudioError: a file cannot be read (any more).
    """
    written = dict.fromkeys(prepared.manifests, 0)
    _claim(place, SharState(dict(prepared.contents), shard_size, flac))
    for split, manifest in prepared.manifests.items():
        folder = join_place(place, split)
        done, total = list_files(folder), -(-prepared.num_utterances[split] // shard_size)
        shards = track(_split_up(read_cuts(manifest), shard_size), f"writing {split}", total, "shards")
        for number, cuts in enumerate(shards):
            if f"cuts.{number:06d}.jsonl.gz" not in done:
                _write_shard(cuts, folder, number, flac)
            written[split] = number + 1
    return written


def _claim(place: str | Path, state: SharState) -> None:
    """Mark a place as that of these shards."""
    files = list_files(place)
    if files and STATE_FILE not in files:
        raise OutputError(f"{place} holds what bigfoot did not write; name another place")
    with tempfile.TemporaryDirectory() as beside:
        copy = Path(beside, STATE_FILE)
        if files:
            with opened(join_place(place, STATE_FILE)) as file:
                copy.write_bytes(file.read())
            if read_state(copy, SharState)[0] != state:
                raise OutputError(f"{place} holds shards of other data or settings; name another place")
            return
        write_state(copy, state)
        put_file(copy, join_place(place, STATE_FILE))


def _split_up(cuts: Iterable[Cut], size: int) -> Iterator[list[Cut]]:
    iterator = iter(cuts)
    while shard := list(islice(iterator, size)):
        yield shard


def _write_shard(cuts: list[Cut], folder: str, number: int, flac: bool) -> None:
    with tempfile.TemporaryDirectory() as beside:
        with (
            TarWriter(f"{beside}/recording.%06d.tar", len(cuts), number) as tar,
            JsonlShardWriter(f"{beside}/cuts.%06d.jsonl.gz", len(cuts), number) as lines,
        ):
            for each in cuts:
                cut, content, suffix = _encode(each, flac)
                recording = to_shar_placeholder(cut.recording, cut)
                tar.write(f"{cut.id}{suffix}", BytesIO(content))
                tar.write(f"{cut.id}.json", BytesIO(json.dumps(recording.to_dict()).encode()), count=False)
                lines.write(replace(cut, recording=recording))
        # The manifest last: it vouches for the audio.
        for name in (f"recording.{number:06d}.tar", f"cuts.{number:06d}.jsonl.gz"):
            put_file(Path(beside, name), join_place(folder, name))


def _encode(cut: Cut, flac: bool) -> tuple[Cut, bytes, str]:
    """A cut of its own recording, the content of that recording's file, and its suffix."""
    source = CutSource.of(cut)
    with as_file(source.path) as path:
        suffix = _SUFFIXES.get(soundfile.info(path).format, ".flac")
        if source.duration is None and source.channel is None and not flac:
            return cut, Path(path).read_bytes(), suffix
    rate = cut.recording.sampling_rate
    samples, content = source.load(rate).samples, BytesIO()
    soundfile.write(content, np.clip(samples, -1.0, 1.0), rate, format="FLAC", subtype="PCM_16")
    seconds = len(samples) / rate
    recording = Recording(cut.id, [], rate, len(samples), seconds, channel_ids=[0])
    spoken = [replace(each, duration=seconds, channel=0) for each in cut.supervisions]
    alone = MonoCut(cut.id, 0.0, seconds, 0, supervisions=spoken, recording=recording, custom=cut.custom)
    return alone, content.getvalue(), ".flac"
