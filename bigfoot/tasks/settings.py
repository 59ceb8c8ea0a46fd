"""Settings of training a task head."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bigfoot.config import Problem, above_zero, not_negative, one_of, share
from bigfoot.install import install_hint
from bigfoot.training.settings import TrainConfig

METRICS: dict[str, tuple[str, ...]] = {
    "single_label": ("macro_f1", "weighted_f1", "accuracy", "balanced_accuracy"),
    "multi_label": ("macro_f1", "average_precision", "auroc"),
    "ordinal": ("quadratic_kappa", "mae", "accuracy", "balanced_accuracy"),
    "regression": ("ccc", "rmse", "mae"),
}
"""Metrics by kind, the default first: what the best model is chosen by and the table of the report shows."""
LOSS = "loss"
"""The loss on dev, by which the best model of every kind can be chosen too."""
LOWER_IS_BETTER = ("mae", "rmse", LOSS)


def find_edge_problems(kind: str, edges: Sequence[float], labels: Sequence[str]) -> Iterator[Problem]:
    """Check where numbers are cut into ratings.

    Args:
        kind: of the task.
        edges: as configured.
        labels: likewise.
    """
    if edges and kind != "ordinal":
        yield Problem("edges", "not_read", f"{kind} has no ratings in order; leave it out")
    if edges and ([*edges] != sorted(set(edges)) or len(labels) not in (0, len(edges) + 1)):
        yield Problem("edges", "bad_bounds", f"expected numbers that rise, one fewer than labels, got {[*edges]}")


@dataclass
class HeadConfig:
    """The task head, where the model has none yet."""

    pooling: str = one_of("mean", "max", "attention", "statistics", "last")
    """From frames to one vector: ``mean``, ``max``, ``attention`` (learned shares), ``statistics`` (mean and standard
    deviation), or the ``last`` frame. Padding is in none."""
    pooling_heads: int = above_zero(1)
    """Heads of ``attention``, each with shares of its own for its part of the channels."""
    layers: str = one_of("last", "weighted")
    """``last`` pools the encoder's last state, ``weighted`` a sum of all layers by learned weights."""
    hidden_sizes: list[int] = field(default_factory=list)
    """Widths of the layers between pooling and output; empty for none."""
    dropout: float = share(0.1)
    """Before each layer of the head, in training."""
    fbank: int = not_negative(0)
    """Bands of log-mel energies whose mean and standard deviation stand beside the pooled frames, such as 40: the
    spectrum of a voice, which the encoder's group norm takes away. 0 for none."""
    fbank_window: int = above_zero(400)
    """Samples of the windows that these are computed in: 400 are 25 ms; in 1024, which are 64 ms, the harmonics of a
    voice stand apart, and 80 bands show its pitch."""
    pitch: int = not_negative(0)
    """Lags of the autocorrelation whose mean and standard deviation stand beside the pooled frames too, such as 48: how
    high a voice is, and how periodic, which an encoder for words passes over. 0 for none."""
    init: str = one_of("random", "probe")
    """``probe`` starts from the linear model of the pooled vectors that scikit-learn fits on train, its penalty chosen
    by the loss on dev (Kumar et al., 2022); without ``hidden_sizes``, and not with the link ``coral``."""
    link: str = one_of("corn", "coral")
    """Of ``ordinal``: ``corn`` (a direction for each threshold between ratings), or ``coral`` (one for all)."""


