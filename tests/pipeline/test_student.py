"""Students whose convolutions are grouped, shared, fitted or grown, through the whole pipeline."""

import pytest
import torch

from bigfoot.data.batches import sample_batches
from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.facts import SKIPPED
from tests.codes import codes
from tests.pipeline.problems import problems_of
from tests.refusals import names


def kernels(folder):
    return [layer.conv.weight for layer in load_model(folder).model.speech_encoder.feature_encoder]


@pytest.mark.slow
def test_groups_and_sharing_fitted_on_audio(small_config, tmp_path, capsys):
    settings = ("student.conv_init=least_squares", "student.conv_sharing=[[1,2]]", "student.init_seconds=5")
    config = small_config(tmp_path / "run", *settings, "student.conv_sharing_init=least_squares")
    run_pipeline(config, until="distill")
    output = capsys.readouterr().out
    assert names(output, "[[1, 2]] (least_squares)", "convolutional features")
    for step in ("student", "distill"):
        held = kernels(tmp_path / "run" / step / "model")
        assert held[1] is held[2] and held[1].shape == (8, 4, 3)
    run_pipeline(config, until="student")
    assert f"student: {SKIPPED}" in capsys.readouterr().out


@pytest.mark.slow
def test_groups_that_grow_are_dense_at_first_and_grouped_at_the_end(small_config, tmp_path):
    growth = ("distill.grow_groups=[2,4]", "student.conv_init=permute", "distill.eval_every=1")
    run_pipeline(small_config(tmp_path / "run", *growth), until="distill")
    assert kernels(tmp_path / "run" / "student" / "model")[1].shape == (8, 8, 3)
    grown, last = (load_model(tmp_path / "run" / "distill" / name) for name in ("model", "best"))
    assert grown.model.config.groups_of_convs == [1] + [2] * 6
    assert grown.history[-1]["best_step"] >= 4
    assert "conv_groups: kept" in grown.history[-1]["changes"][-1]
    wave = torch.randn(1, 8000)
    with torch.no_grad():
        torch.testing.assert_close(grown.model(wave).logits, last.model(wave).logits, rtol=0, atol=1e-4)


GROWTH = "distill.grow_groups"
WRONG = [
    (["student.conv_sharing=[[3,4]]"], ("student.conv_sharing", "bad_sharing")),
    (["student.conv_sharing=[[1,9]]"], ("student.conv_sharing", "bad_sharing")),
    (["student.conv_sharing=some"], ("student.conv_sharing", "bad_sharing")),
    (["distill.grow_groups=[1,2]", "student.change_conv_layers=false"], (GROWTH, "no_groups")),
    (["distill.grow_groups=[1,2]", "student.conv_init=least_squares"], (GROWTH, "not_grouped")),
    (["distill.grow_groups=[1,2]", "steps=[student,finetune]"], (GROWTH, "bad_order")),
    (["distill.grow_groups=[1,3]", "steps=[student,distill,prune,distill]"], (GROWTH, "repeated")),
    (["student.weights=random", "distill.grow_groups=[1,2]"], ("student.weights", "no_growth")),
    (["student.weights=random", "student.low_rank.linears=[q_proj]"], ("student.weights", "no_rank")),
    (["student.streaming.chunk=320"], ("student.streaming.chunk", "bad_duration")),
    (["student.streaming.chunk=30ms"], ("student.streaming.chunk", "no_whole_frames")),
    (["student.streaming.chunk=2s"], ("student.streaming.chunk", "out_of_range")),
    (["student.streaming.chunk=320ms", "student.shape.time_reduction=2"], ("student.streaming", "cannot_stream")),
    (["distill.losses.delayed_kl={weight: 1, delays: [0, -1]}"], ("distill.losses.delayed_kl.delays", "bad_delays")),
]


@pytest.mark.parametrize(("settings", "expected"), WRONG)
def test_what_cannot_be_is_found_before_anything_is_done(settings, expected, small_run, tmp_path):
    assert codes(problems_of(small_run(tmp_path, *settings))) == [expected]


def test_audio_to_fit_on_is_the_first_of_train(small_digits, processor):
    batches = sample_batches(small_digits.manifests["train"], processor, seconds=8.0, batch_seconds=3.0)
    whole = sample_batches(small_digits.manifests["train"], processor, seconds=1e9, batch_seconds=1e9)
    ids = [name for batch in batches for name in batch.ids]
    assert len(whole) == 1 and len(whole[0].ids) == 24 and ids == whole[0].ids[: len(ids)]
    seconds = [float(batch.attention_mask.sum()) / 16_000 for batch in batches]
    assert sum(seconds) >= 8.0 and all(s <= 3.0 or len(b.ids) == 1 for s, b in zip(seconds, batches, strict=True))
    assert sum(seconds) - float(batches[-1].attention_mask[-1].sum()) / 16_000 < 8.0
    assert all(batch.labels is None for batch in batches)


@pytest.mark.slow
def test_random_weights_have_the_shape_alone(small_config, tmp_path):
    found = {}
    for name, more in {"cut": [], "a": ["student.weights=random"], "b": ["student.weights=random", "seed=8"]}.items():
        run_pipeline(small_config(tmp_path / name, *more), until="student")
        found[name] = load_model(tmp_path / name / "student" / "model")
    cut, drawn, other = (found[name].model for name in ("cut", "a", "b"))
    assert cut.config.to_dict() == drawn.config.to_dict()
    for name, weight in drawn.named_parameters():
        if weight.ndim > 1:  # norms and biases begin at ones and zeros
            assert not torch.equal(weight, cut.get_parameter(name)), name
            assert not torch.equal(weight, other.get_parameter(name)), name
    again = small_config(tmp_path / "c", "student.weights=random")
    run_pipeline(again, until="student")
    state = load_model(tmp_path / "c" / "student" / "model").model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in drawn.state_dict().items())
