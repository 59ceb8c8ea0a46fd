"""Terms over layers: each against a plain loop over single unpadded utterances."""

import math

import pytest
import torch

from bigfoot.data.batches import Batch
from bigfoot.distill import (
    GramLoss,
    HeadsLoss,
    HiddenLoss,
    LogitKLLoss,
    LossesConfig,
    MaskedHiddenLoss,
    ValueRelationLoss,
)
from bigfoot.distill.objective import Objective, needed_targets, objective_problems

LENGTHS, FRAMES = (9000, 16_000, 399), (27, 49, 0)


@pytest.fixture(scope="module")
def batch(speech):
    waves = [speech[index][0, :length] for index, length in zip((0, 1, 0), LENGTHS, strict=True)]
    mask = torch.stack([torch.arange(16_000) < len(wave) for wave in waves])
    values = torch.stack([torch.nn.functional.pad(wave, (0, 16_000 - len(wave))) for wave in waves])
    return Batch(values, mask, torch.full((3, 1), -100), ["a", "b", "c"], [""] * 3, ["s"] * 3)


@pytest.fixture
def teacher(build_model):
    # Its vector for masked frames is not zero, so that masked inputs differ from whole ones.
    return build_model("base", seed=1, num_hidden_layers=4)


@pytest.fixture
def student(build_model):
    return build_model("base", seed=2, num_hidden_layers=2, hidden_size=16, num_attention_heads=2)


def only(**sections):
    return LossesConfig(logit_kl=LogitKLLoss(0.0), **sections)


def alone(batch):
    """Each utterance that has a frame, unpadded."""
    return [values[mask][None] for values, mask in zip(batch.input_values, batch.attention_mask, strict=True)
            if int(mask.sum()) >= 400]  # fmt: skip


def states(model, wave, **masks):
    return [x[0] for x in model(wave, output_hidden_states=True, **masks).hidden_states]


def total(objective, name, batch, masks=None):
    term = objective(batch, masks or {})[name]
    assert int(term.count) == sum(FRAMES)
    return float(term.total.detach())


@torch.no_grad()
def test_hints_with_a_weight_each_are_added_up(student, teacher, batch):
    config = HiddenLoss(1.0, "mse", [[0, 0], [1, 2], [2, 4]], [0.1, 0.1, 1.0])
    objective = Objective(only(hidden=config), student, teacher)
    maps, expected = objective.terms["hidden"], 0.0
    for wave in alone(batch):
        here, there = states(student, wave), states(teacher, wave)
        for project, (i, j), weight in zip(maps, config.matches, config.match_weights, strict=True):
            for frame in range(len(there[j])):
                gap = project(here[i][frame]) - there[j][frame]
                expected += weight * sum(x * x for x in gap.tolist()) / 24
    assert total(objective, "hidden", batch) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_the_mean_of_the_last_layers_is_a_target(student, teacher, batch):
    config = HiddenLoss(1.0, "l1", [[2, 4]], mean_of=3)
    objective = Objective(only(hidden=config), student, teacher)
    (project,), expected = objective.terms["hidden"], 0.0
    for wave in alone(batch):
        here, there = states(student, wave), states(teacher, wave)
        target = (there[2] + there[3] + there[4]) / 3
        expected += float((project(here[2]) - target).abs().mean(-1).sum())
    assert total(objective, "hidden", batch) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("mean_of", [1, 2])
def test_heads_predict_teacher_layers_from_the_last_state(student, teacher, batch, mean_of):
    config = HeadsLoss(1.0, [2, 4], 0.7, 0.3, mean_of)
    objective = Objective(only(heads=config), student, teacher)
    heads, expected = objective.terms["heads"], 0.0
    assert [tuple(p.shape) for p in heads[0].parameters() if p.ndim > 1] == [(16, 16), (24, 16)]
    for wave in alone(batch):
        last, there = student(wave).last_hidden_state[0], states(teacher, wave)
        for head, layer in zip(heads, (2, 4), strict=True):
            first, _, second = head
            target = there[layer] if mean_of == 1 else (there[layer - 1] + there[layer]) / 2
            for x, y in zip(second(torch.nn.functional.gelu(first(last))), target, strict=True):
                cosine = float(x @ y) / math.hypot(*x.tolist()) / math.hypot(*y.tolist())
                expected += (0.7 * float((x - y).abs().mean()) + 0.3 * math.log(1 + math.exp(-cosine))) / 2
    assert total(objective, "heads", batch) == pytest.approx(expected, rel=1e-4)


def test_heads_are_at_every_third_and_no_part_of_the_student(build_model, student, teacher):
    deep = build_model("base", num_hidden_layers=12)
    objective = Objective(only(heads=HeadsLoss(1.0)), student, deep)
    assert HeadsLoss().predicted_layers(12) == [4, 8, 12]
    assert HeadsLoss().predicted_layers(4) == [1, 3, 4]
    assert not any("heads" in name for name in student.state_dict())
    assert len(list(objective.projections.parameters())) == 12


