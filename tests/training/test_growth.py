"""Groups that grow while a student is distilled."""

import pytest
import torch

from bigfoot.compress.conv_groups import ConvGroups, apply, fade_outside_blocks_
from bigfoot.training.growth import GroupGrowth


def outside(kernel, groups):
    """What a grouped convolution could not say of a kernel, element by element."""
    rows, columns = kernel.shape[0] // groups, kernel.shape[1] // groups
    return torch.stack([
        kernel[row, column]
        for row in range(kernel.shape[0]) for column in range(kernel.shape[1]) if row // rows != column // columns
    ])  # fmt: skip


def kernels(model):
    return [layer.conv.weight.detach().clone() for layer in model.speech_encoder.feature_encoder]


@pytest.mark.parametrize("sharing", [None, [[1, 2]]])
def test_what_is_outside_the_blocks_fades_evenly_to_nothing(build_model, sharing):
    model, groups = build_model("base", conv_sharing=sharing), [1, 2, 2, 4, 4, 2, 2]
    before, growth = kernels(model), GroupGrowth(groups, 2, 6)
    for step in range(1, 9):
        growth.after_step_(model, step)
        for layer in range(1, 7):
            now, begun = kernels(model)[layer], before[layer]
            expected = growth.share(step) * outside(begun, groups[layer])
            torch.testing.assert_close(outside(now, groups[layer]), expected, rtol=1e-5, atol=1e-7)
    assert growth.may_be_best(6, 9) and not growth.may_be_best(5, 9)


def test_when_it_is_done_slices_are_the_whole(build_model, speech):
    model = build_model("base")
    fade_outside_blocks_(model, [1] + [2] * 6, 0.0)
    grouped, _ = apply(model, ConvGroups(2))
    with torch.no_grad():
        torch.testing.assert_close(grouped(speech[0]).logits, model(speech[0]).logits, rtol=0, atol=1e-5)
