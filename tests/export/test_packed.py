"""Packed weights of every family: training, folder and exported file give the same."""

import numpy as np
import pytest
import torch

from bigfoot.compress.packing import find_candidates
from bigfoot.compress.packing_settings import Packing
from bigfoot.compress.quantize import quantizable_layers
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.packed import count_columns
from bigfoot.training.qat import Rounding
from tests.conftest import EVERY_FAMILY

WAVE = make_speechlike_noise(0.3)[0][None]
WIDE = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 1}


@torch.no_grad()
@pytest.mark.grid
@pytest.mark.parametrize("structure", EVERY_FAMILY)
def test_a_packed_file_answers_as_the_folder_and_as_training(structure, build_model, processor):
    model = build_model(structure, **WIDE)
    before = model(WAVE).logits
    # What is no multiple of 16 wide stays at eight bits.
    layers = quantizable_layers(model)
    odd = [name for name, layer in layers.items() if count_columns(layer.weight) % 16]
    found = find_candidates(model.config, Packing([4], [4], 16, keep_int8=odd))
    rounding = Rounding(model, found.as_small(found.smallest()))
    small = rounding.deployed()
    expected = small(WAVE).logits
    assert torch.equal(model(WAVE).logits, expected) and 4 in small.config.small.bits.values()
    exported = build_onnx(LoadedModel(small, processor))
    answer = torch.from_numpy(exported.open()(WAVE.numpy(), np.array([WAVE.shape[1]]))[0])
    assert (answer - expected).abs().max() < 1e-3 * (expected - before).abs().max()
