"""Settings of training on text, alone or fused with speech."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, random_seed, share
from bigfoot.data.split_settings import SplitConfig
from bigfoot.distill.contrastive import CONTRASTS
from bigfoot.install import install_hint
from bigfoot.models.fusion.fusion import FUSIONS
from bigfoot.models.fusion.streams import PROJECTIONS
from bigfoot.tasks.settings import LOSS, METRICS, find_edge_problems
from bigfoot.training.settings import PRECISIONS, TrainConfig

KINDS = tuple(METRICS)
RETRIEVAL = "retrieval"
"""Metric of contrastive losses alone: share of utterances whose speech finds its own text."""


@dataclass
class SpeechConfig:
    """Streams of speech beside the text; without any, the text alone is classified."""

    encoder: str = ""
    """Model folder whose hidden states are streams; empty for none."""
    layers: list[int] = field(default_factory=lambda: [-1])
    """Which of them, each a stream of its own: 0 is the encoder's input, -1 its last state."""
    train_encoder: bool = False
    """Whether the encoder learns too."""
    fbank: int = not_negative(0)
    """Mel bands of a stream of log energies, 100 frames a second; 0 for none."""
    phonemes: str = ""
    """Model folder with a phoneme CTC head, whose posteriors are a stream; empty for none."""
    prosody: bool = False
    """Pitch, loudness and harmonicity by parselmouth, 100 frames a second."""
    fusion: str = one_of(*FUSIONS, default="gated")
    """``late`` averages both branches' logits, ``concat`` classifies both pooled vectors, ``gated`` lets each attend to
    the other before, behind gates that are closed at first."""
    width: int = above_zero(512)
    """Width to which every stream is brought, before the text model's."""
    projection: str = one_of(*PROJECTIONS)
    """``linear``, or ``conv``: a 1-D convolution over time."""
    kernel: int = above_zero(3)
    """Frames that a convolution covers, odd."""
    stride: int = above_zero(1)
    """Frames from one output of a convolution to the next."""
    norm: bool = True
    """LayerNorm after each projection."""
    num_heads: int = above_zero(4)
    """Of ``gated``; they divide the text model's width."""
    dropout: float = share(0.1)
    """Before the outputs and of the attention, in training."""
    embedding_size: int = above_zero(256)
    """Width of the embeddings that a contrastive loss compares."""
    max_seconds: float = above_zero(35.0)
    """Utterances with longer audio are left out."""

    @property
    def is_used(self) -> bool:
        """Whether there is any stream."""
        return bool(self.encoder or self.fbank or self.phonemes or self.prosody)


@dataclass
class ContrastConfig:
    """Draws speech and text of an utterance together."""

    loss: str = one_of(*CONTRASTS)
    """``info_nce`` (against the others of the batch), ``cosine``, or ``cca`` (correlation by channel)."""
    weight: float = not_negative(0.0)
    """Of the loss; 0 for none."""
    temperature: float = above_zero(0.07)
    """Divides similarities of ``info_nce``; weight of different channels in ``cca``."""


