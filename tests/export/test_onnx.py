"""The exported graph answers what PyTorch answers, in any family, length and batch, and says what it is."""

import json

import numpy as np
import onnx
import pytest
import torch

from bigfoot.audio.files import normalize_waveform
from bigfoot.errors import ModelError
from bigfoot.export.facts import describe
from bigfoot.export.onnx import build_onnx, save_onnx
from bigfoot.formats.folder import LoadedModel
from bigfoot.models import BigfootConfig
from bigfoot.runtime.metadata import read_facts
from bigfoot.text.sentencepieces import SentencePieceTokenizer
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.refusals import refused

SHAPES = {
    "grouped": ("base", {"conv_groups": [1, 2, 2, 2, 4, 2, 1]}),
    "grouped-layer-norm": ("large-lv60", {"conv_groups": [1, 2, 2, 2, 4, 2, 1]}),
    "pruned": ("wavlm-large", {"layer_num_attention_heads": [1, 0, 2], "layer_intermediate_sizes": [7, 5, 0]}),
    "one-head": ("wavlm", {"layer_num_attention_heads": [1, 2, 2], "layer_position_heads": [[2], [0, 2], [1, 0]]}),
    "shared": ("base", {"conv_dim": [8] * 7, "conv_sharing": [[1, 2], [3, 4]], "time_reduction": 2}),
    "reused": ("base", {"attention_reuse": [None, 0, None], "layer_ranks": [{"q_proj": 2, "output_dense": 3}, {}, {}]}),
    "unprojected": ("base", {"conv_dim": [8] * 6 + [24], "feature_projection": "none", "hidden_act": "relu"}),
}  # fmt: skip
SAMPLES = (1600, 16000, 56_000, 399, 7000, 23_456, 40_001, 3200)
LONG = (16000, 480_000, 399)


def make_waves(counts=SAMPLES):
    noise = np.random.default_rng(0)
    return [noise.standard_normal(count).astype(np.float32) for count in counts]


def answers_of(model, waves):
    with torch.no_grad():
        return [model(torch.from_numpy(wave)[None]).logits[0].numpy() for wave in waves]


def compare(model, processor, run_onnx, counts=SAMPLES):
    graph, waves = build_onnx(LoadedModel(model, processor)).graph, make_waves(counts)
    expected = answers_of(model, waves)
    batch, frames = run_onnx(graph, waves)
    assert frames.tolist() == model.speech_encoder.feature_encoder.frame_lengths(torch.tensor(counts)).tolist()
    for row, wave in enumerate(waves):
        answers = [batch[row], *([run_onnx(graph, [wave])[0][0]] if row in (0, 3, 4) else [])]
        for logits in answers:
            np.testing.assert_allclose(logits[: frames[row]], expected[row][: frames[row]], atol=1e-4)


@pytest.mark.slow
@pytest.mark.grid
def test_answers_as_pytorch_in_every_family(family, build_model, processor, run_onnx):
    compare(build_model(family), processor, run_onnx)


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", "group-stable", "layer-post"])
def test_answers_as_pytorch(structure, build_model, processor, run_onnx):
    compare(build_model(structure), processor, run_onnx)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["base", "wavlm"])
def test_half_a_minute_beside_a_moment(structure, build_model, processor, run_onnx):
    compare(build_model(structure), processor, run_onnx, LONG)


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_as_pytorch_in_every_shape(shape, build_model, processor, run_onnx):
    structure, changes = SHAPES[shape]
    compare(build_model(structure, **changes), processor, run_onnx)


def test_a_file_reads_as_its_own_tokenizer_does():
    tokenizer = SentencePieceTokenizer(("<pad>", "\u2581ON", "E", "\u2581T", "EN"), "bpe", b"")
    facts = read_facts(describe(BigfootConfig(vocab_size=5), Processor(tokenizer)), "student.onnx")
    for ids in ([0, 1, 1, 0, 2, 3, 4], [2, 2, 3], [0, 0], []):
        assert facts.tokenizer.decode_ctc(ids) == tokenizer.decode_ctc(ids)
        assert [word.text for word in facts.tokenizer.decode_words(ids)] == tokenizer.decode_ctc(ids).split()


def test_metadata_says_what_a_runtime_needs(build_model, tmp_path, run_onnx):
    tokenizer = CharTokenizer(("<s>", "Ä", "<pad>", "|"))
    model = build_model("base", num_hidden_layers=1, vocab_size=4, pad_token_id=2)
    graph = build_onnx(LoadedModel(model, Processor(tokenizer, do_normalize=True)), normalize=True).graph
    save_onnx(graph, tmp_path / "deep" / "model.onnx")
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "deep" / "model.onnx").metadata_props}
    assert json.loads(facts.pop("vocab")) == ["<s>", "Ä", "<pad>", "|"]
    assert facts.pop("bigfoot_version")
    assert BigfootConfig.from_dict(json.loads(facts.pop("config"))).to_dict() == model.config.to_dict()
    assert facts == {
        "bigfoot_format": "1", "blank_id": "2", "word_delimiter": "|", "sample_rate": "16000", "do_normalize": "inside",
        "stride": "320", "receptive_field": "400", "family": "wav2vec2", "model_type": "bigfoot",
        "batch_invariant": "true", "precision": "fp32", "unknown_token": "<unk>",
    }  # fmt: skip
    # Loud audio with an offset, which only what normalizes inside can take.
    waves = [3 + 7 * np.random.default_rng(1).standard_normal(count).astype(np.float32) for count in (9000, 4000)]
    logits, frames = run_onnx(graph, waves)
    for row, wave in enumerate(waves):
        with torch.no_grad():
            expected = model(torch.from_numpy(normalize_waveform(wave))[None]).logits[0].numpy()
        np.testing.assert_allclose(logits[row, : frames[row]], expected, atol=1e-4)


def test_without_a_head_there_is_nothing_to_export(build_model):
    with refused(ModelError, "CTC"):
        build_onnx(LoadedModel(build_model("base", ctc_head=False), Processor()))


def test_what_has_no_form_is_named(build_model, processor):
    with refused(ModelError, "mish", "ONNX"):
        build_onnx(LoadedModel(build_model("base", hidden_act="mish"), processor))
