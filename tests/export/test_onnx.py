"""The exported graph answers what PyTorch answers, in any family, length and batch, and says what it is."""

import json

import numpy as np
import onnx
import pytest
import torch

from bigfoot.data.batches import normalize_waveform
from bigfoot.errors import ModelError
from bigfoot.export.answering import normalize_by_lengths
from bigfoot.export.onnx import build_onnx, save_onnx
from bigfoot.models.folder import LoadedModel
from bigfoot.text.tokenizers import CharTokenizer, Processor

SHAPES = {
    "base": ("base", {"conv_groups": [1, 2, 2, 2, 2, 2, 2]}),
    "wavlm": ("wavlm", {}),
    "data2vec": ("data2vec", {}),
    "large-lv60": ("large-lv60", {}),
    "hubert-batch-norm": ("hubert-batch-norm", {}),
    "wavlm-large": ("wavlm-large", {"layer_num_attention_heads": [1, 0, 2], "layer_intermediate_sizes": [7, 5, 0]}),
    "shared": ("base", {"conv_dim": [8] * 7, "conv_sharing": [[1, 2], [3, 4]], "time_reduction": 2}),
    "reused": ("base", {"attention_reuse": [None, 0, None], "layer_ranks": [{"q_proj": 2, "output_dense": 3}, {}, {}]}),
}
QUICK = ("base", "wavlm")
SAMPLES = (1600, 16000, 480_000, 399, 7000, 23_456, 40_001, 3200)


@pytest.mark.parametrize(
    "shape", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SHAPES]
)
def test_answers_as_pytorch(shape, build_model, processor, run_onnx):
    structure, changes = SHAPES[shape]
    model = build_model(structure, num_hidden_layers=3, **changes)
    graph = build_onnx(LoadedModel(model, processor))
    noise = np.random.default_rng(0)
    waves = [noise.standard_normal(count).astype(np.float32) for count in SAMPLES]
    batch, frames = run_onnx(graph, waves)
    assert frames.tolist() == [max(0, (count - 400) // 320 + 1) for count in SAMPLES]
    for row, wave in enumerate(waves):
        with torch.no_grad():
            expected = model(torch.from_numpy(wave)[None]).logits[0].numpy()
        alone, _ = run_onnx(graph, [wave]) if row in (0, 4) else (batch[row : row + 1], None)
        for logits in (batch[row], alone[0]):
            np.testing.assert_allclose(logits[: frames[row]], expected[: frames[row]], atol=1e-4)


def test_metadata_says_what_a_runtime_needs(build_model, tmp_path, run_onnx):
    tokenizer = CharTokenizer(("<s>", "Ä", "<pad>", "|"))
    model = build_model("base", num_hidden_layers=1, vocab_size=4, pad_token_id=2)
    graph = build_onnx(LoadedModel(model, Processor(tokenizer, do_normalize=True)), normalize=True)
    save_onnx(graph, tmp_path / "deep" / "model.onnx")
    facts = {entry.key: entry.value for entry in onnx.load(tmp_path / "deep" / "model.onnx").metadata_props}
    assert json.loads(facts.pop("vocab")) == ["<s>", "Ä", "<pad>", "|"]
    assert facts.pop("bigfoot_version")
    assert facts == {
        "bigfoot_format": "1", "blank_id": "2", "word_delimiter": "|", "sample_rate": "16000", "do_normalize": "inside",
        "stride": "320", "receptive_field": "400", "family": "wav2vec2", "model_type": "bigfoot",
        "batch_invariant": "true", "precision": "fp32",
    }  # fmt: skip
    # Loud audio with an offset, which only what normalizes inside can take.
    waves = [3 + 7 * np.random.default_rng(1).standard_normal(count).astype(np.float32) for count in (9000, 4000)]
    logits, frames = run_onnx(graph, waves)
    for row, wave in enumerate(waves):
        with torch.no_grad():
            expected = model(torch.from_numpy(normalize_waveform(wave))[None]).logits[0].numpy()
        np.testing.assert_allclose(logits[row, : frames[row]], expected, atol=1e-4)


def test_normalizes_as_the_processor():
    wave = 5 + np.random.default_rng(0).standard_normal(700).astype(np.float32)
    padded = torch.from_numpy(np.concatenate([wave, np.full(60, 99, np.float32)]))[None]
    ours = normalize_by_lengths(padded, torch.tensor([700]))[0].numpy()
    np.testing.assert_allclose(ours[:700], normalize_waveform(wave), atol=1e-5)
    assert not ours[700:].any()


def test_without_a_head_there_is_nothing_to_export(build_model):
    with pytest.raises(ModelError, match="no CTC head"):
        build_onnx(LoadedModel(build_model("base", ctc_head=False), Processor()))