@dataclass
class TrainTextConfig(TrainConfig):
    """Train a classifier of text, alone or fused with speech."""

    run_dir: str = "runs/text"
    """Run folder: the same command resumes from it."""
    csv: str = ""
    """Table to train on: CSV, TSV or JSONL with the columns ``text``, ``label``, and ``path`` of audio where there are
    streams of speech; ``speaker`` and ``id`` are optional."""
    dev: str = ""
    """The same for dev, on which the best model is chosen."""
    test: str = ""
    """The same for test."""
    split: SplitConfig = field(default_factory=lambda: SplitConfig(by="utterance"))
    """How dev and test are taken out of train where they have no tables."""
    columns: dict[str, str] = field(default_factory=dict)
    """The table's own names of columns, by what they are for: ``text``, ``path``, ``speaker``, ``id``, ``label``."""
    column: str = "label"
    """Column that holds the class, or all labels of an utterance, separated by ``|``, ``;`` or ``,``."""
    kind: str = one_of(*KINDS)
    """``single_label``, ``multi_label``, ``ordinal`` (ratings in order, by CORN) or ``regression``."""
    labels: list[str] = field(default_factory=list)
    """Classes, or ratings from the lowest to the highest; those of train by default. Regression: the columns of its
    numbers."""
    edges: list[float] = field(default_factory=list)
    """``ordinal`` of a column of numbers: where they are cut into ratings, as in ``train_task``."""
    model: str = ""
    """Folder or hub id of a text encoder in transformers' format, with its tokenizer."""
    head: str = one_of("new", "kept")
    """Of text alone: ``new`` starts with a new one, ``kept`` goes on with that of a classifier of the same labels."""
    text: str = one_of("given", "phonemes", "recognized")
    """``given`` reads the column ``text``, ``phonemes`` its phonemes by espeak-ng, ``recognized`` what the phoneme
    model (``speech.phonemes``) transcribes."""
    voice: str = "en-us"
    """espeak-ng's voice of ``phonemes``."""
    max_tokens: int = above_zero(256)
    """Longer texts are cut there, and counted."""
    batch_size: int = above_zero(16)
    """Utterances in a batch; those of a batch are each other's negatives."""
    metric: str = ""
    """What the best model is chosen by: one of the kind's as in ``train_task``, ``loss``, or ``retrieval``; empty for
    the first of the kind, or ``retrieval`` without a task."""
    task_weight: float = not_negative(1.0)
    """Of the task's loss; 0 trains the contrastive loss alone."""
    class_weights: str = one_of("none", "balanced")
    """``balanced`` weighs rare classes more."""
    label_smoothing: float = share(0.0)
    """Share of a target that is spread over all classes."""
    floors: bool = True
    """Also report what the model must beat: the majority or the mean of train, and logistic or ridge regression on the
    words (TF-IDF)."""
    bootstrap_samples: int = not_negative(1000)
    """Resamples of the intervals."""
    seed: int = random_seed(0)
    """Of everything random."""
    precision: str = one_of(*PRECISIONS)
    """``auto`` is bf16 on a GPU that supports it, and fp32 elsewhere."""
    trackers: list[str] = field(default_factory=list)
    """accelerate's names of trackers, such as ``tensorboard``."""
    max_steps: int = above_zero(300)
    """Optimizer steps."""
    learning_rate: float = above_zero(5e-5)
    """Highest learning rate."""
    learning_rate_factors: dict[str, float] = field(default_factory=dict)
    """Multiplies it for a part: ``text``, ``encoder`` or ``fusion``."""
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    """Streams of speech, and how they are fused."""
    contrastive: ContrastConfig = field(default_factory=ContrastConfig)
    """Contrastive loss of speech and text."""

    @property
    def chosen_metric(self) -> str:
        """The metric that models are chosen by."""
        return self.metric or (METRICS.get(self.kind, ("",))[0] if self.task_weight else RETRIEVAL)

    def part_names(self) -> tuple[str, ...]:
        """See ``TrainConfig``."""
        return ("text", "encoder", "fusion")

    def find_problems(self) -> Iterator[Problem]:
        """Check conditions on several values together."""
        yield from super().find_problems()
        for name in ("csv", "model"):
            if not getattr(self, name):
                yield Problem(name, "no_value", f"nothing is given; name the {'table' if name == 'csv' else 'model'}")
        known = (*METRICS[self.kind], LOSS, RETRIEVAL) if self.kind in KINDS else ()
        if self.metric and self.metric not in known:
            yield Problem("metric", "unknown_word", f"{self.metric!r} is none of {', '.join(known)}")
        elif self.chosen_metric == RETRIEVAL and not self.speech.is_used:
            yield Problem("metric", "not_read", "retrieval needs streams of speech; set speech.encoder or speech.fbank")
        if self.kind == "regression" and not self.labels:
            yield Problem("labels", "no_value", "a regression needs the columns of its numbers")
        yield from find_edge_problems(self.kind, self.edges, self.labels)
        if importlib.util.find_spec("sklearn") is None:
            yield Problem("kind", "missing_package", f"metrics need scikit-learn: {install_hint('tasks')}")
        yield from self._speech_problems()

    def _speech_problems(self) -> Iterator[Problem]:
        if self.contrastive.weight and not self.speech.is_used:
            yield Problem("contrastive.weight", "not_read", "speech and text are compared; set speech.encoder or fbank")
        if not self.contrastive.weight and not self.task_weight:
            yield Problem("task_weight", "no_loss", "every weight is 0, there is nothing to learn")
        if self.speech.kernel % 2 == 0:
            yield Problem("speech.kernel", "out_of_range", f"{self.speech.kernel} should be odd")
        if self.head == "kept" and self.speech.is_used:
            yield Problem("head", "not_read", "a fused model has a head of its own; take new")
        if self.text == "recognized" and not self.speech.phonemes:
            yield Problem("text", "not_read", "recognized reads the phoneme model; set speech.phonemes")