@torch.no_grad()
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_masked_and_unmasked_frames_apart(student, teacher, batch, weights):
    """Masked frames match the teacher with the whole input, others the teacher with the student's input."""
    config = MaskedHiddenLoss(1.0, "mse", [[2, 4], [1, 2]], [1.0, 0.1], 1, *weights)
    objective = Objective(only(masked_hidden=config), student, teacher)
    hidden = torch.zeros(3, 49, dtype=torch.bool)
    hidden[0, 3:13], hidden[1, 20:40] = True, True
    maps, expected = objective.terms["masked_hidden"], 0.0
    for row, wave in enumerate(alone(batch)):
        mask = hidden[row : row + 1, : FRAMES[row]]
        here, whole = states(student, wave, mask_time_indices=mask), states(teacher, wave)
        deaf = states(teacher, wave, mask_time_indices=mask)
        assert (whole[4] - deaf[4]).abs().max() > 0.01
        for project, (i, j), share in zip(maps, config.matches, config.match_weights, strict=True):
            for frame in range(FRAMES[row]):
                masked = bool(mask[0, frame])
                target = (whole if masked else deaf)[j][frame]
                expected += weights[not masked] * share * float((project(here[i][frame]) - target).square().mean())
    assert total(objective, "masked_hidden", batch, {"mask_time_indices": hidden}) == pytest.approx(expected, rel=1e-4)


def test_the_second_pass_of_the_teacher_is_made_only_where_it_is_asked_for(student, teacher, batch):
    hidden, passes = torch.zeros(3, 49, dtype=torch.bool).index_fill(1, torch.tensor([4]), True), []
    teacher.speech_encoder.register_forward_pre_hook(lambda *_: passes.append(1))
    for config, count in ((MaskedHiddenLoss(1.0), 2), (MaskedHiddenLoss(1.0, unmasked_weight=0.0), 1)):
        objective = Objective(only(masked_hidden=config), student, teacher)
        passes.clear()
        objective(batch, {"mask_time_indices": hidden})
        assert len(passes) == count
        passes.clear()
        objective(batch, {})
        assert len(passes) == 1


@torch.no_grad()
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_gram_matrices_of_layers_and_within_them(student, teacher, batch, weights):
    objective = Objective(only(gram=GramLoss(1.0, *weights)), student, teacher)
    expected = 0.0
    for wave in alone(batch):
        here, there = states(student, wave), states(teacher, wave)
        for i, j in ((0, 1), (1, 3)):
            layer = here[i + 1] @ here[i + 1].T / 16 - there[j + 1] @ there[j + 1].T / 24
            within = here[i] @ here[i + 1].T / 16 - there[j] @ there[j + 1].T / 24
            rows = weights[0] * layer.square().mean(-1) + weights[1] * within.square().mean(-1)
            expected += float(rows.sum()) / 2
    assert total(objective, "gram", batch) == pytest.approx(expected, rel=1e-4)


def values_of(model, wave):
    """By a road of their own: the projections of what goes into each layer's attention."""
    given, handles = [], []
    for layer in model.speech_encoder.encoder.layers:
        handles.append(layer.attention.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][0])))
    model(wave)
    for handle in handles:
        handle.remove()
    layers = model.speech_encoder.encoder.layers
    return [layer.attention.v_proj(x) for layer, x in zip(layers, given, strict=True)]


@torch.no_grad()
@pytest.mark.parametrize("heads", [None, 4])
@pytest.mark.parametrize("structure", ["base", "large-lv60", "wavlm"])
def test_relations_of_values(build_model, teacher, batch, heads, structure):
    """Own heads of equal number in both models, and values cut anew."""
    student = build_model(structure, seed=2, num_hidden_layers=2)
    student = student if heads is None else build_model(structure, num_hidden_layers=2, hidden_size=16,
                                                        num_attention_heads=2)  # fmt: skip
    objective = Objective(only(value_relation=ValueRelationLoss(1.0, heads)), student, teacher)
    expected, parts = 0.0, heads or 3
    for wave in alone(batch):
        here, there = values_of(student, wave), values_of(teacher, wave)
        for i, j in ((0, 1), (1, 3)):
            for q, p in zip(here[i].chunk(parts, -1), there[j].chunk(parts, -1), strict=True):
                one, other = ((x @ x.T / math.sqrt(x.shape[1])).double().softmax(-1) for x in (q, p))
                expected += float((other * (other / one).log()).sum()) / parts / 2
    assert total(objective, "value_relation", batch) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@torch.no_grad()
