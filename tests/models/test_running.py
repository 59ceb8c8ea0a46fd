"""Layers that are computed again, or compiled: the outputs and gradients of those that are not."""

import copy

import pytest
import torch

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.distill import AttentionLoss, CTCLoss, HiddenLoss, LogitKLLoss, LossesConfig, ValueRelationLoss
from bigfoot.distill.objective import Objective
from bigfoot.errors import TrainingError
from bigfoot.models.lora import inject_adapters_
from bigfoot.models.running import LayerRunner, recomputes, set_runner_
from bigfoot.training.execution import CompiledLayers

LOSSES = LossesConfig(LogitKLLoss(0.7), HiddenLoss(0.3), ctc=CTCLoss(0.2), value_relation=ValueRelationLoss(0.1))
DROPOUT = {"hidden_dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.1}


@pytest.fixture(scope="module")
def batch(speech, processor):
    rows = [LoadedUtterance(str(i), "s", "ONE", speech[0][0, : 12_000 - 3_000 * i].numpy()) for i in range(3)]
    return collate(rows, processor)


def step(objective, batch):
    torch.manual_seed(5)
    terms = objective(batch, {})
    sum(objective.weights[name] * term.mean() for name, term in terms.items()).backward()
    gradients = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    return [term.mean().item() for term in terms.values()], gradients, torch.get_rng_state()


SHAPES = {
    "base": {}, "wavlm": {}, "conformer": {}, "sew": {}, "large-lv60": {"attention_reuse": [None, 0]},
    "hubert-batch-norm": {},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", SHAPES)
def test_activations_computed_again_give_the_same_gradients(structure, build_model, batch):
    student = build_model(structure, seed=2, num_hidden_layers=2, **DROPOUT, **SHAPES[structure])
    losses = LossesConfig(LogitKLLoss(0.7), HiddenLoss(0.3)) if structure in ("sew", "large-lv60") else LOSSES
    objective = Objective(losses, student, build_model(structure, seed=1)).train()
    values, gradients, state = step(objective, batch)
    assert set_runner_(student, LayerRunner(recomputes=True)) == 2 and recomputes(student)
    again, found, after = step(objective, batch)
    assert again == values and torch.equal(state, after) and found.keys() == gradients.keys() and len(found) > 20
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-6, msg=name)


@pytest.mark.slow
def test_adapters_and_activations_computed_again(build_model, batch):
    pytest.importorskip("peft")
    student = build_model("base", num_hidden_layers=2, **DROPOUT)
    inject_adapters_(student.speech_encoder.encoder.layers, 2, ["q_proj", "v_proj"])
    losses = LossesConfig(LogitKLLoss(0.0), ctc=CTCLoss(1.0))
    objective = Objective(losses, student, None).train()
    _, gradients, _ = step(objective, batch)
    set_runner_(student, LayerRunner(recomputes=True))
    _, found, _ = step(objective, batch)
    assert [name for name in gradients if "lora" in name] and found.keys() == gradients.keys()
    assert all(torch.allclose(found[name], gradient, atol=1e-6) for name, gradient in gradients.items())


def test_they_hold_a_fraction_of_the_memory(build_model, batch):
    def count(runner):
        model = build_model("base", num_hidden_layers=3, **DROPOUT).train()
        set_runner_(model, runner)
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        kept = {}

        def note(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(batch.input_values, batch.attention_mask).logits.sum()
        return sum(kept.values())

    assert count(LayerRunner(recomputes=True)) < 0.5 * count(LayerRunner())


def test_nothing_is_computed_again_in_evaluation(build_model, batch, monkeypatch):
    model = build_model("base", num_hidden_layers=1)
    set_runner_(model, LayerRunner(recomputes=True))
    calls = []
    monkeypatch.setattr("bigfoot.models.running.checkpoint", lambda call, *a, **k: calls.append(call) or call(*a))
    model(batch.input_values, batch.attention_mask)
    with torch.no_grad():
        model.train()(batch.input_values, batch.attention_mask)
    assert not calls
    model(batch.input_values, batch.attention_mask)
    assert len(calls) == 8  # seven convolutions and a layer


@pytest.mark.slow
def test_compiled_layers_give_the_same_losses_and_gradients(build_model, batch):
    compiled = CompiledLayers("aot_eager", must=True)
    student, teacher = build_model("base", seed=2, num_hidden_layers=2), build_model("base", seed=1)
    losses = LossesConfig(LogitKLLoss(0.7), HiddenLoss(0.3))
    objective = Objective(losses, student, teacher).train()
    names = list(student.state_dict())
    values, gradients, _ = step(objective, batch)
    for model in (student, teacher):
        set_runner_(model, LayerRunner(compiled=compiled))
    again, found, _ = step(objective, batch)
    assert again == pytest.approx(values, rel=1e-5) and list(student.state_dict()) == names
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4, msg=name)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    with torch.no_grad():  # another length, without another graph
        teacher(batch.input_values[:, :7000], batch.attention_mask[:, :7000])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs > 0
    copied = copy.deepcopy(student)
    assert torch.equal(copied.eval()(batch.input_values).logits, student.eval()(batch.input_values).logits)


def test_hooked_layers_are_not_compiled(build_model, batch):
    model, calls = build_model("base", num_hidden_layers=2), []
    set_runner_(model, LayerRunner(compiled=lambda layer, *given: calls.append(layer) or layer(*given)))
    plain = model(batch.input_values, batch.attention_mask).logits
    assert len(calls) == 2
    handle = model.speech_encoder.encoder.layers[0].attention.out_proj.register_forward_hook(lambda *_: None)
    assert torch.equal(model(batch.input_values, batch.attention_mask).logits, plain) and len(calls) == 3
    handle.remove()
    model(batch.input_values, batch.attention_mask, output_attention_values=True)
    assert len(calls) == 3


def failing(*_):
    raise RuntimeError("no such backend")


def test_a_compiler_that_fails():
    layer, one = torch.nn.Linear(2, 2), torch.ones(1, 2)
    may, must = (CompiledLayers(failing, must=wanted) for wanted in (False, True))
    assert torch.equal(may(layer, one), layer(one)) and may.failed
    with pytest.raises(TrainingError):
        must(layer, one)


def test_attention_maps_of_layers_computed_again(build_model, batch):
    losses = LossesConfig(LogitKLLoss(0.0), attention=AttentionLoss(1.0))
    objective = Objective(losses, build_model(num_hidden_layers=2), build_model(seed=1)).train()
    values, gradients, _ = step(objective, batch)
    set_runner_(objective.student, LayerRunner(recomputes=True))
    again, found, _ = step(objective, batch)
    assert again == values and all(torch.allclose(found[name], each, atol=1e-6) for name, each in gradients.items())
