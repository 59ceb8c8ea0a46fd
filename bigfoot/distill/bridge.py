"""From a teacher of other frames, tokens and loudness to outputs that a student's can be compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bigfoot.data.batches import Batch
from bigfoot.distill.resampling import resample_log_probs, resample_states, resampling_weights
from bigfoot.distill.vocabulary import map_log_probs, map_tokens
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import CTCOutput
from bigfoot.models.frames.timing import FrameTiming, frame_timing
from bigfoot.text.tokenizer import is_special
from bigfoot.text.tokenizers import Processor


def _list_names(pieces: set[str]) -> str:
    """List the first twenty, quoted; empty texts left out."""
    kept = sorted(pieces - {""})
    return " ".join(map(repr, kept[:20])) + (f" and {len(kept) - 20} others" if len(kept) > 20 else "")


@dataclass(frozen=True)
class Bridge:
    """What separates a teacher's outputs from a student's.

    Args:
        teacher: timing of its frames.
        student: timing of its frames.
        do_normalize: whether the teacher's audio is normalized; None where it is as the student's.
        token_map: the student's token of each of the teacher's; None where they have the same.
        vocab_size: tokens of the student's head.
    """

    teacher: FrameTiming
    student: FrameTiming
    do_normalize: bool | None = None
    token_map: tuple[int, ...] | None = None
    vocab_size: int = 0

    @classmethod
    def between(cls, student: BigfootConfig, teacher: BigfootConfig) -> Bridge:
        """Build the bridge between two shapes of one vocabulary and one loudness."""
        return cls(frame_timing(teacher), frame_timing(student))

    def with_processors(self, student: Processor, teacher: Processor, vocab_size: int) -> Bridge:
        """Return the same for two processors.

        Args:
            student: of the student.
            teacher: of the teacher.
            vocab_size: tokens of the student's head.

        Raises:
            ModelError: their vocabularies cannot be compared token by token.
        """
        token_map, ours, theirs = None, student.tokenizer, teacher.tokenizer
        if ours is not None and theirs is not None and ours != theirs:
            token_map = tuple(map_tokens(theirs, ours))
        return replace(self, do_normalize=teacher.do_normalize, token_map=token_map, vocab_size=vocab_size)

    def describe_dropped(self, student: Processor, teacher: Processor) -> str:
        """Describe which characters one of both has no token for; empty where each has all of the other's."""
        if self.token_map is None or teacher.tokenizer is None or student.tokenizer is None:
            return ""
        blank, pieces = student.tokenizer.blank_id, teacher.tokenizer.pieces
        dropped = {pieces[at] for at, token in enumerate(self.token_map) if token == blank}
        mine = enumerate(zip(student.tokenizer.vocabulary, student.tokenizer.pieces, strict=True))
        missed = {piece for at, (token, piece) in mine if at not in self.token_map and not is_special(token)}
        found = []
        if names := _list_names(dropped):
            found.append(f"of the teacher's characters the student has no {names}: they count as the blank")
        if names := _list_names(missed):
            found.append(f"the teacher has no {names}, which its posteriors teach to leave out")
        return "; ".join(found)

    @property
    def keeps_frames(self) -> bool:
        """Whether the teacher's frames are the student's."""
        return self.teacher == self.student

    def find_audio(self, batch: Batch) -> Tensor:
        """Return the (B, N) samples that the teacher gets."""
        return batch.input_values if self.do_normalize is None else batch.values_for(self.do_normalize)

    def cross(self, output: CTCOutput, frame_mask: Tensor, num_frames: int) -> CTCOutput:
        """Bring a teacher's output to the student's frames and tokens.

        Args:
            output: of the teacher.
            frame_mask: (B, T') of it.
            num_frames: T of the student's.

        Returns:
            Logits (log probabilities where anything changed), hidden states and convolutional features of T frames;
            what has two axes of time is left as it is.
        """
        if self.keeps_frames and self.token_map is None:
            return output
        fields: dict[str, Any] = dict(output)
        weights = None if self.keeps_frames else resampling_weights(frame_mask, self.teacher, self.student, num_frames)
        if output.logits is not None:
            fields["logits"] = self._cross_logits(output.logits, frame_mask, weights)
        if weights is not None:
            if output.hidden_states is not None:
                # A cache leaves layers empty that no loss reads.
                fields["hidden_states"] = tuple(
                    resample_states(state, weights) if state.numel() else state for state in output.hidden_states
                )
            for name in ("last_hidden_state", "conv_features"):
                if output.get(name) is not None:
                    fields[name] = resample_states(output[name], weights)
        return CTCOutput(**fields)

    def _cross_logits(self, logits: Tensor, frame_mask: Tensor, weights: Tensor | None) -> Tensor:
        log_probs = logits.float().where(frame_mask[..., None], 0.0).log_softmax(-1)
        if self.token_map is not None:
            token_map = torch.tensor(self.token_map, device=logits.device)
            log_probs = map_log_probs(log_probs[..., : len(token_map)], token_map, self.vocab_size)
        return log_probs if weights is None else resample_log_probs(log_probs, weights)
