"""Answers and metrics never depend on the batch; pieces of long audio are one utterance."""

import dataclasses

import numpy as np
import pytest

import bigfoot.tasks.answers as answers_module
from bigfoot.tasks.answers import answer_manifest
from bigfoot.tasks.metrics import score_answers
from bigfoot.text.tokenizers import Processor


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["base", "wavlm"])
def test_the_same_numbers_for_every_batch_size(structure, task_model, voices):
    model = task_model(structure)
    found = [answer_manifest(model, voices["test"], Processor(), size) for size in (1, 2, 4, 8)]
    scores = [score_answers(each, "macro_f1", samples=5, seed=1) for each in found]
    for each, score in zip(found[1:], scores[1:], strict=True):
        assert each.ids == found[0].ids and each.speakers == found[0].speakers
        assert np.abs(each.scores - found[0].scores).max() < 1e-5
        whole = dataclasses.asdict(score), dataclasses.asdict(scores[0])
        for one in (*whole, *(each["by_speaker"] for each in whole)):
            assert one.pop("answers") is not None
            one["metrics"]["ece"] = pytest.approx(one["metrics"]["ece"], abs=1e-5)
        assert whole[0] == whole[1]
    assert len(found[0].ids) == 13 and not np.isnan(found[0].targets).any()


@pytest.mark.slow
def test_logits_of_pieces_are_averaged_by_their_length(task_model, voices, monkeypatch):
    model = task_model()
    whole = answer_manifest(model, voices["test"], Processor(), 4)
    monkeypatch.setattr(answers_module, "LONGEST_PIECE", 1.0)
    pieces = answer_manifest(model, voices["test"], Processor(), 4)
    again = answer_manifest(model, voices["test"], Processor(), 1)
    assert pieces.ids == whole.ids and np.array_equal(pieces.targets, whole.targets)
    assert np.abs(pieces.scores - whole.scores).max() > 1e-4
    assert np.abs(pieces.scores - again.scores).max() < 1e-5


def test_its_mode_is_kept(task_model, voices):
    model = task_model().train()
    answer_manifest(model, voices["dev"], Processor(), 4)
    assert model.training
