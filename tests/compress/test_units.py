"""Units are found where a shape has them, and every tensor's place of that size is one of their pieces."""

import pytest

from bigfoot.compress.units import LINEARS, Place, find_units
from bigfoot.models import BigfootConfig
from bigfoot.models.reshape import plain_state
from tests.conftest import STRUCTURES

# The tests' models are 24 wide, and nothing else of them is 24, nor 6, what a positional kernel of 4 groups reads.
WIDTH, GROUPED = 24, 6
WHOLE = ("conformer-rotary", "w2v-bert-adapter", "adapter")
"""Whose width cannot be cut."""


@pytest.mark.parametrize("changes", [
    {"mask_time_prob": 0.5, "mask_feature_prob": 0.0, "num_prompts": 3},
    {"mask_time_prob": 0.0, "mask_feature_prob": 0.01},
    {"mask_time_prob": 0.0, "mask_feature_prob": 0.0},
], ids=["time", "features", "unmasked"])  # fmt: skip
@pytest.mark.parametrize("structure", [name for name in STRUCTURES if name not in WHOLE])
def test_the_width_is_every_place_of_its_size(structure, changes, build_model):
    inner = {"layer_conv_channels": [20] * 3, "relative_size": 26} if "block" in STRUCTURES[structure] else {}
    model = build_model(structure, layer_num_attention_heads=[2, 2, 2], **inner, **changes)
    places = {
        (name, dim)
        for name, tensor in plain_state(model).items()
        for dim, size in enumerate(tensor.shape)
        if size == WIDTH or (size == GROUPED and ".pos_conv_embed." in name)
    }
    pieces = find_units(model.config)[Place("width")].pieces
    if model.config.squeeze_factor > 1:
        # One frame behind the other, each of the width.
        places |= {(f"encoder.encoder.upsample.projection.{kind}", 0) for kind in ("weight", "bias")}
    assert {(piece.tensor, piece.dim) for piece in pieces} == places
    assert len(pieces) == len(places) and all(piece.size == 1 for piece in pieces)
    assert {piece.tensor for piece in pieces if piece.groups == 4} == {
        name for name, dim in places if ".pos_conv_embed." in name and dim == 1
    }


@pytest.mark.parametrize("linear", LINEARS)
def test_a_factor_of_low_rank_keeps_its_block_and_the_width_whole(linear):
    config = BigfootConfig(num_hidden_layers=2, layer_ranks=[{}, {linear: 4}])
    found = {place for place in find_units(config) if place.kind != "conv"}
    attention = linear in ("q_proj", "k_proj", "v_proj", "out_proj")
    other = Place("feed_forward", 1) if attention else Place("heads", 1)
    assert found == {Place("heads", 0), Place("feed_forward", 0), other}


@pytest.mark.parametrize("change", [
    {"time_reduction": 2}, {"layer_num_attention_heads": [12, 0]}, {"layer_intermediate_sizes": [0, 3072]},
    {"attention_reuse": [None, 0]},
], ids=str)  # fmt: skip
def test_the_width_stays_where_a_block_or_time_is_missing(change):
    assert Place("width") in find_units(BigfootConfig(num_hidden_layers=2))
    assert Place("width") not in find_units(BigfootConfig(num_hidden_layers=2, **change))
