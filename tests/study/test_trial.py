"""One run of a comparison."""

import pytest
import torch

from bigfoot.formats.folder import load_model
from bigfoot.pipeline.settings import load_config
from bigfoot.study.trial import read_trial, run_trial


@pytest.mark.slow
def test_teacher_alone_is_judged_and_nothing_is_trained(small_run, tmp_path):
    settings = ["steps=[]", "scale=tiny", "teacher.path=facebook/wav2vec2-base"]
    trial = run_trial(load_config(None, [*small_run(tmp_path), *settings]), "k")
    assert (trial.model, trial.start, trial.steps, trial.train_seconds) == ("tiny_teacher", "", {}, 0)
    assert len(trial.references) == len(trial.hypotheses) == 6 and trial.wer < 0.5
    assert read_trial(tmp_path, "k") == trial and read_trial(tmp_path, "other") is None
    assert read_trial(tmp_path / "nowhere", "k") is None


@pytest.mark.slow
def test_prune_and_distill_in_turns(small_run, tmp_path):
    turns = ["steps=[prune,distill,prune,distill,finetune]", "prune.importance=l1", "prune.parts=[feed_forward]"]
    trial = run_trial(load_config(None, small_run(tmp_path, *turns)), "k")
    assert trial.model == str(tmp_path / "finetune" / "model")
    assert trial.steps == {"distill": 6, "distill_2": 6, "finetune": 3} == trial.steps
    assert trial.start == "prune" and list(trial.losses) == list(trial.steps)
    loaded = load_model(trial.model).model
    assert trial.num_params == sum(each.numel() for each in loaded.parameters())
    assert trial.train_seconds > 0 and torch.isfinite(torch.tensor(list(trial.losses.values()))).all()
