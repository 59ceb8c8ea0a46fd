"""What losses that compare layer with layer have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bigfoot.config.problems import Problem
from bigfoot.distill.loss import Loss
from bigfoot.distill.matches import LayerMatch, build_layer_matches
from bigfoot.errors import ModelError

if TYPE_CHECKING:
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class LayerLoss(Loss):
    """Compare layers of the student with layers of the teacher, by its field ``matches``."""

    if TYPE_CHECKING:
        # Declared by each loss, behind its other settings.
        matches: Any

    def match(self, student: BigfootConfig, teacher: BigfootConfig) -> list[LayerMatch]:
        """Which layer is compared with which.

        Raises:
            ModelError: see ``build_layer_matches``.
        """
        return build_layer_matches(self.matches, student.num_hidden_layers, teacher.num_hidden_layers)

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        try:
            self.match(student, teacher)
        except ModelError as error:
            yield Problem("matches", "bad_matches", str(error))
