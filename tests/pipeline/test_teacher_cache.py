"""``distill.cache``: a run, and a second student, without the teacher at work."""

import json

import pytest
import torch
from safetensors.torch import load_file

from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.steps import teaching
from bigfoot.training.loop import Trainer
from tests.codes import codes
from tests.pipeline.problems import problems_of

LOSSES = ("distill.losses.hidden.weight=1", "distill.losses.heads.weight=1", "distill.losses.gram.weight=0.1")


def losses_of(folder, step="distill"):
    records = json.loads((folder / step / "facts.json").read_text())["records"]
    return [record["loss"] for record in records if "loss" in record]


@pytest.mark.slow
def test_the_second_student_trains_on_what_the_first_had_written(small_config, tmp_path, monkeypatch):
    cache = f"distill.cache={tmp_path / 'cache'}"
    run_pipeline(small_config(tmp_path / "live", *LOSSES), until="distill")
    run_pipeline(small_config(tmp_path / "one", *LOSSES, cache), until="distill")
    assert losses_of(tmp_path / "one") == pytest.approx(losses_of(tmp_path / "live"), rel=2e-3)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    monkeypatch.setattr("bigfoot.distill.cache.compute_targets", None)
    monkeypatch.setattr("bigfoot.distill.objective.compute_targets", None)
    other = ("student.num_hidden_layers=1", "distill.losses.hidden.matches=[[1,4]]", "distill.losses.gram.weight=0")
    run_pipeline(small_config(tmp_path / "two", *LOSSES, cache, *other), until="distill")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before


@pytest.mark.slow
def test_stopped_in_the_middle_it_ends_in_the_same_bits(small_config, tmp_path, monkeypatch):
    settings = (*LOSSES, f"distill.cache={tmp_path / 'cache'}", "distill.spec_augment.mask_time_prob=0.3")
    run_pipeline(small_config(tmp_path / "whole", *settings), until="distill")
    ours = Trainer._step

    def stopping(self, stream):
        if self.progress.step == 3:
            raise KeyboardInterrupt
        return ours(self, stream)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(small_config(tmp_path / "stopped", *settings), until="distill")
    run_pipeline(small_config(tmp_path / "stopped", *settings), until="distill")
    whole, stopped = (load_file(tmp_path / name / "distill/model/model.safetensors") for name in ("whole", "stopped"))
    assert [name for name in whole if not torch.equal(whole[name], stopped[name])] == []


@pytest.mark.slow
def test_gates_and_distilling_share_it(small_config, tmp_path, monkeypatch):
    steps = ("steps=[gates,distill]", "gates.max_steps=3", "gates.log_every=1", "gates.losses.hidden.weight=1",
             "gates.losses.hidden.matches=[[0,0],[2,2]]")  # fmt: skip
    cache = f"distill.cache={tmp_path / 'cache'}"
    run_pipeline(small_config(tmp_path / "live", *LOSSES, *steps), until="distill")
    written = []
    monkeypatch.setattr(teaching, "write_cache", lambda *given: (written.append(given[1].targets), write(*given)))
    run_pipeline(small_config(tmp_path / "read", *LOSSES, *steps, cache), until="distill")
    assert len(written) == 2 and written[0] == written[1]
    assert {0, 2} <= set(written[0]["hidden_states"])
    for step in ("gates", "distill"):
        live, read = (losses_of(tmp_path / name, step) for name in ("live", "read"))
        assert read == pytest.approx(live, rel=2e-3) and len(read) >= 3


@pytest.mark.slow
def test_the_control_needs_none(small_config, tmp_path, monkeypatch):
    settings = (f"distill.cache={tmp_path / 'cache'}", "control=ctc_only", "steps=[student,distill]")
    config = small_config(tmp_path, *settings)
    asked = []
    monkeypatch.setattr(teaching, "write_cache", lambda *given: (asked.append(1), write(*given)))
    run_pipeline(config, until="finetune")
    assert asked == [1]


write = teaching.write_cache


CACHE, ATTENTION = "distill.cache", "distill.losses.attention.weight=1"
UNSTORABLE = [
    (["data.augment.speed=[0.9,1.1]"], (CACHE, "augmented")),
    (["data.augment.gain_db=[-3,3]", "data.augment.noise_probability=0.5"], (CACHE, "augmented")),
    ([ATTENTION], (CACHE, "not_stored")),
    (["distill.losses.logit_kl.weight=0", "distill.losses.ctc.weight=1"], (CACHE, "nothing_to_store")),
    (["distill.losses.masked_hidden.weight=1"], (CACHE, "other_masks")),
    (["distill.cache_top_k=3", "distill.losses.logit_cosine.weight=1"], ("distill.cache_top_k", "not_stored")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "expected"), UNSTORABLE)
def test_what_cannot_be_stored_is_found_before_anything_is_done(small_run, tmp_path, overrides, expected):
    assert codes(problems_of(small_run(tmp_path, "distill.cache=cache", *overrides))) == [expected]
    assert problems_of(small_run(tmp_path, *overrides)) == []


def test_masks_where_none_are_drawn(small_run, tmp_path):
    masked = ("distill.losses.masked_hidden.weight=1", "distill.spec_augment.mask_time_prob=0")
    assert codes(problems_of(small_run(tmp_path, *masked))) == [("distill.losses.masked_hidden", "no_masks")]
