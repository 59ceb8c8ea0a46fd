import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.compress.depth import LAYER_INITS, Depth, apply, choose_layers
from bigfoot.errors import ModelError
from bigfoot.models.reshape import plain_state
from tests.codes import refusing


@pytest.mark.parametrize(
    ("total", "keep", "rule", "layers"),
    [
        (12, 4, "first_k", [0, 1, 2, 3]),
        (12, 4, "last_k", [8, 9, 10, 11]),
        (12, 4, "every_k", [0, 3, 6, 9]),
        (12, 4, "spread", [0, 4, 7, 11]),
        (12, 5, "every_k", [0, 2, 4, 6, 8]),
        (12, 7, "every_k", [0, 1, 2, 3, 4, 5, 6]),
        (12, 5, "spread", [0, 3, 6, 8, 11]),
        (12, 2, "spread", [0, 11]),
        (12, 2, "every_k", [0, 6]),
        (12, 1, "first_k", [0]),
        (12, 1, "last_k", [11]),
        (12, 1, "every_k", [0]),
        (12, 1, "spread", [11]),
        (24, 6, "spread", [0, 5, 9, 14, 18, 23]),
        (12, 3, [11, 0, 5], [11, 0, 5]),
        (12, 4, [2, 2, 3, 3], [2, 2, 3, 3]),
        (12, 2, (0, 11), [0, 11]),
        (1, 1, "spread", [0]),
    ],
)
def test_rules_worked_out_by_hand(total, keep, rule, layers):
    assert choose_layers(total, keep, rule) == layers


@given(st.data(), st.integers(1, 30))
def test_rules_give_as_many_layers_in_order_and_in_range(data, total):
    keep = data.draw(st.integers(1, total))
    for rule in LAYER_INITS:
        layers = choose_layers(total, keep, rule)
        assert len(layers) == keep
        assert layers == sorted(set(layers))
        assert layers[0] >= 0
        assert layers[-1] < total
    if keep > 1:
        assert (layers[0], layers[-1]) == (0, total - 1), "spread keeps both ends"
    assert choose_layers(total, total, rule) == list(range(total))


@pytest.mark.parametrize(
    ("keep", "rule", "field"),
    [
        *((keep, "spread", "num_hidden_layers") for keep in (13, 0, -1)),
        *((2, rule, "layer_init") for rule in ([0, -1], [-1, 12], [0, 1.0], ["0", "1"], [False, True], [], 3, None)),
        (3, [0, 1], "layer_init"), (2, "evry_k", "layer_init"),
    ],
)  # fmt: skip
def test_refused(keep, rule, field):
    with refusing((field, "bad_layers"), kind=ModelError):
        choose_layers(12, keep, rule)


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", "group-stable"])
@pytest.mark.parametrize("rule", [*LAYER_INITS, [4, 0, 4]])
def test_every_tensor_is_the_teachers(build_model, structure, rule):
    teacher = build_model(structure, num_hidden_layers=5)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student, change = apply(teacher, Depth(3, rule))
    layers = choose_layers(5, 3, rule)
    here, there = plain_state(student), plain_state(teacher)

    part = "encoder.encoder.layers."
    for new, old in enumerate(layers):
        names = [name.removeprefix(f"{part}{old}.") for name in there if name.startswith(f"{part}{old}.")]
        assert len(names) == 16
        assert all(torch.equal(here[f"{part}{new}.{name}"], there[f"{part}{old}.{name}"]) for name in names)
    rest = [name for name in there if not name.startswith(part)]
    assert all(torch.equal(here[name], there[name]) for name in rest)
    for needed in ("pos_conv_embed.conv.bias", "encoder.layer_norm.weight", "feature_projection.projection.weight",
                   "feature_projection.layer_norm.bias", "masked_spec_embed", "conv_layers.6.conv.weight",
                   "head.weight", "head.bias"):  # fmt: skip
        assert any(name.endswith(needed) for name in rest), needed
    assert len(here) == len(rest) + 16 * 3

    assert student.config.num_hidden_layers == 3
    assert not student.training
    assert teacher.config.num_hidden_layers == 5
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    addresses = {parameter.data_ptr() for parameter in teacher.parameters()}
    assert not addresses & {parameter.data_ptr() for parameter in student.parameters()}
    assert change.kept[0] == f"layers {layers} of 5"
    assert change.dropped == [f"layers {[layer for layer in range(5) if layer not in layers]}"]


def test_a_doubled_layer_is_two_layers(build_model):
    student, _ = apply(build_model(num_hidden_layers=2), Depth(2, [1, 1]))
    first, second = student.speech_encoder.encoder.layers
    assert first.layer_norm.weight.data_ptr() != second.layer_norm.weight.data_ptr()


def test_all_layers_are_the_same_model(build_model, speech):
    teacher = build_model()
    student, change = apply(teacher, Depth(3, "spread"))
    with torch.no_grad():
        assert torch.equal(student(speech[0]).logits, teacher(speech[0]).logits)
    assert change.dropped == []
    assert "Dropped nothing" in change.describe()


def test_first_layers_give_the_teachers_hidden_states(build_model, speech):
    teacher = build_model("large-lv60")
    student, _ = apply(teacher, Depth(2, "first_k"))
    with torch.no_grad():
        here, there = (model(speech[0], output_hidden_states=True).hidden_states for model in (student, teacher))
    assert all(torch.equal(a, b) for a, b in zip(here, there[:3], strict=True))


def test_shapes_of_layers_move_along_and_other_shapes_stay(build_model):
    teacher = build_model(
        layer_num_attention_heads=[1, 2, 3], layer_intermediate_sizes=[8, 16, 40], conv_groups=[1, 2, 2, 2, 2, 2, 2]
    )
    student, _ = apply(teacher, Depth(2, [2, 0]))
    assert student.config.layer_num_attention_heads == [3, 1]
    assert student.config.layer_intermediate_sizes == [40, 8]
    assert student.config.conv_groups == [1, 2, 2, 2, 2, 2, 2]
    layer = student.speech_encoder.encoder.layers[0]
    assert layer.feed_forward.intermediate_dense.out_features == 40
    assert layer.attention.q_proj.out_features == 24


def test_a_model_whose_odd_layers_go_opens_in_transformers_again(build_model):
    teacher = build_model(layer_num_attention_heads=[3, 1, 3])
    assert teacher.config.weight_prefix == "bigfoot"
    student, _ = apply(teacher, Depth(2, [0, 2]))
    assert student.config.weight_prefix == "wav2vec2"


def test_a_model_without_a_head(build_model):
    student, _ = apply(build_model(ctc_head=False), Depth(1))
    assert student.head is None
