"""The transcripts at the known times of their words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bigfoot.config.problems import Problem
from bigfoot.distill.loss import FadingLoss, LossInputs

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bigfoot.distill.losses import LossSum
    from bigfoot.models.configuration import BigfootConfig
    from bigfoot.models.frames.timing import FrameTiming


@dataclass
class AlignmentLoss(FadingLoss):
    """Cross-entropy of every frame against the label that is spoken there, the blank between words.

    The flat start of hidden Markov models (Young et al., The HTK Book, section 8.3), with the times of words where a
    synthesizer or an aligner gave them (column ``word_times`` of a table) and labels spread evenly within a word. From
    random weights CTC stays for long where every frame is a blank; this shows it where characters are. An utterance
    without times adds nothing.
    """

    needs_teacher: ClassVar[bool] = False
    unit: ClassVar[str] = "aligned"

    def check(self, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[Problem]:
        """See ``Loss``."""
        if not student.ctc_head:
            message = "the student has no CTC head; fine-tune with finetune.head=new instead"
            yield Problem("", "no_student_head", message)

    def compute(self, inputs: LossInputs, modules: nn.ModuleList) -> LossSum:
        """See ``Loss``."""
        import torch

        from bigfoot.distill.losses import LossSum, token_cross_entropy
        from bigfoot.models.frames.timing import frame_timing

        logits, labels, times = inputs.student.logits, inputs.labels, inputs.label_times
        share = self.share_at(int(inputs.steps_done))
        assert logits is not None
        if times is None or labels is None or not share:
            return LossSum(logits.new_zeros(()), inputs.frame_mask.new_zeros((), dtype=torch.int64))
        shape = inputs.shapes.student
        targets = align_frames(labels, times, inputs.frame_mask, frame_timing(shape), shape.pad_token_id or 0)
        found = token_cross_entropy(logits, targets)
        return LossSum(share * found.total, found.count)


def align_frames(
    labels: Tensor, times: Tensor, frame_mask: Tensor, timing: FrameTiming, blank_id: int
) -> Tensor:
    """Find the label at the centre of every frame.

    Args:
        labels: (B, U), -100 = padding.
        times: (B, U, 2) in samples, see ``Batch.label_times``.
        frame_mask: (B, T), True = real.
        timing: of the frames.
        blank_id: where no label is.

    Returns:
        (B, T), -100 on padding and where no times are known.

    Examples:
        >>> import torch
        >>> from bigfoot.models.frames.timing import FrameTiming
        >>> labels, times = torch.tensor([[5, 6]]), torch.tensor([[[10.0, 30.0], [30.0, 40.0]]])
        >>> align_frames(labels, times, torch.ones(1, 5, dtype=torch.bool), FrameTiming(10.0, 5.0), 0)
        tensor([[0, 5, 5, 6, 0]])
    """
    import torch

    centres = timing.first + timing.period * torch.arange(frame_mask.shape[1], device=times.device)
    known = times[:, :1, 0].isfinite()
    starts = times[..., 0].nan_to_num(torch.inf).contiguous()
    # The last label that starts no later than the centre.
    place = torch.searchsorted(starts, centres.expand(len(times), -1).contiguous(), right=True) - 1
    ends = times[..., 1].nan_to_num(-torch.inf).gather(1, place.clamp(min=0))
    spoken = (place >= 0) & (centres < ends)
    targets = labels.gather(1, place.clamp(min=0)).where(spoken, blank_id)
    return targets.where(frame_mask & known, -100)
