"""Weights of four and two bits: packed to the byte, read back to the bit, and refused where damaged."""

import json

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import load_file, save_file

from bigfoot.compress.packed_size import count_small_bytes
from bigfoot.compress.quantize import Quantize, apply
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.measure.size import measure_size_bytes
from bigfoot.models import BigfootForCTC
from bigfoot.models.fake_int8 import int8_layers
from bigfoot.models.packed import STEPS, as_matrix, code_range, pack_codes, packable_layers, unpack_codes
from bigfoot.models.reshape import with_new_head, with_small_weights
from bigfoot.models.small_weights import SmallWeights
from tests.refusals import refused

WIDE = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "conv_dim": [16] * 7,
        "num_hidden_layers": 2}  # fmt: skip
LAYER = "encoder.layers.0.attention.q_proj"
WEIGHT = f"bigfoot.{LAYER}.weight"


def pack(model, bits=(4, 2), group_size=16):
    """Pack every other layer by steps of its largest numbers."""
    layers = packable_layers(int8_layers(model.speech_encoder))
    chosen = {name: bits[place % len(bits)] for place, name in enumerate(layers)}
    matrices = {name: as_matrix(layer.weight.detach()) for name, layer in layers.items()}
    steps = {
        name: matrix.view(len(matrix), -1, group_size).abs().amax(-1) / -code_range(chosen[name])[0]
        for name, matrix in matrices.items()
    }
    return with_small_weights(model, SmallWeights("packed", bits=chosen, group_size=group_size), steps)


@pytest.fixture(scope="module")
def packed(build_model):
    return pack(build_model("base", **WIDE))


@pytest.fixture(scope="module")
def folder(packed, processor, tmp_path_factory):
    place = tmp_path_factory.mktemp("packed") / "model"
    save_model(packed, processor, place)
    return place


@settings(max_examples=30)
@given(data=st.data(), bits=st.sampled_from([2, 4]))
def test_integers_are_packed_lowest_bits_first(data, bits):
    low, high = code_range(bits)
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5)) * (8 // bits)
    count = rows * columns
    given_codes = data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))
    codes = torch.tensor(given_codes, dtype=torch.int8).view(rows, columns)
    packed = pack_codes(codes, bits)
    assert packed.dtype == torch.uint8 and packed.shape == (rows, columns * bits // 8)
    assert torch.equal(unpack_codes(packed, bits), codes)
    first = sum((code - low) << (bits * place) for place, code in enumerate(codes[0, : 8 // bits].tolist()))
    assert int(packed[0, 0]) == first


def test_a_folder_comes_back_to_the_bit(packed, folder, processor, tmp_path):
    again = load_model(folder).model
    state = packed.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    assert again.config.precision == "packed" and set(again.config.small.bits.values()) == {2, 4}
    save_model(again, processor, tmp_path / "again")
    files = [place / "model.safetensors" for place in (folder, tmp_path / "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    tensors = load_file(files[0])
    assert tensors[WEIGHT].dtype == torch.uint8 and tensors[f"{WEIGHT}_scale"].dtype == torch.float16
    bits = packed.config.small.bits[LAYER]
    assert tensors[WEIGHT].shape == (32, 32 * bits // 8) and tensors[f"{WEIGHT}_scale"].shape == (32, 2)
    wave = torch.randn(1, 4000)
    plain = BigfootForCTC.from_pretrained(folder).eval()
    assert torch.equal(plain(wave).logits, packed(wave).logits)


@pytest.mark.parametrize("precision", ["packed", "int8", "float16"])
def test_bytes_are_counted_before_a_file_is_written(precision, packed, folder, processor, build_model, tmp_path):
    model = packed if precision == "packed" else apply(build_model("base", **WIDE), Quantize(precision))[0]
    save_model(model, processor, tmp_path / "model")
    shape = build_model("base", **WIDE).config
    assert count_small_bytes(shape, model.config.small) == measure_size_bytes(tmp_path / "model")


def test_it_can_be_taken_back(packed):
    wave = torch.randn(1, 4000)
    full = with_small_weights(packed, None)
    assert full.config.small_weights is None and not any(STEPS in name for name in full.state_dict())
    assert (full(wave).logits - packed(wave).logits).abs().max() < 1e-4
    assert apply(packed, Quantize("float32"))[0].config.precision == "float32"
    assert apply(packed, Quantize("int8"))[0].config.precision == "int8"


def test_what_would_be_lost_is_refused(packed, processor, tmp_path, build_model):
    with refused(ModelError, "packed"):
        with_new_head(packed, 9, 0, seed=1)
    changed = pack(build_model("base", **WIDE))
    with torch.no_grad():
        changed.get_submodule(WEIGHT.removesuffix(".weight")).weight.mul_(1.01)
    with refused(ModelError, WEIGHT, "packed"):
        save_model(changed, processor, tmp_path / "changed")


SCALE = f"{WEIGHT}_scale"
TENSORS = {
    "no steps": (lambda t: t.pop(SCALE), (WEIGHT, SCALE)),
    "steps of another type": (lambda t: t.update({SCALE: t[SCALE].float()}), ("float32", "float16")),
    "steps below zero": (lambda t: t[SCALE].neg_(), (WEIGHT,)),
    "steps that cut no row": (lambda t: t.update({SCALE: t[SCALE].repeat(1, 3)[:, :5].contiguous()}), (WEIGHT, 5, 32)),
    "a byte too few": (lambda t: t.update({WEIGHT: t[WEIGHT][:, 1:].contiguous()}), (WEIGHT, 32)),
    "integers with a sign": (lambda t: t.update({WEIGHT: t[WEIGHT].to(torch.int8)}), (WEIGHT, "int8", "uint8")),
}
CONFIGS = {
    "three bits": (lambda small: small["bits"].update({LAYER: 3}), ("small_weights.bits",)),
    "bits in words": (lambda small: small.update(bits="four"), ("small_weights.bits", "four")),
    "no bits": (lambda small: small.pop("bits"), ("small_weights.bits",)),
    "a layer that is not there": (lambda small: small["bits"].update(x=4), ("small_weights.bits", "x")),
    "an odd group": (lambda small: small.update(group_size=17), ("small_weights.group_size", 17)),
    "a wide group": (lambda small: small.update(group_size=256), ("small_weights.bits",)),
    "other bits than the bytes": (lambda small: small["bits"].update({LAYER: 6 - small["bits"][LAYER]}), (WEIGHT,)),
}


@pytest.mark.parametrize("fault", [*TENSORS, *CONFIGS])
def test_damaged_folders_are_refused(folder, tmp_path, fault):
    damage, named = (TENSORS | CONFIGS)[fault]
    tensors, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    damage(tensors if fault in TENSORS else config["small_weights"])
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    with refused(ModelError, *named):
        load_model(tmp_path)
