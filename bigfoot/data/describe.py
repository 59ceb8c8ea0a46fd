"""Statistics of a corpus: hours, speakers, and distributions of lengths, texts and characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from lhotse.cut import Cut

from bigfoot.audio.account import Account
from bigfoot.data.cuts import read_cuts
from bigfoot.data.manifests import PreparedData, SkippedUtterance
from bigfoot.progress import track


@dataclass(frozen=True)
class Spread:
    """Distribution of a quantity; quartiles are interpolated between neighbours.

    Args:
        minimum: the lowest.
        lower_quartile: a quarter lies below it.
        median: half lies below it.
        upper_quartile: three quarters lie below it.
        maximum: the highest.
        mean: the average.
    """

    minimum: float
    lower_quartile: float
    median: float
    upper_quartile: float
    maximum: float
    mean: float


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
    """

    name: str
    splits: list[SplitFacts]
    skipped: list[SkippedUtterance]
    accounts: dict[str, Account] = field(default_factory=dict)


def spread_of(values: Sequence[float]) -> Spread | None:
    """Summarize values.

    Args:
        values: any number of them.

    Returns:
        Quartiles, ends and mean; None where there is no value.

    Examples:
        >>> spread_of([4, 1, 3, 2, 5])
        Spread(minimum=1.0, lower_quartile=2.0, median=3.0, upper_quartile=4.0, maximum=5.0, mean=3.0)
    """
    if not len(values):
        return None
    low, lower, median, upper, high = np.percentile(np.asarray(values, dtype=np.float64), (0, 25, 50, 75, 100)).tolist()
    return Spread(low, lower, median, upper, high, float(np.mean(values)))


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
    splits = [
        _describe_split(split, track(read_cuts(manifest), f"counting {split}", counts[split], unit))
        for split, manifest in prepared.manifests.items()
    ]
    accounts = {split: prepared.account(split) for split in prepared.manifests}
    return CorpusFacts(name, splits, prepared.skipped, accounts)


def _describe_split(split: str, cuts: Iterable[Cut]) -> SplitFacts:
    seconds: list[float] = []
    timed: list[tuple[str, float]] = []
    speakers: set[str] = set()
    characters: Counter[str] = Counter()
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    for cut in cuts:
        supervision = cut.supervisions[0]
        seconds.append(float(cut.duration))
        speakers.add(str(supervision.speaker))
        rates[cut.recording.sampling_rate] += 1
        channels[cut.recording.num_channels] += 1
        if supervision.text:
            characters.update(supervision.text)
            timed.append((supervision.text, float(cut.duration)))
    return SplitFacts(
        split=split,
        num_utterances=len(seconds),
        num_speakers=len(speakers),
        num_without_text=len(seconds) - len(timed),
        hours=sum(seconds) / 3600,
        seconds=seconds,
        num_characters=[len(text) for text, _ in timed],
        num_words=[len(text.split()) for text, _ in timed],
        characters_per_second=[len(text) / duration for text, duration in timed],
        characters=dict(characters.most_common()),
        sample_rates=dict(sorted(rates.items())),
        channels=dict(sorted(channels.items())),
    )
