"""Answers of a text model to examples, their scores, and the judge of dev."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bigfoot.data.manifests import ListedUtterance
from bigfoot.distill.contrastive import measure_retrieval
from bigfoot.models.tasks.targets import read_targets
from bigfoot.runtime.task_answers import compute_scores
from bigfoot.tasks.answers import Answers, measure_loss, task_facts
from bigfoot.tasks.metrics import TaskScore, score_answers
from bigfoot.tasks.settings import LOSS, LOWER_IS_BETTER, METRICS
from bigfoot.tasks.text.batches import TextReader
from bigfoot.tasks.text.model import TextClassifier
from bigfoot.tasks.text.settings import RETRIEVAL
from bigfoot.training.dev import DevScore


@dataclass(frozen=True)
class TextResult:
    """Answers of a model to a split.

    Args:
        answers: to the task.
        retrieval: share of utterances whose speech finds its own text among all; None without speech.
    """

    answers: Answers
    retrieval: float | None


@torch.no_grad()
def answer_examples(
    model: TextClassifier, reader: TextReader, examples: Sequence[ListedUtterance], batch_size: int
) -> TextResult:
    """Run a model on examples.

    Args:
        model: its mode is kept.
        reader: of its batches.
        examples: of a split.
        batch_size: utterances in a batch; no answer depends on it.
    """
    was_training = model.training
    logits: list[np.ndarray] = []
    pairs: list[tuple[Tensor, Tensor]] = []
    model.eval()
    try:
        for batch in reader.read(examples, batch_size):
            found = model(batch.to(model.device))
            logits.append(found.logits.double().cpu().numpy())
            if found.text is not None and found.speech is not None:
                pairs.append((found.speech.cpu(), found.text.cpu()))
    finally:
        model.train(was_training)
    shape, stacked = model.shape, np.concatenate(logits)
    targets = read_targets(shape, [item.labels for item in examples]).double().numpy()
    facts = task_facts(shape)
    ids, speakers = [item.id for item in examples], [item.speaker for item in examples]
    answers = Answers(ids, speakers, targets, compute_scores(stacked, facts), facts, stacked)
    both = [torch.cat(each) for each in zip(*pairs, strict=True)]
    return TextResult(answers, measure_retrieval(*both) if both else None)


def score_result(result: TextResult, metric: str, samples: int, seed: int) -> TaskScore:
    """Score answers; retrieval has no interval.

    Args:
        result: of ``answer_examples``.
        metric: of the task, ``loss`` (which shows the first of its kind), or ``retrieval``.
        samples: bootstrap resamples.
        seed: of the resampling.
    """
    if metric != RETRIEVAL:
        shown = METRICS[result.answers.facts.kind][0] if metric == LOSS else metric
        score = score_answers(result.answers, shown, samples, seed)
    else:
        score = TaskScore({}, RETRIEVAL, None, None, "utterance", len(result.answers.ids))
    if result.retrieval is not None:
        score.metrics[RETRIEVAL] = result.retrieval
    return score


@dataclass(frozen=True)
class TextJudge:
    """Scores a text model on dev; see ``DevJudge``.

    Args:
        reader: of its batches.
        examples: of dev.
        batch_size: utterances in a batch.
        metric: name of the metric.
    """

    reader: TextReader
    examples: Sequence[ListedUtterance]
    batch_size: int
    metric: str

    def judge(self, student: TextClassifier, step: int, max_steps: int) -> DevScore:
        """See ``DevJudge``."""
        result = answer_examples(student, self.reader, self.examples, self.batch_size)
        loss = measure_loss(result.answers)
        value = loss if self.metric == LOSS else score_result(result, self.metric, 0, 0).metrics.get(self.metric)
        record = {"dev_loss": loss, "dev_score": value, "dev_retrieval": result.retrieval}
        record = {name: found for name, found in record.items() if found is not None or name == "dev_score"}
        shown = {self.metric: value, LOSS: loss, RETRIEVAL: result.retrieval}
        summary = "  ".join(f"{name} {'n/a' if found is None else f'{found:.4f}'}"
                            for name, found in shown.items() if found is not None or name == self.metric)  # fmt: skip
        if value is None:
            return DevScore(None, record, summary)
        return DevScore(value if self.metric in LOWER_IS_BETTER else 1 - value, record, summary)
