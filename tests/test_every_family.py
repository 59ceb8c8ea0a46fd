"""Every family in one shape: int8 in a file as in a folder, and task heads and decoders whatever the padding."""

import numpy as np
import pytest
import torch

from bigfoot.compress.quantize import Quantize, apply, folder_plan
from bigfoot.errors import ModelError
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.formats.folder import LoadedModel
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import with_decoder, with_task_head
from tests.conftest import EVERY_FAMILY
from tests.refusals import refused

DECODER = {"hidden_size": 16, "num_layers": 1, "num_heads": 2}
HEAD = {"labels": ["a", "b", "c"], "pooling": "statistics", "layers": "weighted"}
INT8 = [(structure, "int8_static") for structure in EVERY_FAMILY]
INT8 += [(structure, "int8_dynamic") for structure in ("base", "wavlm", "conformer", "w2v-bert", "sew-d")]
BEYOND_DECODERS = ("adapter", "w2v-bert-adapter")


@pytest.fixture(scope="module")
def waves():
    noise = make_speechlike_noise(0.5)[0]
    return [noise[:4_001], noise, noise[500:3_400], noise[:5_333], noise[2_000:7_222], noise[:700], noise[77:2_123],
            noise[:6_345]]  # fmt: skip


def collate(waves, fill=9.0):
    size = max(len(wave) for wave in waves) + 300
    mask = torch.stack([torch.arange(size) < len(wave) for wave in waves])
    values = torch.full(mask.shape, fill)
    for row, wave in enumerate(waves):
        values[row, : len(wave)] = wave
    return values, mask


def rms(x):
    return float(x.square().mean().sqrt())


@torch.no_grad()
@pytest.mark.grid
@pytest.mark.parametrize(("structure", "precision"), INT8)
def test_an_int8_file_answers_as_the_folder(structure, precision, build_model, processor, waves):
    """What sums in another order tip to the next integer is less than what rounding does."""
    model, wave = build_model(structure, num_hidden_layers=1), waves[3][None]
    small, _ = apply(model, Quantize(precision), [PaddedAudio(wave, torch.ones_like(wave, dtype=torch.bool))])
    run = build_onnx(LoadedModel(small, processor), folder_plan(small)).open()
    found, expected = torch.from_numpy(run(wave.numpy(), np.array([wave.shape[1]]))[0]), small(wave).logits
    assert rms(found - expected) < 0.6 * rms(expected - model(wave).logits)


@torch.no_grad()
@pytest.mark.grid
@pytest.mark.parametrize("structure", EVERY_FAMILY)
def test_a_task_head_answers_alone_as_in_batches(structure, build_model, waves):
    model = with_task_head(build_model(structure, num_hidden_layers=2), HEAD, seed=3)

    def answer(*batch):
        found = model(*batch)
        return torch.cat([found.task_logits, found.pooled], -1)

    alone = torch.cat([answer(wave[None]) for wave in waves])
    for size in (2, 4, 8):
        order = torch.randperm(len(waves), generator=torch.Generator().manual_seed(size))
        found = torch.cat([answer(*collate([waves[i] for i in rows])) for rows in order.split(size)])
        assert (found[order.argsort()] - alone).abs().max() < 1e-5
    assert len(set(map(tuple, alone.tolist()))) == len(waves)


@torch.no_grad()
@pytest.mark.grid
@pytest.mark.parametrize("structure", EVERY_FAMILY)
def test_a_decoder_answers_alone_as_in_a_batch(structure, build_model, waves):
    if structure in BEYOND_DECODERS:
        with refused(ModelError, "add_adapter", "decoder"):
            with_decoder(build_model(structure), DECODER, seed=5)
        return
    model = with_decoder(build_model(structure, num_hidden_layers=1), DECODER, seed=5)
    two, labels = waves[2:4], torch.tensor([[7, 8, -100, -100], [4, 9, 9, 5]])
    together = model(*collate(two), decoder_labels=labels).decoder_logits
    for row, wave in enumerate(two):
        tokens = int((labels[row] >= 0).sum()) + 1
        alone = model(wave[None], decoder_labels=labels[row : row + 1]).decoder_logits
        assert (together[row, :tokens] - alone[0, :tokens]).abs().max() < 1e-4
