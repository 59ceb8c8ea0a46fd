"""The sources of manifests: each utterance as its corpus lists it, and each file by its digest.

``sources.jsonl.gz`` beside the manifests holds a line for each. The next start lists the corpus again and compares,
so that changed rows, transcripts and audio are noticed, and a table that was only saved again is not.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lhotse.cut import Cut

from bigfoot.data.cuts import path_of
from bigfoot.data.manifests import ListedUtterance
from bigfoot.storage.digests import FileDigests, digest_file
from bigfoot.storage.replace import swapped_in

SOURCES_FILE = "sources.jsonl.gz"
DIGESTS_FILE = "digests.jsonl.gz"
_SHOWN = 3


@dataclass(frozen=True)
class Source:
    """An utterance or file that manifests were made of.

    Args:
        split: ``train``, ``dev`` or ``test``.
        name: id of the utterance, or path of the file.
        entry: digest of its entry in the corpus.
        audio: digest of its audio; None where files are trusted (``data.trust_files``).
        made: path below the data folder, where the audio was generated there.
    """

    split: str
    name: str
    entry: str
    audio: str | None
    made: str | None = None


def list_sources(split: str, listed: Iterable[ListedUtterance], digests: FileDigests | None) -> Iterator[Source]:
    """Describe the utterances of a split.

    Args:
        split: ``train``, ``dev`` or ``test``.
        listed: by the corpus.
        digests: of files; None trusts them.
    """
    for item in listed:
        audio = None if digests is None else digests.digest(item.path)
        entry = asdict(item)
        if not item.labels:
            # So that data prepared before there were labels or channels is not prepared again.
            del entry["labels"]
        for name in ("channel", "address"):
            if entry[name] is None:
                del entry[name]
        yield Source(split, item.id, _shorten(entry), audio)


def file_sources(split: str, files: Iterable[Path], digests: FileDigests | None) -> Iterator[Source]:
    """Describe the recordings from which a split is generated.

    Args:
        split: ``train``, ``dev`` or ``test``.
        files: by the corpus.
        digests: of files; None trusts them.
    """
    for path in files:
        yield Source(split, path.name, "", None if digests is None else digests.digest(path))


def made_sources(split: str, listed: Iterable[ListedUtterance], folder: Path, digests: FileDigests) -> Iterator[Source]:
    """Describe the audio that was generated for a split.

    Args:
        split: ``train``, ``dev`` or ``test``.
        listed: what was generated.
        folder: of the data.
        digests: of files.
    """
    for item in listed:
        yield Source(split, item.id, "", digests.digest(item.path), item.path.relative_to(folder).as_posix())


def look_again(sources: Iterable[Source], folder: Path, digests: FileDigests) -> Iterator[Source]:
    """Describe audio that was generated, as it is now.

    Args:
        sources: as it was; of what was not generated nothing comes back.
        folder: of the data.
        digests: of files.
    """
    for source in sources:
        if source.made is not None:
            now = digests.digest(folder / source.made)
            yield Source(source.split, source.name, source.entry, now, source.made)


def write_sources(sources: Iterable[Source], folder: Path) -> str:
    """Write ``sources.jsonl.gz``.

    Args:
        sources: of all splits.
        folder: of the data.

    Returns:
        The digest of the file.
    """
    path = folder / SOURCES_FILE
    with swapped_in(path) as part, gzip.open(part, "wt", encoding="ascii", compresslevel=3) as file:
        for source in sources:
            file.write(json.dumps([source.split, source.name, source.entry, source.audio, source.made]) + "\n")
    return digest_file(path)


def read_sources(folder: Path) -> list[Source] | None:
    """Read ``sources.jsonl.gz``; None where it is gone or damaged.

    Args:
        folder: of the data.
    """
    try:
        with gzip.open(folder / SOURCES_FILE, "rt", encoding="ascii") as file:
            return [Source(*json.loads(line)) for line in file]
    except (OSError, EOFError, ValueError, TypeError, zlib.error, RecursionError):
        return None


def describe_changes(before: Sequence[Source], now: Sequence[Source], splits: Collection[str]) -> list[str]:
    """List what has changed since the manifests were made.

    Args:
        before: then.
        now: now.
        splits: that are compared.

    Returns:
        A few words for each kind of change; none where nothing has changed.

    Examples:
        >>> then = [Source("train", "a", "1", "x"), Source("train", "b", "1", "y")]
        >>> describe_changes(then, [Source("train", "a", "1", "z")], ["train"])
        ['1 recording of train changed: a', '1 utterance of train gone: b']
    """
    found: list[str] = []
    for split in splits:
        old, new = ([item for item in each if item.split == split] for each in (before, now))
        found += _describe_split(split, old, new)
    return found


def _describe_split(split: str, old: list[Source], new: list[Source]) -> Iterator[str]:
    names_then, names_now = ([(item.name, item.entry) for item in each] for each in (old, new))
    then, now = {item.name: item for item in old}, {item.name: item for item in new}
    both = [name for name in now if name in then]
    # Of files that are trusted nothing is known.
    other = [name for name in both if now[name].audio is not None and then[name].audio != now[name].audio]
    kinds = {
        "recording{s} of {} changed": [name for name in other if then[name].audio is not None],
        "recording{s} of {} not read before": [name for name in other if then[name].audio is None],
        "utterance{s} of {} listed otherwise": [name for name in both if then[name].entry != now[name].entry],
        "new utterance{s} in {}": [name for name in now if name not in then],
        "utterance{s} of {} gone": [name for name in then if name not in now],
    }
    found = [_count(words, split, names) for words, names in kinds.items() if names]
    yield from found or [f"the order of {split} changed"] * (names_then != names_now)


def _count(words: str, split: str, names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"{len(names)} {words.format(split, s='s' * (len(names) > 1))}: {shown}"


def digest_cuts(cuts: Iterable[Cut], digests: FileDigests | None) -> tuple[str, str]:
    """Compute the digests of what a split holds, whatever the place.

    Args:
        cuts: in their order.
        digests: of files; None trusts them, and they do not count.

    Returns:
        Of all of it; and of the audio alone, in the order of names, which is all that a teacher's output depends on.
    """
    whole, audio = hashlib.sha256(), []
    for cut in cuts:
        facts = cut.to_dict()
        facts.pop("custom", None)
        facts.get("recording", {}).pop("sources", None)
        content = None if digests is None else digests.digest(path_of(cut))
        whole.update(json.dumps([facts, content], sort_keys=True).encode())
        audio.append([cut.id, cut.start, cut.duration, content])
    return whole.hexdigest()[:16], _shorten(sorted(audio))


def _shorten(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
