"""What is frozen stays, to the bit; all else learns."""

import pytest
import torch

from bigfoot.data.settings import DataConfig, SpecAugmentConfig
from bigfoot.distill import LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.distill.terms.task import TaskLoss
from bigfoot.errors import ModelError
from bigfoot.pipeline.checks import find_problems
from bigfoot.pipeline.plan import resolve_plan
from bigfoot.tasks.freezing import FrozenParts, describe_trainable, find_frozen
from bigfoot.tasks.settings import TrainTaskConfig
from bigfoot.text.tokenizers import Processor
from bigfoot.training.loop import train
from bigfoot.training.run import TrainingRun

FROZEN = {
    "head alone": (["encoder"], lambda name: not name.startswith("task_head.")),
    "layers": (["layers.0-1"], lambda name: ".encoder.layers.0." in name or ".encoder.layers.1." in name),
    "one layer and the convolutions": (
        ["layers.2", "feature_encoder"], lambda name: ".encoder.layers.2." in name or ".feature_extractor." in name,
    ),
    "a module by name": (["encoder.pos_conv_embed"], lambda name: ".pos_conv_embed." in name),
    "nothing": ([], lambda name: False),
}  # fmt: skip


def take_steps(model, voices, folder, names, unfreeze_at=None, steps=1):
    frozen = find_frozen(model, names)
    objective = Objective(LossesConfig(LogitKLLoss(weight=0.0), task=TaskLoss(1.0)), model, None)
    config = TrainTaskConfig(max_steps=steps, warmup_steps=0, schedule="constant", learning_rate=1e-2, weight_decay=0.1,
                             spec_augment=SpecAugmentConfig(mask_time_prob=0.0))  # fmt: skip
    hooks = [FrozenParts(list(frozen.values()), unfreeze_at)]
    run = TrainingRun("t", config, DataConfig(batch_seconds=8), Processor(), voices, folder, seed=0, hooks=hooks)
    train(objective, run)


@pytest.mark.grid
@pytest.mark.parametrize("case", FROZEN)
def test_exactly_the_promised_parameters_change(case, task_model, voices, tmp_path):
    names, is_frozen = FROZEN[case]
    model = task_model(pooling="attention")
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    take_steps(model, voices, tmp_path, names)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    # The mask vector is drawn for SpecAugment, which is off here; a key's bias cancels out in the softmax of attention.
    idle = {name for name in before if name.endswith(("masked_spec_embed", "pooling.score.bias"))}
    learns = {name for name in before if not is_frozen(name)}
    assert changed <= learns
    assert learns - changed <= idle
    assert changed


@pytest.mark.slow
def test_unfreezing_at_a_step(task_model, voices, tmp_path):
    for unfreeze_at, steps, moves in ((2, 2, False), (2, 3, True), (None, 3, False)):
        model = task_model()
        before = {name: parameter.detach().clone() for name, parameter in find_frozen(model, ["encoder"]).items()}
        take_steps(model, voices, tmp_path / f"{unfreeze_at}{steps}", ["encoder"], unfreeze_at, steps)
        after = find_frozen(model, ["encoder"])
        assert any(not torch.equal(after[name], before[name]) for name in before) is moves


@pytest.mark.parametrize("name", ["layers.3", "layers.2-1", "layers.0-9", "layer.0", "", "decoder", "encoder.layers.x"])
def test_names_that_mean_nothing(name, task_model):
    with pytest.raises(ModelError):
        find_frozen(task_model(), [name])


def test_names_are_checked_before_there_is_a_model(small_config, tmp_path):
    config = small_config(tmp_path, "steps=[train_task]", "data.transcripts=none", "data.labels=[sex]",
                          "train_task.column=sex", "train_task.freeze=[layers.0-3,layers.4,encoder,encoder.pos_conv]",
                          "train_task.lora_rank=2", "train_task.lora_modules=[q_proj,query]")  # fmt: skip
    assert [(problem.key, problem.code) for problem in find_problems(resolve_plan(config))] == [
        ("train_task.freeze", "out_of_range"), ("train_task.freeze", "unknown_word"),
        ("train_task.lora_modules", "unknown_word"),
    ]  # fmt: skip


def test_what_learns_is_counted(task_model):
    model = task_model()
    frozen = list(find_frozen(model, ["encoder"]).values())
    total = sum(parameter.numel() for parameter in model.parameters())
    head = sum(parameter.numel() for parameter in model.task_head.parameters())
    words = describe_trainable(model, frozen)
    assert f"{head:,} of {total:,}" in words
