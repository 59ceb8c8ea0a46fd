"""Kinds of tasks by name: output layer and losses; one file each."""

from bigfoot.models.tasks.kinds.base import TaskKind
from bigfoot.models.tasks.kinds.multi_label import MultiLabel
from bigfoot.models.tasks.kinds.ordinal import Ordinal
from bigfoot.models.tasks.kinds.regression import Regression
from bigfoot.models.tasks.kinds.single_label import SingleLabel
from bigfoot.models.tasks.shape import TaskShape

_KINDS: dict[str, type[TaskKind]] = {
    "single_label": SingleLabel, "multi_label": MultiLabel, "ordinal": Ordinal, "regression": Regression
}  # fmt: skip


def find_kind(shape: TaskShape) -> TaskKind:
    """Return the kind of a head.

    Args:
        shape: of the head.

    Examples:
        >>> find_kind(TaskShape("ordinal", ["low", "middle", "high"])).num_outputs
        2
    """
    return _KINDS[shape.kind](shape)
