"""Frames of a frozen encoder: kept or computed, the answers and the trained head are the same."""

import pytest
import torch

from bigfoot.data.batches import evaluation_batches
from bigfoot.data.settings import AugmentConfig, DataConfig, SpecAugmentConfig
from bigfoot.distill import LogitKLLoss, LossesConfig
from bigfoot.distill.terms.task import TaskLoss
from bigfoot.tasks import frames
from bigfoot.tasks.answers import answer_manifest
from bigfoot.tasks.frames import KeptFrames, digest_encoder, find_random
from bigfoot.tasks.freezing import FrozenParts, RestingEncoder, find_frozen
from bigfoot.tasks.metrics import score_answers
from bigfoot.tasks.settings import TrainTaskConfig
from bigfoot.text.tokenizers import Processor
from bigfoot.training.loop import train
from bigfoot.training.run import TrainingRun

QUIET = SpecAugmentConfig(mask_time_prob=0.0)


def keep(model, folder, gigabytes=1.0, in_training=True):
    layers = model.task_head.needs_layers
    model.kept_frames = KeptFrames(
        folder, model.speech_encoder, gigabytes, all_layers=layers, in_training=in_training
    )
    return model.kept_frames


def close(ours, theirs):
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=1e-5, atol=1e-6)


@pytest.mark.grid
@pytest.mark.parametrize(("structure", "pooling", "layers", "size"), [
    ("base", "statistics", "weighted", 3), ("wavlm", "attention", "weighted", 1), ("group-stable", "mean", "last", 8),
    ("base", "max", "last", 2), ("wavlm", "last", "weighted", 8),
])  # fmt: skip
def test_answers_are_those_of_the_encoder(structure, pooling, layers, size, task_model, voices, tmp_path):
    model = task_model(structure, pooling=pooling, layers=layers, fbank=4)
    expected = answer_manifest(model, voices["test"], Processor(), 2)
    kept = keep(model, tmp_path)
    first = answer_manifest(model, voices["test"], Processor(), size)
    assert kept.computed == 13
    close(first.logits, expected.logits)
    close(first.pooled, expected.pooled)
    again = keep(model, tmp_path)
    assert answer_manifest(model, voices["test"], Processor(), size).logits.tolist() == first.logits.tolist()
    assert again.computed == 0


def train_head(model, voices, folder, steps):
    frozen = list(find_frozen(model, ["encoder"]).values())
    objective = RestingEncoder(LossesConfig(LogitKLLoss(weight=0.0), task=TaskLoss(1.0)), model, None)
    config = TrainTaskConfig(max_steps=steps, warmup_steps=0, learning_rate=1e-2, spec_augment=QUIET)
    run = TrainingRun("t", config, DataConfig(batch_seconds=20), Processor(), voices, folder, seed=0,
                      hooks=[FrozenParts(frozen)])  # fmt: skip
    train(objective, run)
    return model.task_head.state_dict()


@pytest.mark.slow
def test_the_head_learns_the_same_and_the_encoder_runs_once(task_model, voices, tmp_path):
    plain, cached = (task_model(dropout=0.0) for _ in range(2))
    kept = keep(cached, tmp_path / "frames")
    calls = []
    cached.speech_encoder.register_forward_hook(lambda *_: calls.append(1))
    theirs, ours = (train_head(model, voices, tmp_path / name, 6)
                    for name, model in (("plain", plain), ("cached", cached)))  # fmt: skip
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-5)
    # Several epochs, and one pass of the encoder.
    assert kept.computed == len(calls) == 16
    scores = []
    for model in (plain, cached):
        model.kept_frames = None
        scores.append(score_answers(answer_manifest(model, voices["dev"], Processor(), 4), "macro_f1", 10, 0).metrics)
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_damage_and_a_full_folder_change_no_bit(task_model, voices, tmp_path):
    model = task_model()
    kept = keep(model, tmp_path / "frames")
    (batch,) = evaluation_batches(voices["dev"], Processor(), 8)
    expected = kept.encode(batch.input_values, batch.attention_mask).last_hidden_state
    files = sorted((tmp_path / "frames").rglob("*.frames"))
    assert len(files) == 8
    files[0].write_bytes(files[0].read_bytes()[:-9])
    files[1].write_bytes(b"")
    files[2].unlink()
    kept.computed = 0
    assert torch.equal(kept.encode(batch.input_values, batch.attention_mask).last_hidden_state, expected)
    assert kept.computed == 3
    full = keep(model, tmp_path / "none", gigabytes=1e-9)
    assert torch.equal(full.encode(batch.input_values, batch.attention_mask).last_hidden_state, expected)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    elsewhere = keep(model, tmp_path / "file")
    assert torch.equal(elsewhere.encode(batch.input_values, batch.attention_mask).last_hidden_state, expected)


def test_training_alone_may_be_left_out(task_model, tmp_path):
    kept = keep(task_model(), tmp_path, in_training=False)
    assert (kept.serves(training=True), kept.serves(training=False)) == (False, True)


def test_another_encoder_has_other_frames(task_model):
    one, other = task_model().speech_encoder, task_model().speech_encoder
    assert digest_encoder(one, all_layers=True) == digest_encoder(other, all_layers=True)
    assert digest_encoder(one, all_layers=True) != digest_encoder(one, all_layers=False)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-6
    assert digest_encoder(one, all_layers=True) != digest_encoder(other, all_layers=True)


@pytest.mark.parametrize(("data", "masks", "found"), [
    ({}, QUIET, []),
    ({}, SpecAugmentConfig(mask_time_length=0, mask_feature_prob=0.1), ["spec_augment.mask_feature_prob"]),
    ({}, SpecAugmentConfig(), ["spec_augment.mask_time_prob"]),
    ({"crop_seconds": 3.0}, QUIET, ["data.crop_seconds"]),
    ({"augment": AugmentConfig(speed=[0.9, 1.1])}, QUIET, ["data.augment.speed"]),
    ({"augment": AugmentConfig(gain_db=[0.0, 3.0])}, QUIET, ["data.augment.gain_db"]),
    ({"augment": AugmentConfig(noise_probability=0.5)}, QUIET, ["data.augment.noise_probability"]),
])  # fmt: skip
def test_what_changes_from_epoch_to_epoch(data, masks, found):
    assert find_random(DataConfig(**data), masks) == found


def test_what_a_head_takes_of_the_waveform_is_computed_once(task_model, voices, tmp_path, monkeypatch):
    monkeypatch.setattr(frames, "_pooled", {})
    model = task_model(fbank=5, pitch=6)
    parts, kept, calls = list(model.task_head.beside), keep(model, tmp_path), []
    (batch,) = evaluation_batches(voices["dev"], Processor(), 8)
    audio = batch.input_values, batch.attention_mask
    expected = [part(*audio) for part in parts]
    for part in parts:
        part.register_forward_hook(lambda part, *_: calls.append(part.key))
    for _ in range(2):
        for ours, theirs in zip(kept.pool_audio(parts, *audio), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert sorted(calls) == sorted(part.key for part in parts for _ in range(8))
    # A part of another size has vectors of its own; beyond the limit they are not remembered.
    monkeypatch.setattr(frames, "_MOST_POOLED", 16)
    others = list(task_model(fbank=6).task_head.beside)
    torch.testing.assert_close(kept.pool_audio(others, *audio), [others[0](*audio)], rtol=1e-4, atol=1e-5)
    assert len(frames._pooled) == 16
