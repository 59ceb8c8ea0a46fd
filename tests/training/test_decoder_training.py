from dataclasses import replace

import pytest
import torch

from bigfoot.data.batches import training_batches
from bigfoot.data.settings import DataConfig
from bigfoot.distill import DecoderKLLoss, DecoderLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective, objective_problems
from bigfoot.formats.folder import load_model
from bigfoot.models.decoders.speech_decoder import teacher_forcing
from bigfoot.models.reshape import with_decoder
from bigfoot.training.loop import Trainer, train
from bigfoot.training.run import TrainingRun
from bigfoot.training.settings import TrainConfig

SHAPE = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.1}
DATA = DataConfig(batch_seconds=6.0, num_buckets=2)


def losses(decoder=1.0, ctc=0.0, kl=0.0, smoothing=(0.2, 0.0), steps=4):
    found = LossesConfig(LogitKLLoss(0.0), decoder=DecoderLoss(decoder, *smoothing, steps))
    found.ctc.weight, found.decoder_kl = ctc, DecoderKLLoss(kl, 2.0)
    return found


@pytest.fixture
def student(build_model):
    return with_decoder(build_model("base", seed=2, num_hidden_layers=2, hidden_dropout=0.1), SHAPE, seed=4)


@pytest.fixture
def batch(small_digits, processor):
    return next(training_batches(small_digits.manifests["train"], processor, DATA, 11))


@pytest.fixture
def make_run(small_digits, processor, tmp_path):
    def make(folder, **changes):
        config = TrainConfig(max_steps=6, warmup_steps=1, eval_every=3, checkpoint_every=2, log_every=1)
        return TrainingRun(
            name="finetune", config=config, data=DATA, processor=processor, manifests=small_digits.manifests,
            folder=tmp_path / folder, seed=11, fingerprint="a", **changes,
        )  # fmt: skip

    return make


@torch.no_grad()
def test_the_loss_is_a_loop_over_utterances_and_tokens(student, batch):
    objective = Objective(losses(smoothing=(0.2, 0.0)), student.eval(), None)
    (term,) = objective(batch, {}).values()
    total, count = 0.0, 0
    for row in range(len(batch)):
        wave, labels = batch.input_values[row][batch.attention_mask[row]][None], batch.labels[row]
        labels = labels[labels >= 0]
        logits = student(wave, decoder_labels=labels[None]).decoder_logits[0].log_softmax(-1)
        for position, token in enumerate([*labels.tolist(), 0]):
            total -= 0.8 * float(logits[position, token]) + 0.2 * float(logits[position].mean())
            count += 1
    assert float(term.total) == pytest.approx(total, rel=1e-4)
    assert int(term.count) == count == objective.count_units(batch)["decoder"]


@pytest.mark.slow
def test_smoothing_goes_from_first_to_last_by_steps_taken(student, batch):
    student.eval()
    objective, found = Objective(losses(smoothing=(0.2, 0.0), steps=4), student, None), []
    for _ in range(6):
        found.append(float(objective(batch, {})["decoder"].total.detach()))
        objective.advance_()
    expected = [
        float(Objective(losses(smoothing=(share, share)), student, None)(batch, {})["decoder"].total.detach())
        for share in (0.2, 0.15, 0.1, 0.05, 0.0, 0.0)
    ]
    assert found == pytest.approx(expected, rel=1e-6)
    assert len(set(found)) == 5


def test_an_utterance_without_a_transcript_teaches_nothing(student, batch):
    objective = Objective(losses(), student.eval(), None)
    silent = replace(batch, labels=torch.full_like(batch.labels, -100))
    assert objective.count_units(silent) == {"decoder": 0}
    assert float(objective(silent, {})["decoder"].total) == 0.0


def test_a_decoder_that_is_its_teacher_has_nothing_to_learn(student, batch):
    objective = Objective(losses(decoder=0.0, kl=1.0), student, student)
    assert float(objective.eval()(batch, {})["decoder_kl"].total) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.slow
def test_the_teachers_tokens_are_learned(student, build_model, batch):
    teacher = with_decoder(build_model("base", seed=3, num_hidden_layers=3), SHAPE, seed=9)
    objective = Objective(losses(decoder=0.0, kl=1.0), student.eval(), teacher)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    values = []
    for _ in range(8):
        term = objective(batch, {})["decoder_kl"]
        term.mean().backward()
        values.append(float(term.mean().detach()))
        optimizer.step()
        optimizer.zero_grad()
    assert values[-1] < 0.8 * values[0]
    here, there = (
        m(batch.input_values, batch.attention_mask, decoder_labels=batch.labels).decoder_logits[0, 0] / 2
        for m in (student, teacher)
    )
    assert torch.nn.functional.kl_div(here.log_softmax(-1), there.softmax(-1), reduction="sum") * 4 < 2 * values[-1] + 1


def test_a_missing_decoder_is_a_problem(student, build_model):
    plain = build_model("base").config
    found = objective_problems(losses(kl=1.0), plain, student.config)
    assert [(problem.key, problem.code) for problem in found] == [
        ("distill.losses.decoder", "no_student_decoder"), ("distill.losses.decoder_kl", "no_student_decoder")
    ]  # fmt: skip
    assert list(objective_problems(losses(kl=1.0), student.config, student.config)) == []


@pytest.mark.slow
def test_stopped_anywhere_the_run_ends_in_the_same_bits(build_model, make_run, monkeypatch):
    def fresh():
        return Objective(
            losses(0.7, 0.3, steps=6),
            with_decoder(build_model("base", seed=2, num_hidden_layers=2, hidden_dropout=0.2), SHAPE, seed=4), None,
        )  # fmt: skip

    whole = fresh()
    expected = train(whole, make_run("whole"))
    ours = Trainer._step

    def stopping(self, stream):
        if self.progress.step == 3:
            raise KeyboardInterrupt
        return ours(self, stream)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(fresh(), make_run("stopped"))
    resumed = fresh()
    result = train(resumed, make_run("stopped"))
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert result.records == expected.records
    best = load_model(result.best).model
    assert best.decoder is not None
    assert all(torch.equal(b, load_model(expected.best).model.state_dict()[n]) for n, b in best.state_dict().items())


def test_targets_hold_the_end(batch):
    _, targets = teacher_forcing(batch.labels, 0, 0)
    assert ((targets == 0).sum(-1) == 1).all()
