import pytest
import torch

from bigfoot.compress.reshape_to import Reshape, apply, choose_shape
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models import BigfootConfig
from bigfoot.models.reshape import plain_state
from tests.codes import refusing
from tests.refusals import names

THIN = {"hidden_size": 12, "intermediate_size": 20}
CONVS = {"conv_dim": [4, 8, 8, 8, 8, 8, 12, 12, 12], "conv_kernel": [10, 1, 3, 3, 3, 3, 1, 2, 2],
         "conv_stride": [5, 1, 2, 2, 2, 2, 1, 2, 2]}  # fmt: skip
LAYER, POSITIONS = "encoder.encoder.layers.1.", "encoder.encoder.pos_conv_embed.conv"
# Of 24 channels in 4 groups of the positional convolution, 12 are the first 3 of every 6.
CHANNELS = torch.tensor([0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20])
# Of 3 heads of 8 dimensions, the first 4 of each.
HEADS = torch.tensor([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19])


def reshape(model, seed=0, **shape):
    student, change = apply(model, Reshape(shape, seed))
    return student, plain_state(student), plain_state(model), change


@pytest.mark.grid
def test_the_same_shape_is_the_same_model(family, build_model, speech):
    model = build_model(family)
    student, _, _, change = reshape(model, hidden_size=24)
    assert change.fresh == [] and change.dropped == []
    with torch.no_grad():
        assert torch.equal(student(speech[0]).logits, model(speech[0]).logits)


def test_a_narrow_student_holds_the_same_channels_everywhere(build_model):
    model = build_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _, here, there, change = reshape(model, **THIN)
    for linear in ("q_proj", "k_proj", "v_proj"):
        name = f"{LAYER}attention.{linear}."
        assert torch.equal(here[f"{name}weight"], there[f"{name}weight"][HEADS][:, CHANNELS])
        assert torch.equal(here[f"{name}bias"], there[f"{name}bias"][HEADS])
    name = f"{LAYER}attention.out_proj.weight"
    assert torch.equal(here[name], there[name][CHANNELS][:, HEADS])
    name = f"{LAYER}feed_forward.intermediate_dense.weight"
    assert torch.equal(here[name], there[name][:20][:, CHANNELS])
    name = f"{LAYER}feed_forward.output_dense.weight"
    assert torch.equal(here[name], there[name][CHANNELS][:, :20])
    for name in (f"{LAYER}layer_norm.bias", "encoder.masked_spec_embed", f"{POSITIONS}.bias"):
        assert torch.equal(here[name], there[name][CHANNELS])
    assert torch.equal(here["head.weight"], there["head.weight"][:, CHANNELS])
    name = "encoder.feature_projection.projection.weight"
    assert torch.equal(here[name], there[name][CHANNELS])
    assert all(torch.equal(here[name], there[name]) for name in here if "conv_layers" in name)
    assert change.fresh == [] and change.dropped == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_positional_kernel_is_cut_group_by_group(build_model):
    model = build_model()
    student, *_ = reshape(model, **THIN)
    here, there = (each.speech_encoder.encoder.pos_conv_embed.conv.weight for each in (student, model))
    torch.testing.assert_close(here, there[CHANNELS][:, :3], rtol=0, atol=1e-6)


def test_convolutions_that_are_as_wide_are_matched_in_order(build_model):
    _, here, there, change = reshape(build_model(), **CONVS)
    part = "encoder.feature_extractor.conv_layers.{}.conv.weight".format
    for new, old in {0: 0, 2: 1, 3: 2, 4: 3, 5: 4, 7: 5, 8: 6}.items():
        out, inputs, _ = (min(a, b) for a, b in zip(here[part(new)].shape, there[part(old)].shape, strict=True))
        assert torch.equal(here[part(new)][:out, :inputs], there[part(old)][:out, :inputs])
    convs = ", ".join(f"feature_extractor.conv_layers.{layer}.conv" for layer in (1, 6))
    assert any(names(each, convs) for each in change.fresh)


def test_what_begins_at_random_is_the_seeds(build_model):
    model, shape = build_model(), {"intermediate_size": 60, "time_reduction": 2}
    (_, one, there, change), (_, again, *_), (_, other, *_) = (reshape(model, seed, **shape) for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    name = f"{LAYER}feed_forward.intermediate_dense.weight"
    assert torch.equal(one[name][:40], there[name]) and torch.equal(other[name][:40], there[name])
    assert not torch.equal(one[name][40:], other[name][40:])
    new = "encoder.time_reduction.conv, encoder.time_reduction.upsampler"
    assert any(names(each, new) for each in change.fresh) and names(change.describe(), new)
    copied = sum(tensor.numel() for tensor in there.values())
    total = sum(tensor.numel() for tensor in one.values())
    assert f"{copied:,} of {total:,} weights" in change.kept[0] and f"{total - copied:,} weights" in change.fresh


def test_what_a_shape_has_no_place_for_is_dropped(build_model):
    shape = {"attention_reuse": [None, 0, None], "feature_projection": "none", "conv_dim": [8, 8, 8, 16, 16, 16, 24]}
    student, _, _, change = reshape(build_model(), **shape)
    queries_and_keys = {f"encoder.layers.*.attention.{name}_proj" for name in "qk"}
    assert set(change.dropped) == {"feature_projection.projection"} | queries_and_keys
    assert student.config.reused_maps == [None, 0, None]


@pytest.mark.grid
def test_every_family_takes_a_thin_shape_and_reloads(family, build_model, processor, speech, tmp_path):
    model, shape = build_model(family), THIN | {"num_attention_heads": 2}
    if model.config.is_conformer:
        shape |= {"layer_first_intermediate_sizes": [12, 8, 10], "layer_conv_channels": [12, 10, 16]}
    else:
        shape |= {"attention_reuse": [None, 0, None]}
    if model.config.has_convolutions:
        shape |= CONVS | {"feature_projection": "none"}
    student, _ = apply(model, Reshape(shape))
    save_model(student, processor, tmp_path / "thin")
    with torch.no_grad():
        expected = student(speech[0]).logits
        assert torch.isfinite(expected).all()
        assert torch.equal(load_model(tmp_path / "thin").model(speech[0]).logits, expected)


def test_one_number_for_all_layers_takes_the_place_of_a_list():
    config = BigfootConfig(num_hidden_layers=2, layer_num_attention_heads=[3, 4], layer_intermediate_sizes=[8, 9])
    assert choose_shape(config, {"intermediate_size": 5}).widths_of_layers == [5, 5]
    assert choose_shape(config, {"num_attention_heads": 6}).heads_of_layers == [6, 6]
    assert choose_shape(config, {"hidden_size": 96}).heads_of_layers == [3, 4]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"hiden_size": 5}, ["unknown_field"]), ({"zzz": 5, "hiden_size": 5}, ["unknown_field"] * 2),
        ({"conv_groups": 2}, ["unknown_field"]), ({"num_hidden_layers": 2}, ["unknown_field"]),
        ({"hidden_size": 25}, ["bad_shape"]), ({"conv_dim": [8]}, ["bad_shape"]),
    ],
)  # fmt: skip
def test_refused(shape, expected):
    with refusing(*(("shape", code) for code in expected), kind=ModelError):
        choose_shape(BigfootConfig(), shape)
