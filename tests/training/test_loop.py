import copy
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bigfoot.data.batches import Position, training_batches
from bigfoot.data.settings import DataConfig
from bigfoot.distill import CTCLoss, HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.losses import LossSum
from bigfoot.distill.objective import Objective
from bigfoot.errors import BigfootError, TrainingError
from bigfoot.formats.folder import load_model
from bigfoot.storage.places import temporary
from bigfoot.training import dev
from bigfoot.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from bigfoot.training.hooks import FrozenFeatureEncoder, TrainingHook
from bigfoot.training.loop import Trainer, train
from bigfoot.training.optim import build_optimizer
from bigfoot.training.run import TrainingRun
from bigfoot.training.settings import TrainConfig
from tests.refusals import names, refused

ALL_LOSSES = LossesConfig(LogitKLLoss(0.7, 2.0), HiddenLoss(0.3), ctc=CTCLoss(0.2))
CTC = LossesConfig(logit_kl=LogitKLLoss(weight=0.0), ctc=CTCLoss(weight=1.0))
QUIET = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}


@pytest.fixture
def make_run(small_digits, processor, tmp_path):
    def make(folder=None, data=None, **changes):
        settings = {
            "max_steps": 4, "warmup_steps": 1, "eval_every": 2, "checkpoint_every": 2, "log_every": 1,
            "learning_rate": 2e-3,
        }  # fmt: skip
        more = {key: changes.pop(key) for key in list(changes) if key in TrainConfig.__dataclass_fields__}
        config = TrainConfig(**(settings | more))
        if not changes.pop("masks", False):
            for key, value in QUIET.items():
                setattr(config.spec_augment, key, value)
        return TrainingRun(
            name="distill", config=config, data=data or DataConfig(batch_seconds=6.0, num_buckets=2),
            processor=processor, manifests=small_digits.manifests, folder=folder or tmp_path / "run", seed=11,
            **changes,
        )  # fmt: skip

    return make


