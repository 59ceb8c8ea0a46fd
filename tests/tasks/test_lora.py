"""Adapters learn and nothing else of the encoder; what is saved gives the same logits without them."""

import pytest
import torch

from bigfoot.data.settings import DataConfig, SpecAugmentConfig
from bigfoot.distill import LogitKLLoss, LossesConfig
from bigfoot.distill.terms.task import TaskLoss
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model
from bigfoot.models.reshape import with_merged_adapters
from bigfoot.tasks.freezing import FrozenParts
from bigfoot.tasks.lora import AdaptedObjective, KeptAdapters, add_adapters_
from bigfoot.tasks.settings import TrainTaskConfig
from bigfoot.text.tokenizers import Processor
from bigfoot.training.loop import train
from bigfoot.training.run import TrainingRun

pytest.importorskip("peft")


@pytest.mark.slow
@pytest.mark.parametrize(("structure", "kept_on_save"), [("base", False), ("wavlm", True), ("wavlm", False)])
def test_adapters_alone_change_and_come_back(structure, kept_on_save, task_model, voices, speech, tmp_path):
    model = task_model(structure)
    with torch.no_grad():
        before = model(speech[0]).task_logits
    shape = {name: tensor.shape for name, tensor in model.state_dict().items()}
    own = add_adapters_(model, 2, ["q_proj", "v_proj"])
    kept = [parameter.detach().clone() for parameter in own]
    with torch.no_grad():
        assert torch.equal(model.eval()(speech[0]).task_logits, before)
    losses = LossesConfig(LogitKLLoss(weight=0.0), task=TaskLoss(1.0))
    objective = AdaptedObjective(losses, model, None)
    if kept_on_save:
        objective = KeptAdapters(losses, model, None).keep(2, ["q_proj", "v_proj"])
    config = TrainTaskConfig(max_steps=3, warmup_steps=0, learning_rate=1e-2, eval_every=3,
                             spec_augment=SpecAugmentConfig(mask_time_prob=0.0))  # fmt: skip
    hooks = [FrozenParts(own)]
    run = TrainingRun("t", config, DataConfig(batch_seconds=8), Processor(), voices, tmp_path, 0, hooks=hooks)
    result = train(objective, run)
    assert all(torch.equal(parameter, old) for parameter, old in zip(own, kept, strict=True))
    loaded = load_model(result.last).model
    assert {name: tensor.shape for name, tensor in loaded.state_dict().items()} == shape
    with torch.no_grad():
        learned = model.eval()(speech[0]).task_logits
        assert (learned - before).abs().max() > 1e-3
        assert torch.allclose(loaded(speech[0]).task_logits, learned, atol=1e-5)
        assert torch.allclose(with_merged_adapters(model)(speech[0]).task_logits, learned, atol=1e-5)
    if kept_on_save:
        unmerged = load_model(result.last, merge=False).model
        with torch.no_grad():
            assert torch.equal(unmerged(speech[0]).task_logits, learned)
        first = task_model(structure).state_dict()
        own_names = {name.replace("bigfoot.", "wavlm.").replace(".base_layer", ""): tensor
                     for name, tensor in unmerged.state_dict().items()}  # fmt: skip
        assert all(torch.equal(own_names[name], tensor) for name, tensor in first.items() if "task_head" not in name)
    changed = {name for name, old in task_model(structure).state_dict().items()
               if not torch.equal(old, loaded.state_dict()[name])}  # fmt: skip
    learns = (".q_proj.weight", ".v_proj.weight", "task_head.")
    assert changed and all(any(part in name for part in learns) for name in changed)


def test_maps_that_are_not_there(task_model):
    with pytest.raises(ModelError):
        add_adapters_(task_model(), 2, ["query"])
