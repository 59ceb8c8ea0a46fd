"""Teacher and student of different families and widths."""

import pytest
import torch

from bigfoot.data.batches import Batch
from bigfoot.distill import AttentionLoss, ConvFeaturesLoss, CTCLoss, HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective, objective_problems

LOSSES = LossesConfig(
    logit_kl=LogitKLLoss(1.0), hidden=HiddenLoss(1.0), ctc=CTCLoss(0.1),
    attention=AttentionLoss(0.5), conv_features=ConvFeaturesLoss(0.5),
)  # fmt: skip
THIN = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "conv_dim": [8] * 7}


@pytest.fixture(scope="module")
def batch(speech):
    waves = [speech[0][0, :9000], speech[1][0, :12_000]]
    mask = torch.stack([torch.arange(12_000) < len(wave) for wave in waves])
    values = torch.stack([torch.nn.functional.pad(wave, (0, 12_000 - len(wave))) for wave in waves])
    return Batch(values, mask, torch.tensor([[5, 6, -100], [7, 8, 9]]), ["a", "b"], ["", ""], ["s", "s"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "student"),
    [("wavlm", "base"), ("hubert-large", "wavlm"), ("data2vec", "hubert"), ("base", "data2vec"), ("wavlm", "wavlm")],
)
def test_a_thin_student_of_another_family_learns(build_model, batch, teacher, student):
    teacher, student = build_model(teacher, seed=1), build_model(student, seed=2, **THIN)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    assert not list(objective_problems(LOSSES, student.config, teacher.config))
    torch.manual_seed(0)
    objective = Objective(LOSSES, student.train(), teacher).train()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    course, hidden = [], torch.zeros(2, 37, dtype=torch.bool)
    hidden[:, 5:9] = True
    for _ in range(8):
        terms = objective(batch, {"mask_time_indices": hidden})
        loss = sum(objective.weights[name] * term.total / term.count for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        means = {name: float((term.total / term.count).detach()) for name, term in terms.items()}
        course.append(means | {"all": float(loss.detach())})
    assert set(course[0]) == {"logit_kl", "hidden", "ctc", "attention", "conv_features", "all"}
    # Two random heads agree by chance from the start: their posteriors have nothing to learn.
    for name in ("hidden", "conv_features", "all"):
        assert course[-1][name] < 0.97 * course[0][name], name
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(torch.isfinite(parameter.grad).all() for parameter in objective.parameters())
