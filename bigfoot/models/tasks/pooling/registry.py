"""Poolings by name: from the frames of an utterance to one vector; one file each."""

from bigfoot.models.tasks.pooling.attention import AttentionPooling
from bigfoot.models.tasks.pooling.base import Pooling
from bigfoot.models.tasks.pooling.last import LastPooling
from bigfoot.models.tasks.pooling.maximum import MaxPooling
from bigfoot.models.tasks.pooling.mean import MeanPooling
from bigfoot.models.tasks.pooling.statistics import StatisticsPooling

POOLINGS: dict[str, type[Pooling]] = {
    "mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling, "statistics": StatisticsPooling,
    "last": LastPooling,
}  # fmt: skip
"""Every pooling by its name in configurations."""
