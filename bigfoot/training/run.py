"""What a training is given, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.data.settings import DataConfig
from bigfoot.text.tokenizers import Processor
from bigfoot.training.dev import DevJudge, TranscriptJudge
from bigfoot.training.hooks import TrainingHook
from bigfoot.training.settings import TrainConfig


@dataclass
class TrainingRun:
    """Everything that a training needs besides its objective.

    Args:
        name: of the step, for logs and trackers.
        config: of the training.
        data: batching and augmentation.
        processor: of the student.
        manifests: lhotse manifests ``train`` and ``dev``.
        folder: for the checkpoint, the best and the last model.
        seed: of everything random.
        fingerprint: of all settings and inputs; a checkpoint with another one is not resumed.
        precision: ``auto``, ``no``, ``bf16`` or ``fp16``.
        trackers: by accelerate's names; empty for none.
        eval_batch_size: utterances decoded together on dev.
        hooks: called in this order.
        judge: chooses the best model on dev; None for greedy WER, where there are head and vocabulary.
        shard: divide weights, gradients and optimizer state among the processes.
        peak_tflops: of one process's device; 0 to measure it.
        max_minutes: after which the training pauses with a checkpoint; None for never.
    """

    name: str
    config: TrainConfig
    data: DataConfig
    processor: Processor
    manifests: dict[str, Path]
    folder: Path
    seed: int
    fingerprint: str = ""
    precision: str = "auto"
    trackers: list[str] = field(default_factory=list)
    eval_batch_size: int = 8
    hooks: Sequence[TrainingHook] = ()
    judge: DevJudge | None = None
    shard: bool = False
    peak_tflops: float = 0.0
    max_minutes: float | None = None

    def choose_judge(self, weights: Mapping[str, float], *, has_head: bool) -> DevJudge | None:
        """Return what the best model is chosen by; None where dev has no score.

        Args:
            weights: of the losses, by name.
            has_head: whether the student has a CTC head.
        """
        if self.judge is not None or not has_head or self.processor.tokenizer is None:
            return self.judge
        return TranscriptJudge(
            self.manifests["dev"], self.processor, self.eval_batch_size, "decoder" in weights, "ctc" in weights,
            self.data.transcripts == "none", self.name,
        )  # fmt: skip


@dataclass(frozen=True)
class TrainingResult:
    """Result of a training.

    Args:
        best: model folder of the step with the lowest dev error, which the next step reads.
        last: model folder of the last step.
        best_wer: error of the judge on dev, such as greedy WER, a fraction; None without one.
        best_step: 1-based.
        records: lines of losses and dev scores.
        seconds: training time, over all resumes.
        notes: problems and their remedies, one sentence each.
    """

    best: Path
    last: Path
    best_wer: float | None
    best_step: int
    records: list[dict[str, Any]]
    seconds: float
    notes: list[str] = field(default_factory=list)