@dataclass
class TrainTaskConfig(TrainConfig):
    """Train a task head on the encoder: classes, ratings or numbers of whole utterances."""

    max_steps: int = above_zero(300)
    """Optimizer steps."""
    learning_rate: float = above_zero(1e-3)
    """Highest learning rate."""
    kind: str = one_of(*METRICS)
    """``single_label`` (one class of several), ``multi_label`` (any number), ``ordinal`` (ratings in order) or
    ``regression`` (numbers)."""
    column: str = "label"
    """Label of the utterances (``data.labels``) that holds the class, the rating, or all labels of an utterance,
    separated by ``|``, ``;`` or ``,``. Where empty, each of ``labels`` is 0 or 1 in a label of its own."""
    labels: list[str] = field(default_factory=list)
    """Classes, or ratings from the lowest to the highest; those of train by default. Regression: the labels that hold
    its numbers."""
    edges: list[float] = field(default_factory=list)
    """``ordinal`` of a column of numbers: where they are cut into ratings, such as [8, 11, 17, 23] for five. A number
    at an edge belongs below it."""
    head: HeadConfig = field(default_factory=HeadConfig)
    """Shape of the head."""
    new_head: bool = False
    """Make a new head also where the model has one, such as a model that was trained on other labels."""
    metric: str = ""
    """What the best model is chosen by; empty for the first of its kind. Single label: ``macro_f1``, ``weighted_f1``,
    ``accuracy``, ``balanced_accuracy``; multi-label: ``macro_f1``, ``average_precision``, ``auroc``; ordinal:
    ``quadratic_kappa``, ``mae``, ``accuracy``, ``balanced_accuracy``; regression: ``ccc``, ``rmse``, ``mae``; of
    all kinds ``loss``."""
    freeze: list[str] = field(default_factory=list)
    """What does not learn: ``feature_encoder``, ``feature_projection``, ``encoder``, ``layers.3``, ``layers.0-7``, or
    the name of any module below the encoder."""
    unfreeze_at: int | None = not_negative(None)
    """Step from which all of it learns; null for never."""
    frames_gb: float = not_negative(10.0)
    """Most gigabytes on disk for the frames of an encoder that is frozen from the first to the last step: they are
    computed once, for all epochs, seeds and folds, unless masks, crops or noise change them (spec_augment,
    data.crop_seconds, data.augment). 0 keeps none."""
    frames_folder: str | None = None
    """Where they are kept, for several runs; null for ``frames`` in the folder of the run, or of all seeds and folds.
    It may be removed at any time."""
    lora_rank: int = not_negative(0)
    """Rank of low-rank adapters on the encoder, which learn in its place. 0 for none."""
    lora_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])
    """Linear maps of the encoder's layers that get adapters."""
    lora_save: str = one_of("merged", "kept")
    """``merged`` adds adapters to the weights when a model is saved; ``kept`` saves the first weights and the adapters
    beside them. Either way the model is loaded with both, and goes on to every other step."""
    prompts: int = not_negative(0)
    """Learned frames in front of the input of the encoder's layers (soft prompts), which learn also where the encoder
    is frozen. 0 for none."""
    class_weights: str = one_of("none", "balanced")
    """``balanced`` weighs each class by how rare it is in train."""
    label_smoothing: float = share(0.0)
    """Share of the target that is spread over all classes."""
    sampling: str = one_of("plain", "balanced")
    """``balanced`` repeats utterances of rare classes within an epoch until all classes are equally frequent."""
    mixup: float = not_negative(0.0)
    """Mix pairs of utterances after pooling, with their targets (Zhang et al., 2018): alpha of the Beta distribution
    that the shares are drawn from, such as 0.2. 0 for none."""
    floors: bool = True
    """Also report what the model must beat: the majority or the mean of train, and logistic or ridge regression on the
    mean and deviation of log-mel energies."""
    players: int = not_negative(10)
    """Worst utterances that the report's page plays, with their audio in it; 0 where recordings must stay where they
    are."""

    @property
    def chosen_metric(self) -> str:
        """What the best model is chosen by."""
        return self.metric or METRICS[self.kind][0]

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from super().find_problems()
        if self.kind in METRICS and self.metric and self.metric not in (*METRICS[self.kind], LOSS):
            known = ", ".join((*METRICS[self.kind], LOSS))
            yield Problem("metric", "unknown_word", f"{self.metric!r} is none of {self.kind}'s: {known}")
        if self.kind == "regression" and not self.labels:
            yield Problem("labels", "missing", "regression needs the labels that hold its numbers, such as [age]")
        yield from find_edge_problems(self.kind, self.edges, self.labels)
        if not self.column and self.kind in ("single_label", "ordinal"):
            yield Problem("column", "missing", f"{self.kind} needs the label that holds its classes")
        if not self.column and self.kind == "multi_label" and not self.labels:
            yield Problem("labels", "missing", "without a column, labels are the names of columns of 0 and 1")
        if self.unfreeze_at is not None and not self.freeze:
            yield Problem("unfreeze_at", "not_read", "freeze is empty, so there is nothing to unfreeze")
        if self.class_weights == "balanced" and self.kind == "regression":
            yield Problem("class_weights", "not_read", "a regression has no classes; leave it out")
        if self.head.init == "probe" and self.head.hidden_sizes:
            yield Problem("head.init", "not_linear", "a probe is linear; leave out hidden_sizes")
        if not 2 <= self.head.fbank_window <= 2**13:
            message = f"expected 2 to 8192 samples, got {self.head.fbank_window}"
            yield Problem("head.fbank_window", "out_of_range", message)
        if self.sampling == "balanced" and self.kind not in ("single_label", "ordinal"):
            yield Problem("sampling", "not_read", f"{self.kind} has no one class an utterance; leave it out")
        if self.lora_rank and importlib.util.find_spec("peft") is None:
            yield Problem("lora_rank", "missing_package", f"adapters need peft: {install_hint('tasks')}")
        if self.lora_save == "kept" and not self.lora_rank:
            yield Problem("lora_save", "not_read", "lora_rank is 0, so there are no adapters to keep")
        if self.lora_rank and not self.lora_modules:
            yield Problem("lora_modules", "empty", "lora_rank asks for adapters, and no module gets one")
        if self.lora_rank and self.unfreeze_at is not None:
            yield Problem("unfreeze_at", "not_read", "adapters learn in place of the encoder, which stays frozen")
