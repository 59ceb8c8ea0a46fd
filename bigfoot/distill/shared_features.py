"""One pass of the feature encoder for student and teacher, as long as theirs are the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import FeatureEncoder

_SHAPE = (
    "conv_kernel", "conv_stride", "conv_dim", "groups_of_convs", "kernel_owners", "feat_extract_norm",
    "feat_extract_activation", "streaming", "frame_encoder",
)  # fmt: skip


class SharedFeatures:
    """Computes convolutional features once for several models, or several passes of one.

    The student takes the teacher's where its feature encoder is frozen and has the teacher's shape and weights to the
    bit; masks and dropout come after it in both. Whether it has is asked again when a weight was changed.

    Args:
        student: that is trained.
        teacher: as ``freeze_teacher`` left it.
        twice: whether the teacher runs two times for each batch.
    """

    def __init__(self, student: BigfootForCTC, teacher: BigfootForCTC, *, twice: bool) -> None:
        self._student, self._teacher, self._twice = student, teacher, twice
        self._fits = _describe(student.config) == _describe(teacher.config)
        self._asked: tuple[int, ...] = ()
        self._equal = False

    def is_shared(self) -> bool:
        """Return whether the student's features are the teacher's at this moment."""
        if not self._fits or not self._is_fixed(self._student) or not self._is_fixed(self._teacher):
            return False
        # A number is read from the device where a weight was changed since, and at no other time.
        if self._versions() != self._asked:
            self._asked, self._equal = self._versions(), self._compare()
        return self._equal

    def compute(self, student_audio: Tensor, teacher_audio: Tensor, mask: Tensor) -> tuple[Tensor | None, ...]:
        """Compute what is needed more than once.

        Args:
            student_audio: (B, N), as the student gets it.
            teacher_audio: (B, N), as the teacher does.
            mask: (B, N), True = real.

        Returns:
            Features for the student and for the teacher, (B, T, C) without gradients; None where each computes its own.
        """
        shared = student_audio is teacher_audio and self.is_shared()
        if not shared and not (self._twice and self._is_fixed(self._teacher)):
            return None, None
        with torch.no_grad():
            found = self._teacher.speech_encoder.convolve(teacher_audio, mask)
        return found if shared else None, found

    @staticmethod
    def _is_fixed(model: BigfootForCTC) -> bool:
        """Return whether features follow from audio and weights alone, and need no gradient."""
        encoder = model.speech_encoder
        front = encoder.feature_encoder
        if not isinstance(front, FeatureEncoder) or encoder.runs_unbatched or model.kept_frames is not None:
            return False
        if any(weight.requires_grad or isinstance(weight, DTensor) for weight in front.parameters()):
            return False
        return not any(module._forward_hooks or module._forward_pre_hooks for module in front.modules())

    def _versions(self) -> tuple[int, ...]:
        models = self._student, self._teacher
        return tuple(
            number
            for model in models
            for weight in model.speech_encoder.feature_encoder.parameters()
            for number in (weight.data_ptr(), weight._version)
        )

    def _compare(self) -> bool:
        ours, theirs = (model.speech_encoder.feature_encoder.state_dict() for model in (self._student, self._teacher))
        if ours.keys() != theirs.keys():
            return False
        pairs = [(ours[name], theirs[name]) for name in ours]
        same = all(one.dtype == other.dtype and one.device == other.device for one, other in pairs)
        return same and all(torch.equal(one, other) for one, other in pairs)


def _describe(config: BigfootConfig) -> list[object]:
    return [getattr(config, name) for name in _SHAPE]
