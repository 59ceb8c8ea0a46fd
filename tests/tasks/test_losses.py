"""Losses of tasks in the objective: means over labelled utterances, and what cannot be compared."""

import pytest
import torch

from bigfoot.data.batches import Batch
from bigfoot.distill import LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.distill.terms.task import TaskKLLoss, TaskLoss


@pytest.fixture
def batch(speech):
    waves = [wave[0, :8000] for wave in speech[:2]]
    labels = [{"sex": "male"}, {"sex": "female"}, {}]
    values = torch.stack([*waves, waves[0] * 0.5])
    mask = torch.ones(values.shape, dtype=torch.bool)
    return Batch(values, mask, None, list("abc"), [""] * 3, ["s"] * 3, attributes=labels)


def objective(student, teacher=None, **losses):
    return Objective(LossesConfig(LogitKLLoss(weight=0.0), **losses), student.eval(), teacher)


def test_labels_are_averaged_over_utterances_that_have_one(task_model, batch):
    found = objective(task_model(), task=TaskLoss(1.0))
    terms, units = found(batch, {}), found.count_units(batch)
    logits = found.student(batch.input_values).task_logits
    expected = torch.nn.functional.cross_entropy(logits[:2], torch.tensor([1, 0]), reduction="sum")
    assert units == {"task": 2} and int(terms["task"].count) == 2
    torch.testing.assert_close(terms["task"].total, expected)


def test_mixed_utterances_have_the_targets_of_both(task_model, batch):
    model = task_model(dropout=0.0)
    found = objective(model, task=TaskLoss(1.0))
    logits = model(batch.input_values).task_logits
    assert model(batch.input_values).task_mix is None
    model.task_head.mixup = 0.5
    assert torch.equal(model(batch.input_values).task_logits, logits)  # in training alone
    model.task_head.train()
    seen = []
    handle = model.register_forward_hook(lambda *call: seen.append(call[-1]))
    terms = found(batch, {})
    handle.remove()
    (output,) = seen
    partner, share = output.task_mix
    mixed = share * output.pooled + (1 - share) * output.pooled[partner]
    torch.testing.assert_close(output.task_logits, model.task_head.output(mixed))
    log_probs, expected = output.task_logits.log_softmax(-1), 0.0
    for row in range(3):
        for place, part in ((row, share), (int(partner[row]), 1 - share)):
            expected -= part * log_probs[row, (1, 0)[place]] if place < 2 else 0.0
    torch.testing.assert_close(terms["task"].total, expected.squeeze())
    assert 0 < share < 1 and int(terms["task"].count) == 2


def test_the_divergence_is_over_all_utterances(task_model, batch):
    student, teacher = task_model(), task_model(pooling="mean")
    with torch.no_grad():
        teacher.task_head.output.weight *= 30  # sure of its answers, far from the student's
    found = objective(student, teacher, task_kl=TaskKLLoss(1.0, temperature=2.0))
    terms = found(batch, {})
    ours, theirs = ((model(batch.input_values).task_logits / 2).log_softmax(-1) for model in (student, teacher))
    expected = 4 * (theirs.exp() * (theirs - ours)).sum()
    assert expected > 0.01
    torch.testing.assert_close(terms["task_kl"].total, expected, rtol=1e-4, atol=1e-6)
    assert found.count_units(batch) == {"task_kl": 3} and int(terms["task_kl"].count) == 3


def test_what_cannot_be_compared(task_model, build_model):
    one, other, bare = task_model(), task_model(labels=["female", "male", "child"]), build_model("base")

    def codes(loss, student, teacher):
        return [problem.code for problem in loss.check(student.config, teacher.config)]

    assert codes(TaskKLLoss(1.0), one, one) == []
    assert codes(TaskKLLoss(1.0), one, other) == ["other_labels"]
    assert codes(TaskKLLoss(1.0), one, bare) == codes(TaskLoss(1.0), bare, one) == ["no_task_head"]
    assert codes(TaskLoss(1.0, class_weights=[1.0]), one, one) == ["bad_length"]
    assert codes(TaskLoss(1.0, class_weights=[1.0, 2.0]), one, one) == []