def test_values_of_layers_of_every_shape(build_model, teacher, batch):
    """Without attention, with another layer's maps, and of low rank."""
    shape = {"layer_num_attention_heads": [0, 2, 2, 2], "attention_reuse": [None, None, 1, None],
             "layer_ranks": [{}, {}, {}, {"v_proj": 2}]}  # fmt: skip
    student = build_model("base", num_hidden_layers=4, hidden_size=16, num_attention_heads=2, **shape)
    given = student(batch.input_values, batch.attention_mask, output_attention_values=True).attention_values
    assert [None if x is None else tuple(x.shape) for x in given] == [None, *[(3, 49, 16)] * 3]
    config = ValueRelationLoss(1.0, 2, [[1, 0], [2, 1], [3, 3]])
    assert not list(objective_problems(only(value_relation=config), student.config, teacher.config))
    expected = 0.0
    for wave in alone(batch):
        here = student(wave, output_attention_values=True).attention_values
        there = values_of(teacher, wave)
        for i, j in config.matches:
            for q, p in zip(here[i][0].chunk(2, -1), there[j].chunk(2, -1), strict=True):
                one, other = ((x @ x.T / math.sqrt(x.shape[1])).double().softmax(-1) for x in (q, p))
                expected += float((other * (other / one).log()).sum()) / 2 / 3
    objective = Objective(only(value_relation=config), student, teacher)
    assert total(objective, "value_relation", batch) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ({"time_reduction": 2}, ("value_relation", "other_frames")),
        ({"layer_num_attention_heads": [2, 0]}, ("value_relation.matches", "no_attention")),
    ],
)
def test_values_that_are_not_there(build_model, teacher, shape, problem):
    student = build_model("base", num_hidden_layers=2, hidden_size=16, num_attention_heads=2, **shape)
    losses = only(value_relation=ValueRelationLoss(1.0, 4))
    assert problems_of(losses, student, teacher) == [problem]


def test_values_are_given_only_where_they_are_asked_for(student, batch):
    assert student(batch.input_values).attention_values is None
    asked = student(batch.input_values, batch.attention_mask, output_attention_values=True)
    assert [tuple(x.shape) for x in asked.attention_values] == [(3, 49, 16)] * 2
    assert not any(layer.attention.v_proj._forward_hooks for layer in student.speech_encoder.encoder.layers)


def test_targets_name_what_is_read(student, teacher):
    losses = LossesConfig(
        hidden=HiddenLoss(1.0, matches=[[2, 4]], mean_of=2), heads=HeadsLoss(1.0, [1]),
        masked_hidden=MaskedHiddenLoss(1.0, matches=[[1, 2]]), gram=GramLoss(1.0, matches=[[0, 0]]),
        value_relation=ValueRelationLoss(1.0, 4, [[1, 3]]),
    )  # fmt: skip
    assert needed_targets(losses, student.config, teacher.config) == {
        "logits": {0}, "hidden_states": {0, 1, 2, 3, 4}, "masked_hidden_states": {2}, "attention_values": {3},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("section", "key", "code"),
    [
        ({"hidden": HiddenLoss(1.0, match_weights=[1.0])}, "hidden.match_weights", "wrong_number"),
        ({"hidden": HiddenLoss(1.0, matches=[[0, 0]], match_weights=[-1.0])}, "hidden.match_weights", "out_of_range"),
        ({"hidden": HiddenLoss(1.0, mean_of=2)}, "hidden.mean_of", "too_few_layers"),
        ({"masked_hidden": MaskedHiddenLoss(1.0, matches=[[9, 0]])}, "masked_hidden.matches", "bad_matches"),
        (
            {"masked_hidden": MaskedHiddenLoss(1.0, masked_weight=0.0, unmasked_weight=0.0)},
            "masked_hidden", "nothing_to_compare",
        ),
        ({"heads": HeadsLoss(1.0, [0, 5])}, "heads.layers", "out_of_range"),
        ({"heads": HeadsLoss(1.0, [2, 2])}, "heads.layers", "repeated"),
        ({"heads": HeadsLoss(1.0, [2], mean_of=3)}, "heads.mean_of", "too_few_layers"),
        ({"heads": HeadsLoss(1.0, [2], 0.0, 0.0)}, "heads", "nothing_to_compare"),
        ({"gram": GramLoss(1.0, 0.0, 0.0)}, "gram", "nothing_to_compare"),
        ({"gram": GramLoss(1.0, matches="all")}, "gram.matches", "bad_matches"),
        ({"value_relation": ValueRelationLoss(1.0, matches=[[0, 9]])}, "value_relation.matches", "bad_matches"),
        ({"value_relation": ValueRelationLoss(1.0, None, [[0, 0]])}, "value_relation.heads", "heads_differ"),
        ({"value_relation": ValueRelationLoss(1.0, 3, [[0, 0]])}, "value_relation.heads", "does_not_divide"),
    ],
)  # fmt: skip
def test_every_problem_has_its_key_and_code(student, teacher, section, key, code):
    assert problems_of(only(**section), student, teacher) == [(key, code)]


def problems_of(losses, student, teacher):
    """(key, code) of every problem, keys within the losses."""
    found = objective_problems(losses, student.config, teacher.config, "gates.losses")
    return [(problem.key.removeprefix("gates.losses."), problem.code) for problem in found]
