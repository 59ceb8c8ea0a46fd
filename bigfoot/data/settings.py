"""Settings of corpora, batches and augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, share, unknown_words
from bigfoot.data.split_settings import SplitConfig

ROLES = ("path", "text", "speaker", "id", "offset", "duration", "end", "word_times")
"""What columns of a table can be for, besides labels."""
SHARDED = ("shar", "webdataset", "datasets_streaming")
"""Corpora in shards."""
DEFAULT_BATCH_SECONDS = 40.0
ALL_LABELS = "*"
"""In ``data.labels``: all that utterances have, as ``bigfoot describe`` shows them."""


@dataclass
class AugmentConfig:
    """Changes to the waveform, in training only, drawn anew for every utterance and step."""

    speed: list[float] = field(default_factory=lambda: [1.0, 1.0])
    """Lowest and highest playback speed; pitch moves along."""
    gain_db: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Lowest and highest change of loudness in decibels."""
    noise_probability: float = share(0.0)
    """Share of utterances that get noise."""
    noise_snr_db: list[float] = field(default_factory=lambda: [15.0, 40.0])
    """Lowest and highest signal-to-noise ratio of that noise in decibels."""
    noise_folder: str | None = None
    """Folder of recordings from which noise is cut; without one it is generated, between white and dark."""

    def find_problems(self) -> Iterator[Problem]:
        """Check conditions on several values together."""
        for part in ("speed", "gain_db", "noise_snr_db"):
            bounds = getattr(self, part)
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                yield Problem(part, "bad_bounds", f"expected [lowest, highest], got {bounds}")


@dataclass
class SpecAugmentConfig:
    """Masks over the student's projected features (Park et al., 2019), in training only."""

    mask_time_prob: float = share(0.05)
    """Expected share of frames covered by time masks, 0 to 1."""
    mask_time_length: int = not_negative(5)
    """Frames of a time mask."""
    mask_feature_prob: float = share(0.0)
    """Expected share of feature channels covered by feature masks, 0 to 1."""
    mask_feature_length: int = not_negative(10)
    """Channels of a feature mask."""


