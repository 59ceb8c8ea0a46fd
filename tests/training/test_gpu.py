"""What changes a step's time and memory, on a GPU; with ``BIGFOOT_GPU_TESTS=cpu`` on a CPU, to try the tests."""

import os
from dataclasses import replace

import pytest
import torch

from bigfoot.data.settings import DataConfig
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.models.kernels import plain_kernels
from bigfoot.models.packed_attention import attend_packed, can_pack, find_kernel
from bigfoot.models.running import LayerRunner, set_runner_
from bigfoot.training.hooks import FrozenFeatureEncoder
from bigfoot.training.loop import Trainer, train
from tests.models.test_packed_attention import segment_by_segment
from tests.training.test_loop import make_objective, make_run  # noqa: F401 - fixtures

TRIED = os.environ.get("BIGFOOT_GPU_TESTS") == "cpu"
HERE = torch.device("cpu" if TRIED else "cuda")
NO_GPU = not (TRIED or torch.cuda.is_available())
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(NO_GPU, reason="no CUDA device here")]
WIDTHS = {"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 4, "intermediate_size": 256,
          "conv_dim": [64] * 7, "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 4,
          "attention_dropout": 0.0, "hidden_dropout": 0.0, "activation_dropout": 0.0}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_packed_attention_is_that_with_a_mask(dtype):
    torch.manual_seed(0)
    lengths = torch.tensor([300, 1, 177])
    real = (torch.arange(300) < lengths[:, None]).to(HERE)
    given = [torch.randn(3, 300, 4, 64, device=HERE, dtype=dtype).transpose(1, 2).requires_grad_() for _ in range(3)]
    mask, kernel = real[:, None, None], segment_by_segment if TRIED else find_kernel()
    assert can_pack(given[0], mask, 0.0) != TRIED and not can_pack(given[0], mask, 0.1)
    weights = torch.randn(3, 4, 300, 64, device=HERE, dtype=dtype) * real[:, None, :, None]
    found = attend_packed(*given, mask, kernel)
    expected = torch.nn.functional.scaled_dot_product_attention(*given, mask)
    ours, theirs = (torch.autograd.grad((each * weights).sum(), given) for each in (found, expected))
    there = real[:, None].expand(-1, 4, -1)
    torch.testing.assert_close(found[there], expected[there], atol=2e-2, rtol=2e-2)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=5e-2, rtol=5e-2)


def test_a_model_in_half_precision_gives_the_same_packed_and_masked():
    model = BigfootForCTC(BigfootConfig(**WIDTHS)).to(HERE).eval()
    waves = torch.randn(3, 32_000, device=HERE)
    mask = torch.arange(32_000, device=HERE) < torch.tensor([[32_000], [9000], [20_000]], device=HERE)
    with torch.no_grad(), torch.autocast(HERE.type, torch.bfloat16):
        packed = model(waves, mask)
        with plain_kernels():
            masked = model(waves, mask)
    real = masked.frame_mask
    torch.testing.assert_close(packed.logits[real].float(), masked.logits[real].float(), atol=5e-2, rtol=5e-2)


def test_activations_computed_again_take_less_memory_and_give_the_same_gradients():
    model = BigfootForCTC(BigfootConfig(**WIDTHS | {"hidden_dropout": 0.1})).to(HERE).train()
    waves, found = torch.randn(4, 64_000, device=HERE), []
    for again in (False, True):
        set_runner_(model, LayerRunner(recomputes=again))
        model.zero_grad(set_to_none=True)
        torch.manual_seed(3)
        if HERE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        model(waves, torch.ones_like(waves, dtype=torch.bool)).logits.square().mean().backward()
        peak = torch.cuda.max_memory_allocated() if HERE.type == "cuda" else 1 - again
        found.append((peak, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}))
    assert found[1][0] < found[0][0]
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, atol=1e-6, rtol=1e-3, msg=name)


def losses_of(result):
    return [record["loss"] for record in result.records if "loss" in record]


@pytest.mark.parametrize("changes", [{"compile": "on"}, {"checkpoint_activations": True}])
def test_a_training_has_the_same_losses(changes, make_objective, make_run, tmp_path):  # noqa: F811
    runs = [train(make_objective(), make_run(folder=tmp_path / str(len(more)), **more)) for more in ({}, changes)]
    assert losses_of(runs[1]) == pytest.approx(losses_of(runs[0]), rel=1e-3)


def test_shared_features_have_the_same_losses(make_objective, make_run, tmp_path, monkeypatch):  # noqa: F811
    def run(folder):
        objective = make_objective()
        front = objective.teachers[0].speech_encoder.feature_encoder
        objective.student.speech_encoder.feature_encoder.load_state_dict(front.state_dict())
        hooks = [FrozenFeatureEncoder(3)]
        return losses_of(train(objective, make_run(folder=tmp_path / folder, hooks=hooks)))

    found = run("one")
    monkeypatch.setattr("bigfoot.distill.shared_features.SharedFeatures.is_shared", lambda _: False)
    assert found == pytest.approx(run("two"), rel=1e-4)


def test_a_batch_is_found_by_memory(make_objective, make_run):  # noqa: F811
    run = make_run(data=DataConfig(batch_seconds="auto", num_buckets=2), max_steps=2)
    trainer = Trainer(make_objective(), run)
    if HERE.type == "cuda":
        torch.cuda.empty_cache()
        taken = torch.cuda.memory_allocated() + 200 * 2**20
        torch.cuda.set_per_process_memory_fraction(taken / torch.cuda.get_device_properties(0).total_memory)
    try:
        result = trainer.train()
    finally:
        if HERE.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert len(losses_of(result)) == 2 and 1.0 <= trainer.data.batch_seconds <= 1280.0


def test_nothing_is_waited_for_between_two_lines_of_the_log(make_objective, make_run):  # noqa: F811
    losses = make_objective()._losses
    del losses["ctc"]  # it reads the lengths of a batch
    objective = make_objective()
    objective._losses, objective.weights = losses, {name: loss.weight for name, loss in losses.items()}
    trainer = Trainer(objective, make_run(max_steps=50, log_every=50, eval_every=50, checkpoint_every=50, masks=True))
    trainer.data = replace(trainer.data, num_workers=2)
    trainer.step_model.train()
    stream = trainer._stream()
    for _ in range(3):
        trainer._step(stream)
    try:
        if HERE.type == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            trainer._step(stream)
    finally:
        if HERE.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert trainer.progress.step == 6
