"""The shape of a task head as it stands in a model's configuration, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.text.json_fields import (
    OneOf,
    Rule,
    Share,
    Whole,
    build_from_json,
    describe_stray,
    find_problems,
    has_fields_of,
    quote,
)

KINDS = ("single_label", "multi_label", "ordinal", "regression")
"""What is predicted of an utterance: one class, any number of classes, a rating, or numbers."""
LINKS = ("coral", "corn")
"""How an ordinal head goes from thresholds to ratings."""
POOLING_NAMES = ("mean", "max", "attention", "statistics", "last")
LAYERS = ("last", "weighted")
_MOST_LABELS, _LONGEST, _MOST_HIDDEN = 10_000, 1_000, 8
_WIDTH = Whole(1, 2**13)
_RULES: dict[str, Rule] = {
    "kind": OneOf(KINDS), "link": OneOf(LINKS), "pooling": OneOf(POOLING_NAMES), "layers": OneOf(LAYERS),
    "pooling_heads": Whole(1, 2**10), "dropout": Share(), "fbank": Whole(0, 2**8),
    "fbank_window": Whole(2, 2**13), "pitch": Whole(0, 2**8),
}  # fmt: skip


@dataclass(frozen=True)
class TaskShape:
    """Shape of a task head.

    Args:
        kind: one of ``KINDS``.
        labels: names of the classes; ``ordinal``: of the ratings, lowest first; ``regression``: of the numbers.
        column: label of the utterance (``data.labels``) that holds the class, the rating, or all labels of it,
            separated by ``|``, ``;`` or ``,``; empty where each label is a column of its own, as the numbers of a
            regression always are.
        link: ``coral`` (one direction for all thresholds, Cao et al., 2020) or ``corn`` (one each, Shi et al., 2021).
        pooling: one of ``POOLING_NAMES``.
        pooling_heads: of ``attention``.
        layers: ``last`` pools the encoder's last state, ``weighted`` a sum of all by learned weights.
        fbank: bands of log-mel energies whose mean and standard deviation stand beside the pooled frames; 0 for none.
        fbank_window: samples of their windows.
        pitch: lags of the autocorrelation whose mean and standard deviation stand beside them; 0 for none.
        hidden_sizes: widths of the layers between pooling and output.
        dropout: before each layer of the head, in training.
        center: ``regression``: mean of each number in training, added to the output; empty for 0.
        scale: ``regression``: its standard deviation, by which the output is multiplied; empty for 1.
        edges: ``ordinal``: numbers, rising, at which those of ``column`` are cut into ratings, one fewer than ratings;
            a number at an edge belongs below it. Empty where the column holds ratings.

    Examples:
        >>> TaskShape.read({"kind": "ordinal", "labels": ["bad", "fair", "good"]}).num_labels
        3
    """

    kind: str = "single_label"
    labels: list[str] = field(default_factory=list)
    column: str = "label"
    link: str = "corn"
    pooling: str = "mean"
    pooling_heads: int = 1
    layers: str = "last"
    hidden_sizes: list[int] = field(default_factory=list)
    dropout: float = 0.1
    center: list[float] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)
    edges: list[float] = field(default_factory=list)
    fbank: int = 0
    fbank_window: int = 400
    pitch: int = 0

    @property
    def num_labels(self) -> int:
        """Number of classes, ratings or numbers."""
        return len(self.labels)

    @classmethod
    def read(cls, raw: object) -> TaskShape:
        """Read a shape from a configuration.

        Raises:
            ModelError: with all that is wrong.
        """
        return build_from_json(cls, raw, task_problems, "this task head cannot be built")


def task_problems(raw: object) -> Iterator[str]:
    """Explain why a task head cannot be built.

    Args:
        raw: fields of ``TaskShape`` by name.

    Yields:
        One sentence a problem.
    """
    if not has_fields_of(raw, TaskShape):
        yield describe_stray("task", TaskShape, raw)
        return
    yield from find_problems({f"task.{name}": value for name, value in raw.items()},
                             {f"task.{name}": rule for name, rule in _RULES.items()})  # fmt: skip
    column, kind = raw.get("column", "label"), raw.get("kind", "single_label")
    if not isinstance(column, str) or (not column and kind in ("single_label", "ordinal")):
        yield f"task.column {quote(column)} should name a label of the utterances"
    yield from _label_problems(raw.get("labels", []), raw.get("kind", "single_label"))
    sizes = raw.get("hidden_sizes", [])
    if not isinstance(sizes, list) or len(sizes) > _MOST_HIDDEN or any(_WIDTH.problem("", size) for size in sizes):
        yield f"task.hidden_sizes {quote(sizes)} should list up to {_MOST_HIDDEN} whole numbers, 1 to {_WIDTH.most}"
    for name in ("center", "scale"):
        yield from _number_problems(name, raw.get(name, []), raw)
    yield from _edge_problems(raw.get("edges", []), raw)


def _label_problems(labels: object, kind: object) -> Iterator[str]:
    fits = isinstance(labels, list) and all(isinstance(each, str) and 0 < len(each) <= _LONGEST for each in labels)
    if not fits or not isinstance(labels, list) or len(set(labels)) < len(labels) or len(labels) > _MOST_LABELS:
        yield f"task.labels {quote(labels)} should list up to {_MOST_LABELS} different names"
        return
    least = 2 if kind in ("single_label", "ordinal") else 1
    if len(labels) < least:
        yield f"task.labels {quote(labels)}: {kind} needs {least} or more"


def _edge_problems(edges: object, raw: dict[str, object]) -> Iterator[str]:
    labels = raw.get("labels", [])
    if not _are_numbers(edges) or not isinstance(edges, list) or sorted(set(edges)) != edges:
        yield f"task.edges {quote(edges)} should list numbers that rise"
    elif edges and (raw.get("kind") != "ordinal" or not isinstance(labels, list) or len(labels) != len(edges) + 1):
        yield f"task.edges {quote(edges)} should be one fewer than the labels of an ordinal head"


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < float("inf") for each in values
    )


def _number_problems(name: str, values: object, raw: dict[str, object]) -> Iterator[str]:
    labels = raw.get("labels", [])
    if not _are_numbers(values) or not isinstance(values, list) or not isinstance(labels, list):
        yield f"task.{name} {quote(values)} should list numbers"
    elif values and (raw.get("kind") != "regression" or len(values) != len(labels)):
        yield f"task.{name} {quote(values)} should have a number for each label of a regression"
    elif name == "scale" and any(each <= 0 for each in values):
        yield f"task.scale {quote(values)} should list numbers above 0"
