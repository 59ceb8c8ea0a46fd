"""The corpora by name: where each lies, and what lists or generates its utterances; a new one is a line here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bigfoot.data.arrow_datasets import read_dataset
from bigfoot.data.fsdd import find_recordings, join_strings, list_recordings
from bigfoot.data.listings import list_folder, list_librispeech, list_speechocean762
from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.published.gigaspeech import list_gigaspeech
from bigfoot.data.published.kaldi import list_kaldi
from bigfoot.data.published.librilight import list_librilight
from bigfoot.data.published.mls import list_mls
from bigfoot.data.published.tedlium import list_tedlium
from bigfoot.data.published.voxpopuli import list_voxpopuli
from bigfoot.data.settings import DataConfig
from bigfoot.data.shards.formats import FORMATS
from bigfoot.data.shards.prepare import find_shard_root
from bigfoot.data.synthetic import synthesize_split
from bigfoot.data.tables import list_common_voice, list_rows, list_table
from bigfoot.data.utterance import Utterance
from bigfoot.errors import AudioError, DataError
from bigfoot.storage.remote import fetch

OnBad = Callable[[AudioError], None] | None


@dataclass(frozen=True)
class Corpus:
    """Definition of a corpus, which is either listed in place or generated.

    Args:
        usual_name: of its folder, below ``$BIGFOOT_DATA``; None where it has none.
        list_split: from the folder, the corpus's own name of a split and the folder of the data to its utterances.
        generate: makes so many utterances of train, dev or test.
        find_sources: the recordings from which a split is generated.
        is_written: transcripts are sentences to read, with marks that are not pronounced.
        is_sharded: it is one of ``bigfoot.data.shards.formats``.
    """

    usual_name: str | None = None
    list_split: Callable[[Path, str, DataConfig, Path], list[ListedUtterance]] | None = None
    generate: Callable[[DataConfig, int, str, int, OnBad], Iterator[Utterance]] | None = None
    find_sources: Callable[[Path, str], list[Path]] = lambda _root, _split: []
    is_written: bool = False
    is_sharded: bool = False


def _synthesize(config: DataConfig, seed: int, split: str, count: int, _on_bad: OnBad) -> Iterator[Utterance]:
    return synthesize_split(seed, split, count, config.min_digits, config.max_digits)


def _join_fsdd(config: DataConfig, seed: int, split: str, count: int, on_bad: OnBad) -> Iterator[Utterance]:
    return join_strings(
        resolve_root(config), split, count, seed, config.min_digits, config.max_digits, on_bad, config.unseen_speakers
    )


def _find_fsdd(root: Path, split: str) -> list[Path]:
    return [path for files in find_recordings(root, split).values() for _, path in files]


def _list_table(root: Path, split: str, config: DataConfig, _folder: Path) -> list[ListedUtterance]:
    untranscribed = config.transcripts == "none"
    table = _find_table(split, root)
    return list_table(table, untranscribed=untranscribed, names=config.columns, labels=config.labels)


def _list_dataset(root: Path, split: str, config: DataConfig, folder: Path) -> list[ListedUtterance]:
    audio, names = config.columns.get("path"), {use: name for use, name in config.columns.items() if use != "path"}
    read = read_dataset(root, split, audio, folder / "audio")
    return list_rows(root / split, read, root, config.transcripts == "none", names, config.labels)


def _list_speechocean762(root: Path, split: str, config: DataConfig, _folder: Path) -> list[ListedUtterance]:
    return list_speechocean762(root, split, untranscribed=config.transcripts == "none")


def _find_table(table: str, root: Path) -> Path:
    given = fetch(table).expanduser()
    return given.absolute() if given.is_file() else root / given


CORPORA = {
    "synthetic_digits": Corpus(generate=_synthesize),
    "fsdd": Corpus("fsdd", generate=_join_fsdd, find_sources=_find_fsdd),
    "fsdd_recordings": Corpus("fsdd", lambda root, split, *_: list_recordings(root, split)),
    "librispeech": Corpus("LibriSpeech", lambda root, split, *_: list_librispeech(root, split)),
    "common_voice": Corpus("CommonVoice", lambda root, split, *_: list_common_voice(root, split), is_written=True),
    "speechocean762": Corpus("speechocean762", _list_speechocean762),
    "kaldi": Corpus(None, lambda root, split, config, _: list_kaldi(root, split, config.transcripts == "none")),
    "librilight": Corpus("LibriLight", lambda root, split, config, _: list_librilight(root, split, config.max_seconds)),
    "tedlium": Corpus("TEDLIUM_release-3", lambda root, split, *_: list_tedlium(root, split)),
    "gigaspeech": Corpus("GigaSpeech", lambda root, split, *_: list_gigaspeech(root, split)),
    "voxpopuli": Corpus("VoxPopuli", lambda root, split, *_: list_voxpopuli(root, split)),
    "mls": Corpus("MLS", lambda root, split, *_: list_mls(root, split)),
    "folder": Corpus(None, lambda root, split, config, _: list_folder(root, split, config.transcripts == "none")),
    "table": Corpus(None, _list_table),
    "datasets": Corpus(None, _list_dataset),
    **{name: Corpus(is_sharded=True) for name in FORMATS},
}


def find_corpus(config: DataConfig) -> Corpus:
    """Return the corpus of a configuration.

    Args:
        config: whose ``corpus`` names it.

    Raises:
        DataError: an unknown name; those that there are are named.
    """
    if config.corpus not in CORPORA:
        raise DataError(f"data.corpus: {config.corpus!r} is unknown; corpora are {', '.join(CORPORA)}")
    return CORPORA[config.corpus]


def resolve_root(config: DataConfig) -> Path:
    """Find the folder of a corpus.

    Args:
        config: ``root`` is the corpus's folder or the one above; without it, ``$BIGFOOT_DATA`` is.

    Returns:
        The folder of LibriSpeech's splits or of FSDD's ``recordings``; for tables and folders that to which they are
        relative, the present one by default.

    Raises:
        DataError: neither is set, or there is no such folder.
    """
    # An unknown corpus is found where values are checked; here it is one without a usual name.
    corpus = CORPORA.get(config.corpus, Corpus())
    if corpus.is_sharded:
        return Path(find_shard_root(config))
    name = corpus.usual_name
    given = config.root or os.environ.get("BIGFOOT_DATA")
    given = str(fetch(given)) if given else given
    if name is None and config.root is None and not (given and Path(given).is_dir()):
        return Path.cwd()
    if not given:
        raise DataError(
            f"data.root: needed for {config.corpus}; set it to the folder of the corpus, or set the environment "
            f"variable BIGFOOT_DATA to the folder that holds {name}/"
        )
    root = Path(given).expanduser().absolute()
    if name is not None and ((root / name).is_dir() or config.root is None):
        root = root / name
    if not root.is_dir():
        raise DataError(f"data.root: no folder {root}; point data.root (or BIGFOOT_DATA) at where {config.corpus} lies")
    return root
