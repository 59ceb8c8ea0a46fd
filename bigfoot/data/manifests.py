"""Write lhotse manifests from listed utterances: check every file and transcript, leave bad ones out by name.

Cuts refer to the files in place, with rate and channels from their headers; ``bigfoot.audio.files.read_audio``
reads them, never lhotse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from lhotse import AudioSource, Recording, SupervisionSegment
from lhotse.cut import Cut, MonoCut

from bigfoot.audio.account import Account, LeftOut
from bigfoot.audio.files import AudioHeader, find_peak, read_blocks, read_header
from bigfoot.audio.trimming import find_sound
from bigfoot.data.cuts import LABELS_FIELD, read_cuts
from bigfoot.data.settings import DataConfig
from bigfoot.data.stretches import Stretch
from bigfoot.errors import AudioError, DataError
from bigfoot.paths import is_utf8, printable
from bigfoot.progress import track
from bigfoot.storage.digests import describe_damage
from bigfoot.storage.memory import FileMemory
from bigfoot.storage.state import read_state, write_state
from bigfoot.text.normalize import normalize_text
from bigfoot.types import Seconds

SHORTEST: Seconds = 0.1
"""Shorter audio is left out of every split: it has a handful of frames, or none."""

PREPARED_FILE = "prepared.json"
UNKNOWN_SPEAKER = "unknown"
"""Speaker of an utterance whose corpus names none."""
TRIMMED_FIELD = "trimmed"
"""Field of a cut: seconds of silence that were cut off its ends."""
_peaks: FileMemory[float] = FileMemory()


@dataclass(frozen=True)
class ListedUtterance:
    """An utterance as its corpus lists it, before its audio is checked.

    Args:
        id: unique in its split.
        path: the audio file.
        text: the transcript as written.
        speaker: who speaks.
        problem: why it cannot be used, where the listing itself is at fault.
        stretch: the part of the file that it is; None for the whole.
        labels: of tasks, by name; one that is not known is absent.
        channel: that is read, from 0; None for the mean of all.
        address: of its audio in a shard, of which ``path`` is a copy for a while; None for a file of its own.
    """

    id: str
    path: Path
    text: str
    speaker: str
    problem: str | None = None
    stretch: Stretch | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    channel: int | None = None
    address: str | None = None


def tell_apart(listed: Sequence[ListedUtterance], named: Sequence[bool] = ()) -> list[ListedUtterance]:
    """Give files that have one id, since they differ in their suffix alone, ids with the suffix.

    Args:
        listed: utterances.
        named: of each, whether its corpus names the id, which then stays; none does by default.

    Examples:
        >>> [item.id for item in tell_apart([ListedUtterance("x", Path(name), "", "") for name in ("x.wav", "x.flac")])]
        ['x.wav', 'x.flac']
    """
    paths: dict[str, set[Path]] = {}
    is_derived = [item.problem is None and not given for item, given in zip_longest(listed, named)]
    for item, derived in zip(listed, is_derived, strict=True):
        if derived:
            paths.setdefault(item.id, set()).add(item.path)
    return [
        dataclasses.replace(item, id=item.id + item.path.suffix) if derived and len(paths[item.id]) > 1 else item
        for item, derived in zip(listed, is_derived, strict=True)
    ]


@dataclass(frozen=True)
class SkippedUtterance:
    """An utterance that was left out.

    Args:
        split: ``train``, ``dev`` or ``test``.
        id: of the utterance.
        path: its audio file.
        reason: why, in a few words.
        seconds: of its audio; None where unknown.
    """

    split: str
    id: str
    path: str
    reason: str
    seconds: Seconds | None = None


@dataclass(frozen=True)
class PreparedData:
    """The manifests of a run and facts about them.

    Args:
        folder: where they lie.
        manifests: lhotse CutSet (``.jsonl.gz``) by split; a split that was not asked for is absent.
        skipped: what was left out.
        hours: of audio, by split.
        num_utterances: by split.
        contents: digest of utterances, transcripts and audio, by split; the place does not count.
        audio: digest of names, lengths and audio alone, by split.
        files: digests of the manifests and of ``sources.jsonl.gz``, by name.
    """

    folder: Path
    manifests: dict[str, Path]
    skipped: list[SkippedUtterance]
    hours: dict[str, float]
    num_utterances: dict[str, int]
    contents: dict[str, str] = dataclasses.field(default_factory=dict)
    audio: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    def account(self, split: str) -> Account:
        """Return the account of a split.

        Args:
            split: ``train``, ``dev`` or ``test``, as far as there is one.
        """
        left_out = [LeftOut(item.path, item.reason, item.seconds) for item in self.skipped if item.split == split]
        return Account(self.num_utterances.get(split, 0), 3600 * self.hours.get(split, 0.0), left_out)


@dataclass(frozen=True)
class _State:
    """``prepared.json``."""

    manifests: dict[str, str]
    skipped: list[SkippedUtterance]
    hours: dict[str, float]
    num_utterances: dict[str, int]
    contents: dict[str, str]
    audio: dict[str, str]
    files: dict[str, str]


class _Unusable(Exception):
    """An utterance that is left out whatever the value of ``on_bad_audio``: only its length is unusable."""


def check_utterances(
    listed: Iterable[ListedUtterance],
    split: str,
    config: DataConfig,
    characters: Collection[str] | None,
    verify: bool,
) -> tuple[list[Cut], list[SkippedUtterance]]:
    """Check audio and transcript of every utterance of a split.

    Args:
        listed: the utterances.
        split: ``train``, ``dev`` or ``test``.
        config: what is done with bad ones, and how long one may be.
        characters: what transcripts may hold; None for anything.
        verify: decode every file instead of reading its header.

    Returns:
        One cut with one supervision per usable utterance, in order, and what was left out.

    Raises:
        AudioError: bad audio, with ``on_bad_audio: raise``.
        DataError: a bad transcript, with ``on_bad_audio: raise``; or nothing is usable.
    """
    cuts: list[Cut] = []
    skipped: list[SkippedUtterance] = []
    for found in check_each(track(listed, f"checking {split}", unit="files"), split, config, characters, verify, set()):
        (cuts if isinstance(found, Cut) else skipped).append(found)  # type: ignore[attr-defined]
    refuse_empty(len(cuts), split, skipped)
    return cuts, skipped


def check_each(
    listed: Iterable[ListedUtterance], split: str, config: DataConfig, characters: Collection[str] | None,
    verify: bool, seen: set[str],
) -> Iterator[Cut | SkippedUtterance]:  # fmt: skip
    """Check utterances one by one; see ``check_utterances``.

    Args:
        listed: the utterances.
        split: ``train``, ``dev`` or ``test``.
        config: see there.
        characters: see there.
        verify: see there.
        seen: ids so far, to which these are added.

    Yields:
        The cut of each, or why it is left out.

    Raises:
        AudioError: bad audio, with ``on_bad_audio: raise``.
        DataError: a bad transcript, with ``on_bad_audio: raise``.
    """
    for item in listed:
        try:
            if item.id in seen:
                raise DataError(f"the id {item.id} stands twice in {split}")
            seen.add(item.id)
            yield _check_one(item, split, config, characters, verify)
        except _Unusable as reason:
            yield _skip(item, split, str(reason))
        except DataError as error:
            if config.on_bad_audio == "raise":
                raise
            reason_text = error.reason if isinstance(error, AudioError) else str(error)
            yield _skip(item, split, reason_text)


def refuse_empty(count: int, split: str, skipped: list[SkippedUtterance]) -> None:
    """Refuse a split without a usable utterance.

    Args:
        count: of usable ones.
        split: its name.
        skipped: the others.

    Raises:
        DataError: there is none.
    """
    if not count:
        raise DataError(_nothing_left(split, skipped))


def _skip(item: ListedUtterance, split: str, reason: str) -> SkippedUtterance:
    seconds = None
    with suppress(DataError):
        header = read_header(item.path)
        seconds = header.seconds if item.stretch is None else item.stretch.place(header)[1]
    return SkippedUtterance(split, printable(item.id), printable(item.address or item.path), printable(reason), seconds)


def _nothing_left(split: str, skipped: list[SkippedUtterance]) -> str:
    if not skipped:
        return f"data: the {split} split is empty; name splits or tables that hold utterances"
    examples = "".join(f"\n  - {item.path}: {item.reason}" for item in skipped[:3])
    return f"data: none of the {len(skipped)} utterances of the {split} split can be used; the first:{examples}"


def _check_one(
    item: ListedUtterance, split: str, config: DataConfig, characters: Collection[str] | None, verify: bool
) -> Cut:
    if problem := item.problem or _name_problem(item):
        raise DataError(problem)
    if "\ufffd" in item.text and "\ufffd" not in (characters or ()):
        raise DataError(f"{item.id}: the transcript holds U+FFFD, which stands for bytes that are not UTF-8")
    text = normalize_text(item.text, characters)
    untranscribed = config.transcripts == "none"
    if not text and not untranscribed:
        raise DataError(f"{item.id}: the transcript is empty")
    # Transcripts that are not trained on may have unknown characters; test is scored by its transcripts in any case.
    tokenized = characters is not None and (split == "test" or not untranscribed)
    if tokenized and (unknown := sorted(set(text) - set(characters or ()))):
        raise DataError(f"{item.id}: the transcript holds {' '.join(map(repr, unknown))}, which the vocabulary lacks")
    header = read_header(item.path)
    if item.channel is not None and item.channel >= header.num_channels:
        raise AudioError(item.path, f"has {header.num_channels} channels; channel {item.channel + 1} is asked for")
    start, seconds = (0.0, header.seconds) if item.stretch is None else item.stretch.place(header)
    trimmed = 0.0
    if config.trim_silence_db is not None:
        whole = seconds
        start, seconds = _trim(item, header, start, seconds, config.trim_silence_db)
        trimmed = whole - seconds
    if seconds < SHORTEST:
        raise _Unusable(f"{seconds:.3f} s is shorter than {SHORTEST} s")
    if split == "train" and seconds > config.max_seconds:
        raise _Unusable(f"{seconds:.1f} s is longer than data.max_seconds = {config.max_seconds:g}")
    cut = _make_cut(item, text, header, start, seconds)
    if trimmed:
        cut.custom = {TRIMMED_FIELD: round(trimmed, 6)}
    stretch = None if seconds == header.seconds else seconds
    if verify and _find_peak(item, header, start, stretch) == 0.0:
        raise AudioError(item.path, "is silent from beginning to end")
    return cut


def _find_peak(item: ListedUtterance, header: AudioHeader, start: Seconds, duration: Seconds | None) -> float:
    rate, channel = header.sample_rate, item.channel
    return _peaks.get(
        item.path, (start, duration, channel),
        lambda: find_peak(item.path, offset=start, duration=duration, sample_rate=rate, channel=channel),
    )  # fmt: skip


def _trim(
    item: ListedUtterance, header: AudioHeader, start: Seconds, seconds: Seconds, quieter_db: float
) -> tuple[Seconds, Seconds]:
    duration, rate = None if seconds == header.seconds else seconds, header.sample_rate
    blocks = read_blocks(item.path, offset=start, duration=duration, sample_rate=rate, channel=item.channel)
    first, last = find_sound(blocks, header.sample_rate, quieter_db)
    return (start, seconds) if last - first >= seconds else (start + first, last - first)


def describe_trimmed(split: str, manifest: Path) -> str:
    """Report the silence that was cut off the ends of a split's recordings, in a sentence.

    Args:
        split: its name.
        manifest: of the split.
    """
    found = [float((cut.custom or {}).get(TRIMMED_FIELD, 0.0)) for cut in read_cuts(manifest)]
    count = sum(seconds > 0 for seconds in found)
    return f"data: {split}: {sum(found):.1f} s of silence cut off the ends of {count:,} of {len(found):,} recordings"


def _name_problem(item: ListedUtterance) -> str | None:
    """A manifest is UTF-8; names that are not cannot stand in it."""
    if not is_utf8(item.path):
        return "its name is not UTF-8; give it another"
    if not all(map(is_utf8, (item.id, item.text, item.speaker))):
        return "its id, transcript or speaker holds half of a surrogate pair, which is no character"
    return None


def _make_cut(item: ListedUtterance, text: str, header: AudioHeader, start: Seconds, seconds: Seconds) -> Cut:
    channels = list(range(header.num_channels))
    recording = Recording(
        id=item.id,
        sources=[AudioSource(type="file", channels=channels, source=item.address or str(item.path))],
        sampling_rate=header.sample_rate,
        num_samples=header.num_frames,
        duration=header.seconds,
        channel_ids=channels,
    )
    cut = recording.to_cut()
    if item.channel is not None and len(channels) > 1:
        cut = MonoCut(item.id, 0.0, recording.duration, item.channel, recording=recording)
    if seconds != header.seconds:
        cut.start, cut.duration = start, seconds
    cut.supervisions = [
        SupervisionSegment(
            id=item.id,
            recording_id=item.id,
            start=0.0,
            duration=seconds,
            channel=cut.channel,
            text=text,
            speaker=item.speaker,
            custom={LABELS_FIELD: dict(item.labels)} if item.labels else None,
        )
    ]
    return cut


def save_prepared(prepared: PreparedData) -> None:
    """Write ``prepared.json`` beside the manifests; the last thing that is written, so it vouches for the rest."""
    names = {split: path.name for split, path in prepared.manifests.items()}
    state = _State(
        names, prepared.skipped, prepared.hours, prepared.num_utterances, prepared.contents, prepared.audio,
        prepared.files,
    )  # fmt: skip
    write_state(prepared.folder / PREPARED_FILE, state)


def load_prepared(folder: str | Path) -> PreparedData:
    """Read what ``prepare_data`` left in a folder.

    Args:
        folder: as given to ``prepare_data``.

    Returns:
        The same as it returned.

    Raises:
        DataError: the folder was not prepared, or not to the end, or its files are damaged.
    """
    folder = Path(folder).absolute()
    state, reason = read_state(folder / PREPARED_FILE, _State)
    if state is None:
        raise DataError(f"{folder}: not prepared data ({reason or f'no {PREPARED_FILE}'}); prepare it again")
    if damage := describe_damage(folder, state.files):
        raise DataError(f"{folder}: {damage}; prepare the data again")
    return PreparedData(
        folder, {split: folder / name for split, name in state.manifests.items()}, state.skipped, state.hours,
        state.num_utterances, state.contents, state.audio, state.files,
    )  # fmt: skip
