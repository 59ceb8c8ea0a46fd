"""The judge of dev for tasks: the best model is chosen by a metric of the task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.models.ctc import BigfootForCTC
from bigfoot.tasks.answers import answer_manifest, measure_loss
from bigfoot.tasks.metrics import score_answers
from bigfoot.tasks.settings import LOSS, LOWER_IS_BETTER
from bigfoot.text.tokenizers import Processor
from bigfoot.training.dev import DevScore


@dataclass(frozen=True)
class TaskJudge:
    """Scores a task model on dev; see ``DevJudge``.

    Args:
        manifest: of dev.
        processor: of the model.
        batch_size: utterances in a batch.
        metric: name of the metric.
    """

    manifest: Path
    processor: Processor
    batch_size: int
    metric: str

    def judge(self, student: BigfootForCTC, step: int, max_steps: int) -> DevScore:
        """See ``DevJudge``."""
        answers = answer_manifest(student, self.manifest, self.processor, self.batch_size)
        loss = measure_loss(answers)
        value = loss if self.metric == LOSS else score_answers(answers, self.metric, 0, 0).metrics.get(self.metric)
        record = {"dev_loss": loss, "dev_score": value}
        words = "n/a" if value is None else f"{value:.4f}"
        summary = f"{self.metric} {words}  loss {'n/a' if loss is None else f'{loss:.4f}'}"
        if value is None:
            return DevScore(None, record, summary)
        return DevScore(value if self.metric in LOWER_IS_BETTER else 1 - value, record, summary)
