"""The transcripts, by layers below the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.distill.loss import Loss, LossInputs, Shapes

if TYPE_CHECKING:
    from torch import nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig


@dataclass
class IntermediateCTCLoss(Loss):
    """CTC of the states of intermediate layers (Lee & Watanabe, 2021, section 2.2), mean over layers and labels.

    Each layer has a norm and a linear head of its own, dropped after training; the paper shares the last layer's head.
    """

    layers: list[int] = field(default_factory=list)
    """Layers whose states are read, 1-based; empty for the middle one, as in the paper."""

    needs_teacher: ClassVar[bool] = False
    unit: ClassVar[str] = "labels"
    outputs: ClassVar[tuple[str, ...]] = ("output_hidden_states",)

    def read_layers(self, depth: int) -> list[int]:
        """Return the layers whose states are read, 1-based.

        Args:
            depth: layers of the student.

        Examples:
            >>> IntermediateCTCLoss().read_layers(12)
            [6]
        """
        return list(self.layers) or [max(1, depth // 2)]

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        depth = student.num_hidden_layers
        if not student.ctc_head:
            yield Problem("", "no_student_head", "the student has no CTC head, and so no vocabulary to compare with")
        if outside := [layer for layer in self.layers if not 1 <= layer <= depth]:
            message = f"{outside} out of range: the student's layers go from 1 to {depth}"
            yield Problem("layers", "out_of_range", message)
        if len(set(self.layers)) < len(self.layers):
            yield Problem("layers", "repeated", f"{self.layers} names a layer twice")

    def build_modules(self, shapes: Shapes) -> nn.ModuleList:
        """See ``Loss``."""
        from torch import nn

        width, tokens = shapes.student.hidden_size, shapes.student.vocab_size
        heads = self.read_layers(shapes.student.num_hidden_layers)
        return nn.ModuleList([nn.Sequential(nn.LayerNorm(width), nn.Linear(width, tokens)) for _ in heads])

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        import torch

        from bigfoot.distill.losses import LossSum
        from bigfoot.models.ctc import compute_ctc_losses

        states, labels, shape = inputs.student.hidden_states, inputs.labels, inputs.shapes.student
        assert states is not None and labels is not None
        layers = self.read_layers(shape.num_hidden_layers)
        losses = [
            compute_ctc_losses(head(states[layer]), labels, inputs.frame_mask, shape.pad_token_id or 0).sum()
            for head, layer in zip(modules, layers, strict=True)
        ]
        return LossSum(torch.stack(losses).mean(), (labels >= 0).sum())
