"""Which units stay: ratios, who competes, rounding, and targets that are counted."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.compress.prune import apply, choose_units, prunable_units
from bigfoot.compress.settings import Prune
from bigfoot.compress.units import Place, Units, find_units
from bigfoot.errors import ModelError
from bigfoot.measure.size import count_macs, count_params, measure_size
from tests.codes import refusing
from tests.refusals import names


def all_macs(model):
    return count_macs(model)[model]


@given(
    count=st.integers(1, 6), blocks=st.sampled_from([1, 2, 4]), kind=st.sampled_from(["conv", "heads", "width"]),
    ratio=st.floats(0, 1), multiple=st.sampled_from([1, 3, 8]), least=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_what_stays_is_best_and_as_many_as_may_stay(count, blocks, kind, ratio, multiple, least, seed):
    place, units = Place(kind), Units(count * blocks, (), (blocks,))
    scores = torch.rand(units.count, generator=torch.Generator().manual_seed(seed))
    config = Prune(ratio=ratio, multiple_of=multiple, min_left=least, importance="l1")
    keep = choose_units({place: scores}, {place: units}, config)[place]
    assert keep == sorted(set(keep)) and max(1, least * units.count - 1e-6) <= len(keep) <= units.count
    if len(keep) < units.count:
        assert len(keep) % (1 if kind == "heads" else multiple) == 0
    for block in range(blocks):
        run = range(block * count, block * count + count)
        inside = [index for index in keep if index in run]
        assert len(inside) == len(keep) // blocks
        worst = min((float(scores[index]) for index in inside), default=1.0)
        assert all(float(scores[index]) <= worst for index in run if index not in inside)


def test_who_competes():
    """Two layers: in one every unit matters more than in the other; heads matter more than either."""
    places = [Place("feed_forward", 0), Place("feed_forward", 1), Place("heads", 0)]
    units = {place: Units(4, ()) for place in places}
    scores = dict(zip(places, torch.arange(12.0).view(3, 4) + 1, strict=True))

    def kept(**settings):
        config = Prune(ratio=0.5, multiple_of=1, importance="taylor", min_left=0.0, **settings)
        return [len(keep) for keep in choose_units(scores, units, config).values()]

    assert kept(scope="layer") == [2, 2, 2]
    assert kept(scope="part") == [1, 4, 2]  # one unit stays whatever it is worth
    assert kept(scope="global") == [1, 2, 4]
    assert kept(scope="part", part_ratios={"heads": 0.25}) == [1, 4, 3]


def test_layers_of_large_weights_do_not_win_by_them():
    places = [Place("feed_forward", layer) for layer in range(2)]
    scores = {place: torch.tensor([1.0, 2.0, 3.0, 4.0]) * scale for place, scale in zip(places, (1, 100), strict=True)}
    config = Prune(ratio=0.5, multiple_of=1, importance="l2")
    keep = choose_units(scores, {place: Units(4, ()) for place in places}, config)
    assert list(keep.values()) == [[2, 3], [2, 3]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "parts", "keep"),
    [
        ("macs", ["heads", "feed_forward"], 0.75),
        ("macs", ["conv"], 0.85),
        ("params", ["conv"], 0.98),
        ("params", ["heads", "feed_forward", "conv", "width"], 0.5),
    ],
)
def test_a_target_is_met_and_not_overdone(target, parts, keep, build_model):
    # No multiples larger than one unit, so that one step of the bisection is small.
    shape = {"hidden_size": 32, "num_attention_heads": 8, "intermediate_size": 400, "conv_dim": [16] * 7}
    model = build_model("large-lv60", **shape)
    config = Prune(parts=parts, importance="l2", target=target, keep=keep, multiple_of=1, scope="global")
    pruned, change = apply(model, config, count_macs=all_macs)
    count = all_macs if target == "macs" else count_params
    left = count(pruned) / count(model)
    assert 0.9 * keep < left <= keep
    assert f"{left:.1%} of its {target} ({keep:.1%} asked for)" in change.describe()
    macs = measure_size(pruned).macs_by_part
    assert (macs["conv"] < measure_size(model).macs_by_part["conv"]) == bool({"conv", "width"} & set(parts))


@pytest.mark.grid
def test_ratios_by_layer_on_every_family(family, build_model, speech, batch_of):
    model = build_model(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = ["heads", "feed_forward"] + ["conv"] * model.config.has_convolutions
    parts += ["width"] * (Place("width") in find_units(model.config) and not model.config.has_position_bias)
    parts += ["conv_module"] * model.config.is_conformer
    config = Prune(parts=parts, ratio=0.5, scope="layer", multiple_of=4, part_ratios={"heads": 0.4, "width": 0.3})
    pruned, change = apply(model, config, [batch_of(speech[0])])
    shape = pruned.config
    assert shape.heads_of_layers == [2, 2, 2] and shape.widths_of_layers == [20, 20, 20]
    assert shape.conv_dim == ([4, 4, 4, 8, 8, 8, 8] if "conv" in parts else [])
    assert shape.hidden_size == (16 if "width" in parts else 24)
    if model.config.is_conformer:
        assert shape.first_widths_of_layers == [20] * 3 and shape.conv_channels_of_layers == [12] * 3
    assert names(change.describe(), "6 of 9 heads", "2, 2, 2")
    with torch.no_grad():
        assert torch.isfinite(pruned(speech[0]).logits).all()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def batch_of():
    from bigfoot.compress.importance import LabelledAudio

    return lambda wave: LabelledAudio(wave, torch.ones_like(wave, dtype=torch.bool), torch.tensor([[5, 6]]))


def test_around_shared_kernels_nothing_is_cut(build_model):
    model = build_model("base", conv_sharing=[[1, 2]])
    places = prunable_units(model.config, ["conv"])
    assert [place.layer for place in places] == [3, 4, 5, 6]
    pruned, change = apply(model, Prune(parts=["conv"], importance="l1", ratio=0.5, scope="layer", multiple_of=4))
    assert pruned.config.conv_dim == [8, 8, 8, 8, 8, 8, 8] and pruned.config.conv_sharing == [[1, 2]]
    assert names(change.describe(), [[1, 2]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target": "params", "keep": 0.05}, ("keep", "out_of_reach")),
        ({"target": "macs", "keep": 0.05}, ("keep", "out_of_reach")),
        ({"target": "params", "ratio": 0.0}, ("ratio", "nothing_to_cut")),
        ({"importance": "taylor"}, ("importance", "no_audio")),
        ({"parts": ["width"]}, ("parts", "not_prunable")),
    ],
)
def test_what_cannot_be_done_is_refused(settings, expected, build_model):
    with refusing(expected, kind=ModelError):
        apply(build_model("wavlm"), Prune(**({"importance": "l1"} | settings)))