@dataclass
class DataConfig:
    """One corpus with its train, dev and test splits, as lhotse manifests."""

    corpus: str = one_of(
        "synthetic_digits", "fsdd", "fsdd_recordings", "librispeech", "common_voice", "speechocean762", "kaldi",
        "librilight", "tedlium", "gigaspeech", "voxpopuli", "mls", "folder", "table", "datasets",
        "shar", "webdataset", "datasets_streaming",
    )  # fmt: skip
    """``synthetic_digits``, ``fsdd`` (strings joined from it), ``fsdd_recordings`` (each by itself), ``librispeech``,
    ``common_voice`` (TSV beside ``clips/``), ``speechocean762``, ``kaldi`` (data folders with ``wav.scp``),
    ``librilight``, ``tedlium``, ``gigaspeech``, ``voxpopuli``, ``mls``, ``folder`` (audio beside .txt of the same name,
    or audio alone), ``table`` (TSV, CSV or JSONL) or ``datasets`` (a folder of Hugging Face's ``datasets``).
    In shards, read in order and copied nowhere: ``shar`` (lhotse's), ``webdataset`` (tar) and ``datasets_streaming``
    (Parquet or Arrow files of ``datasets``)."""
    root: str | None = None
    """Folder of the corpus; ``$BIGFOOT_DATA/<its usual name>`` by default. Synthetic speech needs none."""
    train_clean_100: bool = False
    """LibriSpeech: train on train-clean-100."""
    train_clean_360: bool = False
    """LibriSpeech: train on train-clean-360."""
    train_other_500: bool = False
    """LibriSpeech: train on train-other-500."""
    train_splits: list[str] = field(default_factory=list)
    """What to train on, by the corpus's own names. LibriSpeech: further splits. Folder: folders below the root, ``.``
    for the root itself. Common Voice: TSV files by stem, such as ``train`` or ``pl/train``. MLS, VoxPopuli: language
    and split, such as ``polish/train``. Kaldi: data folders below the root. Libri-Light: ``small``. GigaSpeech: ``XS``.
    Table: TSV, CSV or JSONL files. Datasets: their own names, ``.`` where there are none."""
    dev_splits: list[str] = field(default_factory=list)
    """The same for dev, on which the best checkpoint is chosen."""
    test_splits: list[str] = field(default_factory=list)
    """The same for test, which is read once, at the end."""
    columns: dict[str, str] = field(default_factory=dict)
    """Table, datasets: its own names of columns, by what they are for: ``path``, ``text``, ``speaker``, ``id``,
    ``offset``, ``duration``, ``end``, ``word_times`` (``START-END`` in seconds for each word of the transcript, spaces
    between), or a label of ``labels``."""
    labels: list[str] = field(default_factory=list)
    """Labels of utterances that tasks are trained on (``train_task``), by name: columns of a table, or what the corpus
    has: ``digit`` and ``speaker`` (fsdd_recordings), ``age`` and ``gender`` (speechocean762), ``sex``, ``accent``,
    ``speed`` and ``traits`` (synthetic_digits)."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Splits that are made out of ``train_splits``."""
    transcripts: str = one_of("given", "none", "teacher")
    """``none`` trains without transcripts: where labels are asked for (``ctc``, fine-tuning, dev WER), the teacher's
    own transcripts take their place, by its decoder where it has one (``evaluate.autoregressive``). Test keeps the
    transcripts it has, for judging alone. ``teacher`` takes the teacher's own in train alone, and only of utterances
    in which they are close to the given ones."""
    max_label_wer: float = not_negative(0.1)
    """``teacher``: word error rate of the teacher's transcript against the given one beyond which an utterance gives no
    labels."""
    hold_out_speakers: int = not_negative(0)
    """Take so many speakers out of train to be dev, where the corpus has no dev of its own."""
    unseen_speakers: list[str] = field(default_factory=list)
    """fsdd: speakers whose recordings are in test alone, and test has no others. Empty: all speakers are in all splits,
    with other recordings."""
    num_train: int = not_negative(4000)
    """Generated strings of digits in train (synthetic_digits, fsdd)."""
    num_dev: int = not_negative(60)
    """Generated strings of digits in dev."""
    num_test: int = not_negative(260)
    """Generated strings of digits in test."""
    min_digits: int = above_zero(1)
    """Fewest digits in a generated string."""
    max_digits: int = 8
    """Most digits in a generated string."""
    on_bad_audio: str = one_of("skip", "raise")
    """``skip`` leaves a bad file or transcript out and lists it in the report; ``raise`` stops at the first."""
    verify_audio: bool = True
    """Decode every file once while the manifest is made; off, only headers are read."""
    trust_files: bool = False
    """Take audio files for unchanged while the corpus lists them as before. Off, every start compares their size and
    times with those of the last one, and reads the files that differ. Meant for corpora of millions of files; what is
    trusted is named in the log and in the report."""
    trim_silence_db: float | None = above_zero(None)
    """Cut off the ends of every recording that are quieter than its loudest 20 ms by more decibels, such as 40; how
    much that was is in the log and in the report. Null leaves recordings as they are."""
    crop_seconds: float | None = above_zero(None)
    """Train on a stretch of so many seconds, drawn anew in every epoch, of recordings that are longer; they are
    evaluated as a whole. Only without transcripts, which a stretch does not have. Null for whole recordings."""
    max_seconds: float = above_zero(35.0)
    """Longer utterances are left out of training, and counted."""
    batch_seconds: int | float | str = above_zero(DEFAULT_BATCH_SECONDS, "auto")
    """Audio in a training batch, padding included; ``auto`` for as much as fits the memory, which every training finds
    before its first step and keeps when it is resumed. What is fitted or measured on training audio takes 40 then."""
    num_buckets: int = above_zero(8)
    """Buckets of similar length from which batches are drawn."""
    shard_buffer: int = above_zero(4000)
    """Corpora in shards: utterances among which batches are drawn; their audio, as in its files, is held in memory."""
    shard_lanes: int = above_zero(8)
    """Corpora in shards: streams of shards that take turns. A multiple of the number of processes has each of them read
    shards of its own."""
    num_workers: int | str = not_negative("auto", "auto")
    """Processes that read audio ahead and draw masks; 0 reads in the training process. ``auto``: on a GPU as many as
    there are processors for, up to 8; on a CPU none, until the training is seen to wait for data."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Speed, gain and noise."""

    def __post_init__(self) -> None:
        """Take 40 for 40.0: a fingerprint should not tell them apart."""
        if isinstance(self.batch_seconds, int):
            self.batch_seconds = float(self.batch_seconds)

    @property
    def known_batch_seconds(self) -> float:
        """``batch_seconds`` where it is a number, and its default where a training has yet to find it."""
        return DEFAULT_BATCH_SECONDS if isinstance(self.batch_seconds, str) else self.batch_seconds

    def find_problems(self) -> Iterator[Problem]:
        """Check conditions on several values together."""
        if self.max_digits < self.min_digits:
            yield Problem("max_digits", "below_minimum", "below data.min_digits")
        yield from unknown_words("columns", "column", list(self.columns), [*ROLES, *self.labels])
        if self.crop_seconds is not None and self.transcripts != "none":
            message = f"a stretch has no transcript, and transcripts is {self.transcripts}; set it to none"
            yield Problem("crop_seconds", "has_transcripts", message)
        if self.split.by != "given" and self.corpus in ("synthetic_digits", "fsdd"):
            message = f"{self.corpus} is made with voices of its own for each split; leave split and folds out"
            yield Problem("split.by", "not_read", message)
        if self.unseen_speakers and self.corpus != "fsdd":
            message = f"{self.corpus} does not read it: fsdd alone does; leave it out (split.by divides listed corpora)"
            yield Problem("unseen_speakers", "not_read", message)
        if self.corpus in SHARDED and (self.hold_out_speakers or self.split.by != "given"):
            key = "hold_out_speakers" if self.hold_out_speakers else "split.by"
            yield Problem(key, "not_read", f"{self.corpus} is read in the splits that it has; leave this out")
        for name in ("stratify", "label"):
            label = getattr(self.split, name)
            if label and label not in self.labels:
                message = f"{label!r} is none of data.labels {self.labels}; add it there"
                yield Problem(f"split.{name}", "unknown_word", message)
        if self.split.stratify and self.split.by == "given":
            message = "given splits are taken as they are; set split.by to speaker or utterance, or leave it out"
            yield Problem("split.stratify", "not_read", message)
