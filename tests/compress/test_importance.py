"""Scores against plain loops, and against what a unit says and costs when it is alone."""

import copy

import pytest
import torch

from bigfoot.compress.importance import LabelledAudio, compute_importance
from bigfoot.compress.units import Piece, Place, find_units
from bigfoot.models.reshape import plain_state
from tests.codes import refusing

LAYER = "encoder.encoder.layers.1."


@pytest.fixture
def batches(speech):
    labels = torch.tensor([[5, 6, 7]]), torch.tensor([[8, 9, -100]])
    pairs = zip(speech[:2], labels, strict=True)
    return [LabelledAudio(wave, torch.ones_like(wave, dtype=torch.bool), own) for wave, own in pairs]


@pytest.mark.grid
@pytest.mark.parametrize(("importance", "power"), [("l1", 1), ("l2", 2)])
def test_magnitude(importance, power, family, build_model):
    model = build_model(family)
    scores, state = compute_importance(model, importance), plain_state(model)
    for unit in range(40):
        values = [*state[f"{LAYER}feed_forward.intermediate_dense.weight"][unit]]
        values += [state[f"{LAYER}feed_forward.intermediate_dense.bias"][unit]]
        values += [*state[f"{LAYER}feed_forward.output_dense.weight"][:, unit]]
        expected = sum(abs(float(value)) ** power for value in values) ** (1 / power)
        assert float(scores[Place("feed_forward", 1)][unit]) == pytest.approx(expected, rel=1e-4)
    for head in range(3):
        own = slice(head * 8, head * 8 + 8)
        kinds = [f"{letter}_proj.{kind}" for letter in "qkv" for kind in ("weight", "bias")]
        values = [state[f"{LAYER}attention.{kind}"][own] for kind in kinds]
        values += [state[f"{LAYER}attention.out_proj.weight"][:, own]]
        if model.config.has_position_bias:
            values += [state[f"{LAYER}attention.gru_rel_pos_const"][:, head]]
        if model.config.position_embeddings_type == "relative":
            values += [state[f"{LAYER}attention.pos_bias_{letter}"][head] for letter in "uv"]
            values += [state[f"{LAYER}attention.linear_pos.weight"][own]]
        expected = sum(float((value.abs() ** power).sum()) for value in values) ** (1 / power)
        assert float(scores[Place("heads", 1)][head]) == pytest.approx(expected, rel=1e-4)


def test_inputs_of_grouped_kernels_belong_to_their_group():
    values = torch.rand(6, 2, 3)  # 6 outputs, 4 inputs in 2 groups
    expected = [float(values[group * 3 : group * 3 + 3, column].sum()) for group in range(2) for column in range(2)]
    assert Piece("x", 1, groups=2).sum(values, 4).tolist() == pytest.approx(expected)


def test_taylor_is_weight_times_gradient_of_the_mean_loss(build_model, batches):
    model = build_model("base")
    scores = compute_importance(model, "taylor", batches)
    assert all(parameter.grad is None for parameter in model.parameters())
    twin = copy.deepcopy(model)
    for batch in batches:
        # The model's own loss: the mean over labels of a batch; then the mean over batches.
        (twin(batch.input_values, batch.attention_mask, batch.labels).loss / len(batches)).backward()
    cost = {name: (parameter * parameter.grad).detach().abs() for name, parameter in twin.named_parameters()
            if parameter.grad is not None}  # fmt: skip
    for unit in (0, 17, 39):
        expected = 0.0
        for name, own in (("intermediate_dense.weight", unit), ("intermediate_dense.bias", unit),
                          ("output_dense.weight", (slice(None), unit))):  # fmt: skip
            expected += float(cost[f"wav2vec2.encoder.layers.1.feed_forward.{name}"][own].sum())
        assert float(scores[Place("feed_forward", 1)][unit]) == pytest.approx(expected, rel=1e-3)
    assert all(float(score.min()) >= 0 and float(score.max()) > 0 for score in scores.values())


def test_a_loss_of_ones_own(build_model, batches):
    headless = build_model("wavlm", ctc_head=False)
    with refusing(("importance", "no_labels")):
        compute_importance(headless, "taylor", batches)

    def loud(model, batch):
        return model(batch.input_values, batch.attention_mask).last_hidden_state[..., :5].square().mean()

    scores = compute_importance(headless, "taylor", batches, loud)
    assert scores.keys() == find_units(headless.config).keys()
    assert all(float(score.max()) > 0 for score in scores.values())


@pytest.mark.grid
def test_activation_is_what_a_layer_says_in_real_frames(family, build_model, batches):
    model = build_model(family)
    inputs = {}
    layer = model.speech_encoder.encoder.layers[1]
    hooks = [
        layer.feed_forward.output_dense.register_forward_pre_hook(lambda _, x: inputs.update(feed_forward=x[0])),
        layer.attention.out_proj.register_forward_pre_hook(lambda _, x: inputs.update(heads=x[0])),
    ]
    totals, frames = {"feed_forward": torch.zeros(40), "heads": torch.zeros(3), "conv": torch.zeros(12)}, 0
    inner = 0
    if not model.config.has_convolutions:
        del totals["conv"]
    for batch in batches:
        with torch.no_grad():
            model(batch.input_values)
            inputs["conv"] = model.speech_encoder.feature_encoder(batch.input_values)
        frames, inner = frames + inputs["conv"].shape[1], inner + inputs["heads"].shape[1]
        for kind, total in totals.items():
            squares = inputs[kind][0].square().sum(0)
            total += squares.view(3, 8).mean(1) if kind == "heads" else squares
    for hook in hooks:
        hook.remove()
    # All in one padded batch, whose padding must not count.
    waves = [batch.input_values[0] for batch in batches]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    mask = torch.arange(padded.shape[1]) < torch.tensor([[len(wave)] for wave in waves])
    for given in (batches, [LabelledAudio(padded, mask)]):
        scores = compute_importance(model, "activation", given)
        for kind, total in totals.items():
            found = scores[Place(kind, 6 if kind == "conv" else 1)]
            counted = frames if kind == "conv" else inner
            torch.testing.assert_close(found, total / counted, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("importance", ["l1", "l2", "taylor", "activation"])
def test_a_dead_unit_is_worth_nothing(importance, build_model, batches):
    model = build_model("base")
    state = plain_state(model)
    with torch.no_grad():
        state[f"{LAYER}feed_forward.intermediate_dense.weight"][7] = 0
        state[f"{LAYER}feed_forward.intermediate_dense.bias"][7] = 0
        state[f"{LAYER}feed_forward.output_dense.weight"][:, 7] = 0
    scores = compute_importance(model, importance, batches)[Place("feed_forward", 1)]
    assert float(scores[7]) == 0 and int((scores == 0).sum()) == 1


def test_what_is_missing_is_refused(build_model):
    with refusing(("importance", "unknown_word")):
        compute_importance(build_model("base"), "l3")
    with refusing(("importance", "no_audio")):
        compute_importance(build_model("base"), "activation")
