import json

import pytest
import torch
from safetensors.torch import load_file

from bigfoot.data.batches import Batch, Position
from bigfoot.errors import TrainingError
from bigfoot.training.bad_batches import save_bad_batch
from bigfoot.training.checkpoint import Progress
from bigfoot.training.settings import TrainConfig
from bigfoot.training.watch import LossWatch
from tests.refusals import names, refused


def make_batch(number=1, labels=True):
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 5])
    return Batch(
        torch.randn(2, 9).where(mask, 0.0), mask, torch.tensor([[3, 4], [5, -100]]) if labels else None,
        ["a", "b"], ["ÄB", "C"], ["ann", "bob"], Position(2, number),
    )  # fmt: skip


@pytest.fixture
def watch(tmp_path):
    return LossWatch("distill", TrainConfig(max_bad_steps=2, warmup_steps=5), "no", tmp_path / "bad")


def terms(value):
    return {"hidden": torch.tensor(1.5), "ctc": torch.tensor(value)}


def saved(watch):
    return sorted(path.name for path in watch.folder.glob("*"))


def test_a_saved_batch_reads_back(tmp_path):
    batch = make_batch(7)
    file = save_bad_batch(batch, {"ctc": float("nan"), "hidden": 1.5}, 123, tmp_path / "bad", rank=1)
    assert file.name == "step_000123_epoch_2_batch_7_rank_1.json"
    assert json.loads(file.read_text()) == {
        "step": 123, "epoch": 2, "batch": 7, "rank": 1, "terms": {"ctc": "nan", "hidden": 1.5}, "ids": ["a", "b"],
        "speakers": ["ann", "bob"], "texts": ["ÄB", "C"],
    }  # fmt: skip
    tensors = load_file(file.with_suffix(".safetensors"))
    assert torch.equal(tensors["input_values"], batch.input_values) and torch.equal(tensors["labels"], batch.labels)
    assert tensors["input_lengths"].tolist() == [9, 4]
    assert {path.suffix for path in file.parent.iterdir()} == {".json", ".safetensors"}
    assert "labels" not in load_file(
        save_bad_batch(make_batch(labels=False), {}, 1, tmp_path).with_suffix(".safetensors")
    )


def test_a_batch_that_cannot_be_saved_stops_nothing(tmp_path):
    (tmp_path / "bad").write_text("a file, not a folder")
    assert save_bad_batch(make_batch(), {"ctc": 1.0}, 1, tmp_path / "bad") is None


def test_only_the_batch_to_blame_is_saved(watch):
    window, values = [make_batch(1), make_batch(2)], [terms(1.0), terms(float("inf"))]
    watch.leave_out(Progress("", step=6), window, values, "loss term ctc")
    name = "step_000007_epoch_2_batch_2_rank_0"
    assert saved(watch) == [f"{name}.json", f"{name}.safetensors"]
    # A gradient that is no number has no term to blame.
    watch.leave_out(Progress("", step=7), window, [terms(1.0), terms(1.0)], "gradient")
    assert len(saved(watch)) == 6


def test_one_more_than_allowed_stops_the_run(watch):
    progress = Progress("", step=6)
    for number in (1, 2):
        watch.leave_out(progress, [make_batch(number)], [terms(float("nan"))], "loss term ctc")
        progress.step += number
    assert list(progress.notes) == ["left_out"] and progress.left_out == [7, 8]
    assert names(progress.notes["left_out"], "8")
    assert names(progress.notes["left_out"], "7", "8") and str(watch.folder) in progress.notes["left_out"]
    with refused(TrainingError, "10", "max_bad_steps=2", "7", "8", "learning_rate"):
        watch.leave_out(progress, [make_batch(3)], [terms(float("nan"))], "loss term ctc")
    assert len(saved(watch)) == 6


def test_none_allowed_stops_at_the_first(tmp_path):
    watch = LossWatch("distill", TrainConfig(max_bad_steps=0), "fp16", tmp_path)
    with refused(TrainingError, "1", "precision=bf16"):
        watch.leave_out(Progress(""), [make_batch()], [terms(float("nan"))], "loss term ctc")


def run_losses(watch, losses, progress=None):
    progress = progress or Progress("")
    for loss in losses:
        progress.step += 1
        watch.check_loss(progress, [make_batch(progress.step)], [terms(loss)], loss)
    return progress


def test_a_loss_far_above_the_last_ones_is_reported_and_kept(watch):
    progress = run_losses(watch, [*[1.0] * 25, 21.0, 1.0, 19.0, 1.0])
    assert progress.exploded == [26] and len(saved(watch)) == 2
    (note,) = progress.notes.values()
    assert note.startswith("step 26: ") and names(note, 21, 1)
    assert "max_grad_norm" in note


def test_early_losses_and_small_ones_are_no_explosion(watch):
    assert run_losses(watch, [1.0] * 10 + [1e6, *[1.0] * 8, 1e6]).exploded == []
    assert run_losses(watch, [1e-6] * 30 + [0.09]).exploded == []
    slow = LossWatch("distill", TrainConfig(warmup_steps=100), "no", watch.folder)
    assert run_losses(slow, [1.0] * 50 + [1e6]).exploded == []
    assert not watch.folder.exists()


def test_explosions_apart_go_on_and_in_a_row_stop(watch):
    progress = run_losses(watch, [1.0] * 25 + [50.0, 50.0, 1.0] * 3)
    assert progress.exploded == [26, 27, 29, 30, 32, 33]
    with refused(TrainingError, "37", "max_bad_steps=2", "warmup_steps"):
        run_losses(watch, [50.0] * 3, progress)


def test_what_is_kept_of_explosions_is_bounded(watch):
    progress = run_losses(watch, [1.0] * 40 + [50.0, 1.0, 1.0] * 30)
    assert len(progress.exploded) == 30 and len(saved(watch)) == 40 and len(progress.recent_losses) == 50


def test_a_note_is_logged_once(watch, caplog, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("bigfoot"), "propagate", True)
    progress = Progress("")
    for text in ("one", "one", "two"):
        watch.note(progress, "kind", text)
    assert progress.notes == {"kind": "two"} and caplog.messages == ["distill: one", "distill: two"]
