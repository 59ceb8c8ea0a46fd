"""Convolutions that share a kernel: one parameter in memory, counted once, one copy on disk, one after reloading."""

import copy

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModelForCTC

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.measure.size import count_params, measure_size
from bigfoot.measure.summary import summarize_model
from bigfoot.models.reshape import load_plain_state, plain_state, reshape_config
from bigfoot.training.optim import build_optimizer
from bigfoot.training.settings import TrainConfig
from tests.refusals import refused

EVEN = {"conv_dim": [8] * 7}
SHARING = [[1, 3, 2], [5, 6]]


@pytest.fixture(params=["base", "large-lv60"])
def shared(request, build_model):
    return build_model(request.param, conv_sharing=SHARING, **EVEN)


def kernels(model):
    return [layer.conv.weight for layer in model.speech_encoder.feature_encoder]


def assert_shared(model):
    k = kernels(model)
    assert k[1] is k[2] and k[1] is k[3] and k[5] is k[6]
    assert len({id(kernel) for kernel in k}) == 4


def unshare(model):
    """A model with kernels of its own for every layer, of the same values."""
    alone = type(model)(reshape_config(model.config, conv_sharing=None))
    load_plain_state(alone, plain_state(model))
    return alone.eval()


@pytest.mark.slow
def test_one_parameter_counted_once(shared):
    assert_shared(shared)
    saved = 2 * 8 * 8 * 3 + 8 * 8 * 2
    assert count_params(unshare(shared)) - count_params(shared) == saved
    assert count_params(shared, unique=False) == count_params(unshare(shared))
    assert measure_size(shared).macs_by_part == measure_size(unshare(shared)).macs_by_part


def test_answers_are_those_of_equal_kernels(shared, speech):
    with torch.no_grad():
        assert torch.equal(shared(speech[0]).logits, unshare(shared)(speech[0]).logits)


def test_gradients_are_the_sum_of_the_unshared_ones(shared, speech):
    alone = unshare(shared)
    for model in (shared, alone):
        model(speech[0]).logits.square().mean().backward()
    ours, theirs = ([kernel.grad for kernel in kernels(model)] for model in (shared, alone))
    for members in SHARING:
        total = torch.stack([theirs[layer] for layer in members]).sum(0)
        torch.testing.assert_close(ours[members[0]], total, rtol=1e-4, atol=1e-8)


@pytest.mark.slow
def test_one_copy_on_disk_and_one_after_reloading(shared, processor, speech, tmp_path):
    save_model(shared, processor, tmp_path / "model")
    held = load_file(tmp_path / "model" / "model.safetensors")
    owners = [name.split(".")[3] for name in held if name.endswith("conv.weight") and "conv_layers" in name]
    assert sorted(owners) == ["0", "1", "4", "5"]
    for again in (load_model(tmp_path / "model").model, AutoModelForCTC.from_pretrained(tmp_path / "model").eval()):
        assert_shared(again)
        with torch.no_grad():
            assert torch.equal(again(speech[0]).logits, shared(speech[0]).logits)
    facts = summarize_model(load_model(tmp_path / "model"))
    assert [i for i, layer in enumerate(facts.layers[:7]) if layer.what.endswith(("kernel of 1", "of 5"))] == [2, 3, 6]
    assert facts.num_params == count_params(shared)


@pytest.mark.slow
def test_still_one_after_ten_training_steps_and_a_checkpoint(shared, processor, speech, tmp_path):
    accelerator = Accelerator(cpu=True)
    optimizer = build_optimizer({"all": shared}, TrainConfig(learning_rate=1e-2))
    model, optimizer = accelerator.prepare(shared, optimizer)
    before = kernels(shared)[1].detach().clone()
    for _ in range(10):
        model(speech[0]).logits.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_shared(shared)
    assert not torch.equal(kernels(shared)[1], before)
    trained = copy.deepcopy(shared.state_dict())
    accelerator.save_state(str(tmp_path / "checkpoint"))
    with torch.no_grad():
        for parameter in shared.parameters():
            parameter.zero_()
    accelerator.load_state(str(tmp_path / "checkpoint"))
    assert_shared(shared)
    assert all(torch.equal(tensor, trained[name]) for name, tensor in shared.state_dict().items())
    save_model(shared, processor, tmp_path / "model")
    assert_shared(load_model(tmp_path / "model").model)


def test_transformers_own_format_has_no_words_for_it(shared, processor, tmp_path):
    with refused(ModelError, "conv_sharing", "[[1, 3, 2], [5, 6]]"):
        save_model(shared, processor, tmp_path / "plain", to="huggingface")


@pytest.mark.parametrize(
    ("sharing", "words"),
    [
        ([[0, 1]], "0 has 1 -> 8 channels, kernel 10; 1 has 8 -> 8 channels, kernel 3"),
        ([[4, 5]], "only kernels of equal shape can be shared"),
        ([[1, 2], [2, 3]], "names convolutions [2] twice"),
        ([[1, 7]], "names convolutions [7], out of range 0..6"),
        ([[-1, 1]], "names convolutions [-1], out of range 0..6"),
        ([[1]], "it takes two convolutions to share a kernel"),
        ([1, 2], "should list lists of 0-based convolutions"),
        ("all", "should list lists of 0-based convolutions"),
        ([[True, 2]], "should list lists of 0-based convolutions"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_the_reason(build_model, sharing, words):
    with pytest.raises(ModelError) as caught:
        build_model("base", conv_sharing=sharing, **EVEN)
    assert words in str(caught.value)


def test_groups_decide_whether_shapes_are_equal(build_model):
    build_model("base", conv_sharing=[[1, 2]], conv_groups=[1, 2, 2, 1, 1, 1, 1], **EVEN)
    with pytest.raises(ModelError):
        build_model("base", conv_sharing=[[1, 2]], conv_groups=[1, 2, 4, 1, 1, 1, 1], **EVEN)
