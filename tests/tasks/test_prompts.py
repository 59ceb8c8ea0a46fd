"""Soft prompts learn, count in the masks, and travel: to a folder, to a narrower student, to a file without torch."""

import numpy as np
import pytest
import torch

from bigfoot.export.onnx import build_onnx
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models.reshape import with_prompts
from bigfoot.tasks.freezing import OwnRates
from bigfoot.tasks.lora import add_adapters_
from bigfoot.tasks.settings import TrainTaskConfig
from bigfoot.text.tokenizers import Processor
from bigfoot.training.optim import build_optimizer
from tests.tasks.test_freezing import take_steps


def test_prompts_alone_change_where_all_else_is_frozen(task_model, voices, tmp_path):
    model = with_prompts(task_model(), 4, seed=1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    take_steps(model, voices, tmp_path, ["encoder"])
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name for name in changed if not name.startswith("task_head.")} == {"bigfoot.prompts"}


def test_adapters_and_prompts_have_rates_of_their_own(task_model):
    pytest.importorskip("peft")
    model = with_prompts(task_model(), 4, seed=1)
    add_adapters_(model, 2, ["q_proj"])
    config = TrainTaskConfig(learning_rate=1.0, learning_rate_factors={"adapters": 0.5, "prompts": 0.25})
    assert not list(config.find_problems())
    optimizer = build_optimizer({**OwnRates(model).inner_parts(), **model.parts(), "rest": model}, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates.keys() == set(names.values())
    for name, rate in rates.items():
        assert rate == (0.5 if ".lora_" in name else 0.25 if name.endswith(".prompts") else 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["base", "wavlm"])
def test_masks_count_them_and_padding_changes_nothing(structure, task_model, speech, processor, tmp_path):
    model, bare = with_prompts(task_model(structure, pooling="attention"), 4, seed=1), task_model(structure)
    waves = [speech[0][0, :9000], speech[1][0, :4001]]
    mask = torch.stack([torch.arange(9500) < len(wave) for wave in waves])
    values = torch.stack([torch.nn.functional.pad(wave, (0, 9500 - len(wave)), value=7.0) for wave in waves])
    save_model(model, processor, tmp_path / "model")
    loaded = load_model(tmp_path / "model").model
    run = build_onnx(LoadedModel(model, Processor())).open()
    with torch.no_grad():
        batch = model(values, mask, output_hidden_states=True)
        assert torch.equal(loaded(values, mask).task_logits, batch.task_logits)
        assert (batch.frame_mask.sum(-1) == bare(values, mask).frame_mask.sum(-1) + 4).all()
        for row, wave in enumerate(waves):
            alone = model(wave[None])
            assert (alone.task_logits[0] - batch.task_logits[row]).abs().max() < 1e-5
            exported, _ = run(wave[None].numpy(), np.array([len(wave)]))
            np.testing.assert_allclose(exported[0], alone.task_logits[0].numpy(), atol=1e-4)
        moved = with_prompts(model, 4, seed=2)
        assert (moved(values, mask).task_logits - batch.task_logits).abs().max() > 1e-4
    assert with_prompts(model, 0, seed=0).speech_encoder.prompts is None
