"""Whisper's encoder: transformers' numbers over 30 s, and an answer that no padding changes."""

import pytest
import torch
import transformers

from bigfoot.errors import ModelError
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.folder import LoadedModel, load_model, outline_model, save_model
from bigfoot.formats.frames import build_around
from bigfoot.models.reshape import with_prompts, with_task_head
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.pipeline.settings import Config
from bigfoot.tasks.freezing import find_frozen
from bigfoot.text.tokenizers import Processor

SHAPE = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32}
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 60,
           "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}  # fmt: skip


def write_whisper(folder):
    """Save a small random Whisper of transformers; the model."""
    torch.manual_seed(0)
    model = transformers.WhisperModel(transformers.WhisperConfig(**SHAPE, **DECODER)).eval()
    with torch.no_grad():
        for parameter in model.encoder.layers.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor().save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """It, and its folder."""
    folder = tmp_path_factory.mktemp("whisper")
    return write_whisper(folder), folder


@pytest.fixture(scope="module")
def task_model(whisper):
    """Loaded from the folder, with a head and prompts; the second one pads to 30 s."""
    model = load_model(whisper[1]).model
    shape = {"labels": ["a", "b", "c"], "pooling": "attention", "layers": "weighted"}
    trimmed = with_prompts(with_task_head(model, shape, seed=1), 3, seed=2)
    settings = {**model.config.frame_encoder["settings"], "padding": "pad_to_30s"}
    padded = with_prompts(with_task_head(build_around("whisper", settings), shape, seed=1), 3, seed=2)
    padded.load_state_dict(trimmed.state_dict())
    return trimmed, padded


def collate(waves, extra=0):
    size = max(map(len, waves)) + extra
    mask = torch.stack([torch.arange(size) < len(wave) for wave in waves])
    values = torch.full(mask.shape, 7.0)
    for row, wave in enumerate(waves):
        values[row, : len(wave)] = wave
    return values, mask


def test_thirty_seconds_are_those_of_transformers(whisper, speech):
    theirs, folder = whisper
    wave = torch.cat([speech[0][0]] * 20)[: 30 * 16_000]
    assert len(wave) == 30 * 16_000
    front = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    features = front(wave.numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        expected = theirs.encoder(features).last_hidden_state
        found = load_model(folder).model(wave[None], output_hidden_states=True)
    # The reflection at the very end is theirs alone.
    assert (found.last_hidden_state[:, :1480] - expected[:, :1480]).abs().max() < 0.05
    assert len(found.hidden_states) == 3 and found.frame_mask.sum() == 1500


@pytest.mark.slow
def test_no_padding_changes_an_answer(task_model, speech):
    trimmed, padded = task_model
    waves = [speech[0][0, :9000], speech[1][0, :4001], speech[0][0, 2000:2170], speech[1][0, :16_000],
             speech[1][0, 700:7000], speech[0][0, :400], speech[0][0, 100:12_345], speech[1][0, :5555]]  # fmt: skip
    with torch.no_grad():
        alone = [trimmed(wave[None]) for wave in waves]
        for model, extra in ((trimmed, 0), (trimmed, 5000), (padded, 0)):
            for size in (1, 2, 4, 8):
                order = torch.randperm(len(waves), generator=torch.Generator().manual_seed(size))
                for rows in order.split(size):
                    batch = model(*collate([waves[row] for row in rows], extra))
                    for place, one in enumerate(alone[row] for row in rows):
                        assert (batch.pooled[place] - one.pooled[0]).abs().max() < 1e-5
                        assert (batch.task_logits[place] - one.task_logits[0]).abs().max() < 1e-5
                        assert int(batch.frame_mask[place].sum()) == one.pooling_weights.shape[-1]
    lengths = trimmed.speech_encoder.feature_encoder.frame_lengths(torch.tensor([len(wave) for wave in waves]))
    assert [one.pooling_weights.shape[-1] for one in alone] == (lengths + 3).tolist()


@pytest.mark.slow
def test_longer_audio_is_encoded_in_windows_that_follow_each_other(task_model, speech):
    trimmed, _ = task_model
    long, short = torch.cat([speech[0][0]] * 25)[: 31 * 16_000], speech[1][0, :8000]
    with torch.no_grad():
        batch = trimmed(*collate([long, short]))
        first, rest, own = (trimmed(wave[None]) for wave in (long[:480_000], long[480_000:], short))
    assert batch.frame_mask.sum(-1).tolist() == [1503 + 53, 28]
    parts = torch.cat([first.last_hidden_state, rest.last_hidden_state], 1)
    assert (batch.last_hidden_state[0, : parts.shape[1]] - parts[0]).abs().max() < 1e-4
    assert (batch.task_logits[1] - own.task_logits[0]).abs().max() < 1e-5


def test_a_folder_gives_the_same_logits_back(task_model, speech, tmp_path):
    model, wave = task_model[0], speech[0][:, :7000]
    save_model(model, Processor(do_normalize=False), tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(loaded.model(wave).task_logits, model(wave).task_logits)
    assert not loaded.processor.do_normalize
    frozen = find_frozen(model, ["feature_encoder", "layers.0"])
    assert {name.partition(".inner.encoder.")[2].split(".")[0] for name in frozen} == {"conv1", "conv2", "layers"}
    assert not any("prompts" in name for name in find_frozen(model, ["encoder"]))


def test_what_cannot_be_done_is_refused(whisper, task_model, tmp_path):
    config = Config(steps=["student", "train_task"])
    config.teacher.path = str(whisper[1])
    assert [problem.code for problem in resolve_plan(config).problems] == ["other_encoder"]
    assert outline_model(whisper[1]).config.frame_encoder["kind"] == "whisper"
    with pytest.raises(ModelError):
        build_onnx(LoadedModel(task_model[0], Processor()))
    wrong = {"d_model": 15, "encoder_attention_heads": 2}, {"d_model": "wide"}, {"layers": 3}, {"n_fft": 10**9}
    for settings in wrong:
        with pytest.raises(ModelError):
            build_around("whisper", settings)
    with pytest.raises(ModelError):
        build_around("beats", {})
