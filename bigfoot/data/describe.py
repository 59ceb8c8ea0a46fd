"""Statistics of a corpus: hours, speakers, labels, what is missing, and distributions of lengths and characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lhotse.cut import Cut

from bigfoot.audio.account import Account
from bigfoot.data.cuts import LABELS_FIELD, read_cuts
from bigfoot.data.distributions import LabelFacts, describe_label
from bigfoot.data.manifests import UNKNOWN_SPEAKER, PreparedData, SkippedUtterance
from bigfoot.data.relations import Column, Relation, find_relations
from bigfoot.progress import track


@dataclass(frozen=True)
class SplitFacts:
    """Statistics of a split.

    Args:
        split: ``train``, ``dev`` or ``test``.
        num_utterances: that can be used.
        num_speakers: different ones; those without a name count as one.
        num_without_text: utterances without a transcript.
        hours: of audio.
        seconds: length of every utterance, in the manifest's order.
        num_characters: of every transcript, blanks included; utterances without text are left out.
        num_words: the same in words.
        characters_per_second: the same over the length of its audio: speech that is too fast for CTC, or transcripts
            of other audio, lie far out.
        characters: how often each stands in the transcripts, the most frequent first.
        sample_rates: utterances by rate in Hz.
        channels: utterances by number of channels.
        num_without_speaker: utterances whose speaker is not known.
        labels: of tasks, by name.
    """

    split: str
    num_utterances: int
    num_speakers: int
    num_without_text: int
    hours: float
    seconds: list[float]
    num_characters: list[int]
    num_words: list[int]
    characters_per_second: list[float]
    characters: dict[str, int]
    sample_rates: dict[int, int]
    channels: dict[int, int]
    num_without_speaker: int = 0
    labels: dict[str, LabelFacts] = field(default_factory=dict)

    @property
    def quantities(self) -> dict[str, Sequence[float]]:
        """Distributions by name and unit."""
        return {
            "audio, seconds": self.seconds,
            "text, characters": self.num_characters,
            "text, words": self.num_words,
            "characters per second": self.characters_per_second,
        }


@dataclass(frozen=True)
class CorpusFacts:
    """Statistics of a corpus.

    Args:
        name: what to call it.
        splits: train, dev and test as far as there are.
        skipped: what was left out, and why.
        accounts: rows and seconds in, used and left out, by split.
        relations: correlations between lengths, labels, speakers and splits, over all splits, the strongest first.
    """

    name: str
    splits: list[SplitFacts]
    skipped: list[SkippedUtterance]
    accounts: dict[str, Account] = field(default_factory=dict)
    relations: list[Relation] = field(default_factory=list)


def describe_corpus(prepared: PreparedData, name: str = "corpus") -> CorpusFacts:
    """Count what manifests hold, without reading audio.

    Args:
        prepared: of ``prepare_data`` or ``load_prepared``.
        name: what to call it.

    Returns:
        Figures by split.

    Examples:
        >>> import tempfile
        >>> from bigfoot.data.settings import DataConfig
        >>> from bigfoot.data.corpora import prepare_data
        >>> config = DataConfig(num_train=3, num_dev=0, num_test=2)
        >>> facts = describe_corpus(prepare_data(config, seed=0, folder=tempfile.mkdtemp()))
        >>> [(split.split, split.num_utterances, split.sample_rates) for split in facts.splits]
        [('train', 3, {16000: 3}), ('test', 2, {16000: 2})]
    """
    counts, unit = prepared.num_utterances, "utterances"
    read = {
        split: [_read(cut) for cut in track(read_cuts(manifest), f"counting {split}", counts[split], unit)]
        for split, manifest in prepared.manifests.items()
    }
    splits = [_describe_split(split, utterances) for split, utterances in read.items()]
    accounts = {split: prepared.account(split) for split in prepared.manifests}
    return CorpusFacts(name, splits, prepared.skipped, accounts, find_relations(_columns(read)))


@dataclass(frozen=True)
class _Utterance:
    """What is counted of an utterance."""

    seconds: float
    text: str
    speaker: str
    sample_rate: int
    channels: int
    labels: Mapping[str, str]


def _read(cut: Cut) -> _Utterance:
    supervision, recording = cut.supervisions[0], cut.recording
    labels = (supervision.custom or {}).get(LABELS_FIELD, {})
    return _Utterance(
        float(cut.duration), supervision.text or "", str(supervision.speaker), recording.sampling_rate,
        recording.num_channels, labels,
    )  # fmt: skip


def _describe_split(split: str, utterances: Sequence[_Utterance]) -> SplitFacts:
    timed = [(item.text, item.seconds) for item in utterances if item.text]
    names = dict.fromkeys(name for item in utterances for name in item.labels)
    return SplitFacts(
        split=split,
        num_utterances=len(utterances),
        num_speakers=len({item.speaker for item in utterances}),
        num_without_text=len(utterances) - len(timed),
        hours=sum(item.seconds for item in utterances) / 3600,
        seconds=[item.seconds for item in utterances],
        num_characters=[len(text) for text, _ in timed],
        num_words=[len(text.split()) for text, _ in timed],
        characters_per_second=[len(text) / duration for text, duration in timed],
        characters=dict(Counter(char for text, _ in timed for char in text).most_common()),
        sample_rates=dict(sorted(Counter(item.sample_rate for item in utterances).items())),
        channels=dict(sorted(Counter(item.channels for item in utterances).items())),
        num_without_speaker=sum(item.speaker == UNKNOWN_SPEAKER for item in utterances),
        labels={name: describe_label([item.labels.get(name) for item in utterances]) for name in sorted(names)},
    )


def _columns(read: Mapping[str, Sequence[_Utterance]]) -> dict[str, Column]:
    """Quantities of all utterances by name, of all splits one behind the other."""
    items = [item for utterances in read.values() for item in utterances]
    columns: dict[str, Column] = {
        "split": [split for split, utterances in read.items() for _ in utterances],
        "audio, seconds": [item.seconds for item in items],
        "text, characters": [len(item.text) if item.text else None for item in items],
        "speaker": [None if item.speaker == UNKNOWN_SPEAKER else item.speaker for item in items],
    }
    for name in sorted({name for item in items for name in item.labels}):
        columns[f"label, {name}"] = _read_column([item.labels.get(name) for item in items])
    return columns


def _read_column(words: Sequence[str | None]) -> Column:
    """Values of a label; of a column of numbers, as numbers, without the words beside them."""
    facts = describe_label(words)
    if facts.spread is None:
        return words
    return [None if word is None or word in facts.words else float(word) for word in words]