@pytest.fixture
def make_objective(build_model):
    def make(losses=ALL_LOSSES, **changes):
        teacher = None if losses is CTC else build_model("base", seed=1)
        return Objective(losses, build_model("base", seed=2, num_hidden_layers=2, **changes), teacher)

    return make


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def plain_training(objective, run, steps):
    """The mean over all frames or labels of a window, written out."""
    student, config = objective.student.train(), run.config
    optimizer = build_optimizer({"all": objective}, config)
    stream = training_batches(run.manifests["train"], run.processor, run.data, run.seed)
    losses = []
    for step in range(steps):
        window = [next(stream) for _ in range(config.gradient_accumulation_steps)]
        terms = [objective(batch, {}) for batch in window]
        loss = 0.0
        for name, weight in objective.weights.items():
            count = sum(int(term[name].count) for term in terms)
            loss = loss + weight * sum(term[name].total for term in terms) / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (1.0 - step / config.max_steps)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_accumulated_batches_are_one_mean_over_frames_and_labels(accumulate, make_objective, make_run):
    run = make_run(gradient_accumulation_steps=accumulate, warmup_steps=0, max_steps=3)
    ours, plain = make_objective(), make_objective()
    result = train(ours, run)
    losses = plain_training(plain, run, 3)
    logged = [record["loss"] for record in result.records if "loss" in record]
    assert logged == pytest.approx(losses, rel=1e-4)
    for name, tensor in ours.student.state_dict().items():
        # Adam divides by the gradient's size: rounding of a gradient near zero is worth up to a learning rate.
        torch.testing.assert_close(tensor, plain.student.state_dict()[name], atol=3e-5, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_accumulated_gradients_equal_those_of_the_mean(make_objective, make_run, monkeypatch):
    run = make_run(gradient_accumulation_steps=2, max_grad_norm=1e9)
    objective, plain = make_objective(), make_objective()
    seen = {}
    monkeypatch.setattr(
        Trainer, "_update",
        lambda self: seen.update({n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None}),
    )  # fmt: skip
    trainer = Trainer(objective, run)
    trainer.step_model.train()
    trainer._step(trainer._stream())
    stream = training_batches(run.manifests["train"], run.processor, run.data, run.seed)
    plain.student.train()
    terms = [plain(next(stream), {}) for _ in range(2)]
    sum(
        weight * (terms[0][name].total + terms[1][name].total) / (terms[0][name].count + terms[1][name].count)
        for name, weight in plain.weights.items()
    ).backward()
    expected = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    # Masks that hide nothing give their embedding a gradient of nothing.
    assert not seen.pop("student.wav2vec2.masked_spec_embed").any()
    assert seen.keys() == expected.keys() and len(seen) > 30
    for name, gradient in expected.items():
        torch.testing.assert_close(seen[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.slow
def test_feature_encoder_stays_to_the_bit_then_lets_go(make_objective, make_run, monkeypatch):
    run = make_run(max_steps=4, hooks=[FrozenFeatureEncoder(2)])
    objective, history = make_objective(CTC), []
    frozen = objective.student.speech_encoder.feature_encoder
    after = Trainer._after_step
    monkeypatch.setattr(Trainer, "_after_step", lambda self, *a: (history.append(weights(frozen)), after(self, *a)))
    before, others = weights(frozen), weights(objective.student.speech_encoder.encoder)
    train(objective, run)
    assert_equal(before, history[0])
    assert_equal(before, history[1])
    assert all(not torch.equal(before[name], history[2][name]) for name in before if name.endswith("conv.weight"))
    assert any(not torch.equal(t, others[n]) for n, t in objective.student.speech_encoder.encoder.state_dict().items())


class Recorder(TrainingHook):
    """Notes its turns, has a parameter of its own, and lets no model before the last be the best."""

    def __init__(self):
        self.turns, self.extra = [], torch.nn.Linear(2, 2)

    def parts(self):
        return {"extra": self.extra}

    def before_clip_(self, student, step):
        reached = any(parameter.grad is not None for parameter in student.parameters())
        self.turns.append(("clip", step, reached))

    def after_step_(self, student, step):
        self.turns.append(("after", step, student.training))

    def may_be_best(self, step, max_steps):
        self.turns.append(("best", step, max_steps))
        return step == max_steps


@pytest.mark.slow
def test_a_hook_has_its_turns(make_objective, make_run):
    hook = Recorder()
    trainer = Trainer(make_objective(CTC), make_run(max_steps=4, hooks=[hook]))
    assert {"extra"} < {group["name"] for group in trainer.optimizer.param_groups}
    assert trainer.train().best_step == 4
    steps = [[("clip", step, True), ("after", step + 1, True)] for step in range(4)]
    assert hook.turns == [*steps[0], *steps[1], ("best", 2, 4), *steps[2], *steps[3], ("best", 4, 4)]


@pytest.mark.slow
def test_projections_are_trained_and_not_saved(make_run, build_model):
    losses = LossesConfig(LogitKLLoss(0.0), HiddenLoss(1.0))
    student = build_model("base", seed=2, hidden_size=12, num_attention_heads=2, num_conv_pos_embedding_groups=2)
    objective = Objective(losses, student, build_model("base", seed=1))
    before = weights(objective.projections)
    result = train(objective, make_run(max_steps=2))
    assert all(not torch.equal(before[name], tensor) for name, tensor in objective.projections.state_dict().items())
    assert load_model(result.last).model.config.hidden_size == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [{}, {"streaming": {"chunk": 5, "left": 2, "dynamic": True}}], ids=["whole", "chunks"]
)
def test_stopped_anywhere_the_run_ends_in_the_same_bits(shape, make_objective, make_run, tmp_path, monkeypatch):
    rough = shape | dict.fromkeys(("hidden_dropout", "attention_dropout", "activation_dropout"), 0.2)
    data = DataConfig(batch_seconds=6.0, num_buckets=2)
    data.augment.speed, data.augment.noise_probability = [0.9, 1.1], 0.5
    settings = {"max_steps": 9, "masks": True, "data": data, "eval_every": 4, "fingerprint": "a"}
    whole = make_objective(**rough)
    expected = train(whole, make_run(folder=tmp_path / "whole", **settings))
    for sitting in (3, 4, 7):
        stop_after(sitting, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            train(make_objective(**rough), make_run(folder=tmp_path / "stopped", **settings))
        monkeypatch.undo()
    resumed = make_objective(**rough)
    result = train(resumed, make_run(folder=tmp_path / "stopped", **settings))
    assert_equal(weights(whole.student), weights(resumed.student))
    assert_equal(weights(load_model(expected.best).model), weights(load_model(result.best).model))
    strip = [{k: v for k, v in record.items() if k != "seconds"} for record in expected.records]
    assert (result.records, result.best_step) == (strip, expected.best_step)


def stop_after(step, monkeypatch):
    ours = Trainer._step

    def stopping(self, stream):
        if self.progress.step == step:
            raise KeyboardInterrupt
        return ours(self, stream)

    monkeypatch.setattr(Trainer, "_step", stopping)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_not_taken_up(make_objective, make_run):
    train(make_objective(), make_run(max_steps=2, fingerprint="a"))
    trainer = Trainer(make_objective(), make_run(max_steps=2, fingerprint="b"))
    assert load_checkpoint(trainer.accelerator, trainer._checkpoint, "b") is None
    found = load_checkpoint(trainer.accelerator, trainer._checkpoint, "a")
    assert found is not None and found.step == 2 and found.position.batch == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [("checkpoint/model.safetensors", "flipped"), ("checkpoint/optimizer.bin", "flipped"),
     ("checkpoint/random_states_0.pkl", "cut"), ("checkpoint/scheduler.bin", "gone"),
     ("checkpoint/progress.json", "cut"), ("checkpoint/progress.json", "empty"), ("checkpoint/progress.json", "gone"),
     ("best/model.safetensors", "flipped"), ("best/config.json", "gone")],
)  # fmt: skip
def test_a_damaged_checkpoint_is_not_taken_up_and_the_bits_are_the_same(name, damage, make_objective, make_run, caplog):
    run = make_run(max_steps=2)
    train(make_objective(), run)
    whole, file = load_model(run.folder / "last").model.state_dict(), run.folder / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    {"cut": lambda: os.truncate(file, len(content) // 2), "flipped": lambda: file.write_bytes(content),
     "gone": file.unlink, "empty": lambda: os.truncate(file, 0)}[damage]()  # fmt: skip
    caplog.clear()
    result = train(make_objective(), run)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert Path(name).name in warning and "anew" in warning
    again = load_model(result.last).model.state_dict()
    assert [key for key in whole if not torch.equal(whole[key], again[key])] == []
    assert [record["step"] for record in result.records if "loss" in record] == [1, 2]


@pytest.mark.slow
def test_a_checkpoint_that_nobody_vouches_for_is_refused_at_once(make_objective, make_run):
    run = make_run(max_steps=2)
    train(make_objective(), run)
    (run.folder / "checkpoint" / ".bigfoot").write_bytes(b"noise")
    with pytest.raises(BigfootError):
        train(make_objective(), run)


@pytest.mark.slow
def test_a_file_in_the_place_of_the_checkpoint(make_objective, make_run):
    run = make_run(max_steps=2)
    run.folder.mkdir(parents=True)
    (run.folder / "checkpoint").write_text("mine")
    with refused(TrainingError, "2"):
        train(make_objective(), run)
    assert (run.folder / "checkpoint").read_text() == "mine"


def test_a_file_in_the_place_of_the_best_model(make_objective, make_run):
    run = make_run(max_steps=2, eval_every=1)
    run.folder.mkdir(parents=True)
    (run.folder / "best").write_text("mine")
    with refused(TrainingError, "1"):
        train(make_objective(), run)


def test_a_checkpoint_that_fails_half_way_leaves_the_last_one(make_objective, make_run, monkeypatch):
    trainer = Trainer(make_objective(), make_run())
    folder = trainer._checkpoint
    save_checkpoint(trainer.accelerator, Progress("a", step=1), folder)

    def full(path):
        (Path(path) / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.accelerator, "save_state", full)
    with pytest.raises(TrainingError):
        save_checkpoint(trainer.accelerator, Progress("a", step=2), folder)
    assert load_checkpoint(trainer.accelerator, folder, "a").step == 1
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_a_kill_between_the_two_renames_loses_nothing(make_objective, make_run):
    trainer = Trainer(make_objective(), make_run())
    save_checkpoint(trainer.accelerator, Progress("a", step=1), trainer._checkpoint)
    trainer._checkpoint.rename(temporary(trainer._checkpoint, "old"))
    assert load_checkpoint(trainer.accelerator, trainer._checkpoint, "a").step == 1


def break_losses(monkeypatch, breaks, how):
    """Change the loss terms of some batches: ``breaks(batch)`` says which, ``how(total)`` gives the changed total."""
    good = Objective.forward

    def broken(self, batch, masks):
        terms = good(self, batch, masks)
        if not breaks(batch):
            return terms
        return {name: term._replace(total=how(term.total)) for name, term in terms.items()}

    monkeypatch.setattr(Objective, "forward", broken)


def at(*numbers):
    return lambda batch: batch.position.epoch == 0 and batch.position.batch in numbers


def no_number(total):
    return total * torch.nan


def no_gradient(total):
    """The loss as it was, with a gradient of infinity times nothing."""
    return total + (total * 0.0).sqrt()


def test_a_loss_that_stays_no_number_stops_before_it_reaches_the_weights(make_objective, make_run, monkeypatch):
    objective, run = make_objective(CTC), make_run(max_steps=6, max_bad_steps=1)
    trainer = Trainer(objective, run)
    break_losses(monkeypatch, lambda batch: batch.position > Position(0, 2), no_number)
    with refused(TrainingError, "3", "=1"):
        trainer.train()
    assert all(torch.isfinite(tensor).all() for tensor in objective.student.state_dict().values())
    assert load_checkpoint(trainer.accelerator, trainer._checkpoint, "").step == 2
    names = [path.stem for path in sorted((run.folder / "bad_batches").glob("*.json"))]
    assert len(names) == 2 and all(name.startswith("step_000003_epoch_") for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("how", [no_number, no_gradient])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_left_out_is_as_if_it_were_not_in_the_stream(how, accumulate, make_objective, make_run, monkeypatch):
    """To the bit; in a window of two, both go."""
    settings = {"max_steps": 4, "gradient_accumulation_steps": accumulate, "masks": True}
    ours, plain = make_objective(), make_objective()
    gone = (3,) if accumulate == 1 else (3, 4)
    ours_run = make_run(**settings)
    with monkeypatch.context() as patch:
        break_losses(patch, at(3), how)
        result = train(ours, ours_run)
    whole = Trainer._stream
    monkeypatch.setattr(Trainer, "_stream", lambda self: (batch for batch in whole(self) if not at(*gone)(batch)))
    expected = train(plain, make_run(folder=ours_run.folder.with_name("plain"), **settings))
    assert_equal(weights(plain.student), weights(ours.student))
    assert result.records == expected.records
    (note,) = [note for note in result.notes if note not in expected.notes]
    assert str(ours_run.folder / "bad_batches") in note
    assert len(list((ours_run.folder / "bad_batches").glob("*.json"))) == (1 if how is no_number else accumulate)


@pytest.mark.slow
def test_what_was_left_out_is_neither_lost_nor_reported_twice_by_a_resumed_run(
    make_objective, make_run, tmp_path, monkeypatch
):
    break_losses(monkeypatch, at(2, 6), no_number)
    settings = {"max_steps": 8, "fingerprint": "a", "eval_every": 8}
    whole = make_objective()
    expected = train(whole, make_run(folder=tmp_path / "whole", **settings))
    for sitting in (3, 5):
        with monkeypatch.context() as patch:
            stop_after(sitting, patch)
            with pytest.raises(KeyboardInterrupt):
                train(make_objective(), make_run(folder=tmp_path / "stopped", **settings))
    resumed = make_objective()
    result = train(resumed, make_run(folder=tmp_path / "stopped", **settings))
    assert_equal(weights(whole.student), weights(resumed.student))
    assert sum(names(note, "step 2, 5") for note in result.notes) == 1
    assert [note.replace(f"{tmp_path}/stopped", f"{tmp_path}/whole") for note in result.notes] == expected.notes
    kept = [sorted(path.name for path in (tmp_path / run / "bad_batches").iterdir()) for run in ("whole", "stopped")]
    assert kept[0] == kept[1] and len(kept[0]) == 4


@pytest.mark.slow
def test_an_exploding_loss_is_reported_and_its_step_taken(make_objective, make_run, monkeypatch):
    seen = []
    break_losses(monkeypatch, lambda batch: seen.append(1) or len(seen) == 23, lambda total: total * 1000.0)
    run = make_run(max_steps=24, log_every=1, eval_every=24, checkpoint_every=24)
    result = train(make_objective(CTC), run)
    losses = [record["loss"] for record in result.records if "loss" in record]
    assert len(losses) == 24 and losses[22] > 100 * losses[21]
    assert sum(note.startswith("step 23: ") for note in result.notes) == 1
    assert len(list((run.folder / "bad_batches").glob("step_000023*.json"))) == 1


@pytest.mark.slow
def test_learning_rates_of_nothing_are_warned_of_before_training(make_objective, make_run, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("bigfoot"), "propagate", True)
    parts = ("feature_encoder", "feature_projection", "encoder", "lm_head", "projections")
    with caplog.at_level(logging.INFO, logger="bigfoot"):
        result = train(make_objective(), make_run(max_steps=2, learning_rate_factors=dict.fromkeys(parts, 0.0)))
    assert names(caplog.messages[0], "0") and caplog.messages[1].startswith("distill 1/2")
    assert len([note for note in result.notes if names(note, "learning_rate_factors")]) == 1
    assert train(make_objective(), make_run(max_steps=2, fingerprint="b")).notes == []


@pytest.mark.slow
def test_a_schedule_that_ends_too_early_is_warned_of(make_objective, make_run, monkeypatch):
    monkeypatch.setattr("bigfoot.training.optim.Schedule.__call__", lambda self, step: float(step < 2))
    notes = train(make_objective(), make_run(max_steps=4)).notes
    assert len(notes) == 1 and names(notes[0], "0")


def test_a_loss_that_reaches_only_what_does_not_move_is_warned_of(make_objective, make_run, monkeypatch):
    def penalty(self, batch, masks):
        total = sum(p.square().sum() for p in self.student.speech_encoder.feature_encoder.parameters())
        return {"ctc": LossSum(total, torch.ones(()))}

    monkeypatch.setattr(Objective, "forward", penalty)
    (note,) = train(make_objective(CTC), make_run(max_steps=2, learning_rate_factors={"feature_encoder": 0.0})).notes
    assert names(note, "feature_encoder")
    assert train(make_objective(CTC), make_run(max_steps=2, fingerprint="b")).notes == []


@pytest.mark.slow
def test_best_on_dev_is_kept_beside_last(make_objective, make_run, monkeypatch):
    wers = iter([0.5, 0.2, 0.2, 0.9])
    scored = dev.measure_error_rate
    monkeypatch.setattr(dev, "measure_error_rate", lambda *a, **k: replace_wer(scored(*a, **k), next(wers)))
    seen, after = {}, Trainer._after_step

    def remember(self, *arguments):
        seen[self.progress.step] = weights(self.objective.student)
        after(self, *arguments)

    monkeypatch.setattr(Trainer, "_after_step", remember)
    result = train(make_objective(), make_run(max_steps=4, eval_every=1))
    # Of equals the later one.
    assert (result.best_step, result.best_wer) == (3, 0.2)
    assert_equal(weights(load_model(result.best).model), seen[3])
    assert_equal(weights(load_model(result.last).model), seen[4])


def replace_wer(rate, wer):
    changed = copy.copy(rate)
    object.__setattr__(changed, "wer", wer)
    return changed


@pytest.mark.slow
def test_a_collapse_to_blanks_is_warned_of(make_objective, make_run, caplog, monkeypatch):
    objective = make_objective(CTC)
    with torch.no_grad():
        objective.student.head.bias[0] = 50.0
    monkeypatch.setattr(logging.getLogger("bigfoot"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="bigfoot"):
        result = train(objective, make_run(max_steps=4, eval_every=2))
    warnings = [message for message in caplog.messages if names(message, "100.0%")]
    assert len(warnings) == 2
    # The report has the newest.
    assert [f"distill: {note}" for note in result.notes] == warnings[1:] and names(result.notes[0], "4")


@pytest.mark.slow
def test_without_a_head_the_newest_model_is_the_best(make_run, build_model):
    losses = LossesConfig(LogitKLLoss(0.0), HiddenLoss(1.0))
    students = [build_model("base", seed=seed, ctc_head=False) for seed in (1, 2)]
    run = make_run(max_steps=3)
    run.processor = replace(run.processor, tokenizer=None)
    result = train(Objective(losses, students[1], students[0]), run)
    assert (result.best_wer, result.best_step) == (None, 3)
    assert_equal(weights(load_model(result.best).model), weights(load_model(result.last).model))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_bf16_on_a_gpu_learns(make_objective, make_run):
    result = train(make_objective(CTC), make_run(max_steps=20, precision="bf16", eval_every=20, checkpoint_every=10))
    losses = [record["loss"] for record in result.records if "loss" in record]
    assert losses[-1] < losses[0]
