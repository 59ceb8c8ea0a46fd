"""Slices of dense kernels: the grouped convolution is exactly the dense one with zeros off its block diagonal."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.compress.conv_groups import ConvGroups, apply, groups_per_conv, slice_groups
from bigfoot.errors import ModelError
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.models.reshape import plain_state
from tests.codes import refusing
from tests.refusals import refused


def expand(weight, groups):
    """The dense kernel of a grouped one, block by block."""
    out, width = weight.shape[0] // groups, weight.shape[1]
    dense = torch.zeros(weight.shape[0], width * groups, weight.shape[2])
    for group in range(groups):
        rows, columns = slice(group * out, (group + 1) * out), slice(group * width, (group + 1) * width)
        dense[rows, columns] = weight[rows]
    return dense


def block_diagonal(dense, groups):
    """A dense kernel with zeros off its block diagonal, element by element."""
    kept = torch.zeros_like(dense)
    for row in range(dense.shape[0]):
        for column in range(dense.shape[1]):
            if row * groups // dense.shape[0] == column * groups // dense.shape[1]:
                kept[row, column] = dense[row, column]
    return kept


@pytest.mark.slow
@given(
    old_groups=st.integers(1, 4), finer=st.integers(1, 4), wide_in=st.integers(1, 3), wide_out=st.integers(1, 3),
    kernel=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_slice_is_the_block_diagonal(old_groups, finer, wide_in, wide_out, kernel, seed):
    generator = torch.Generator().manual_seed(seed)
    groups = old_groups * finer
    weight = torch.randn(groups * wide_out, finer * wide_in, kernel, generator=generator)
    sliced = slice_groups(weight, old_groups, groups)
    assert sliced.shape == (groups * wide_out, wide_in, kernel)
    dense = block_diagonal(expand(weight, old_groups), groups)
    assert torch.equal(expand(sliced, groups), dense)
    audio = torch.randn(2, groups * wide_in, kernel + 5, generator=generator)
    grouped = torch.nn.functional.conv1d(audio, sliced, groups=groups)
    torch.testing.assert_close(grouped, torch.nn.functional.conv1d(audio, dense), rtol=0, atol=1e-5)


def test_groups_cannot_grow_together():
    with refused(ModelError, "4 groups", 2):
        slice_groups(torch.zeros(8, 2, 3), 4, 2)


BAD = ("conv_groups", "bad_groups")


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", "layer-post"])
@pytest.mark.parametrize("conv_groups", [2, 4, [1, 8, 4, 2, 1, 2, 4]])
def test_a_student_is_its_teacher_with_zeros_off_the_diagonal(build_model, speech, structure, conv_groups):
    teacher = build_model(structure)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    student, change = apply(teacher, ConvGroups(conv_groups))
    groups = student.config.groups_of_convs
    assert groups == ([1] + [conv_groups] * 6 if isinstance(conv_groups, int) else conv_groups)

    here, there = plain_state(student), plain_state(teacher)
    assert here.keys() == there.keys()
    weights = [f"encoder.feature_extractor.conv_layers.{layer}.conv.weight" for layer in range(7)]
    for layer, name in enumerate(weights):
        assert torch.equal(expand(here[name], groups[layer]), block_diagonal(there[name], groups[layer])), layer
    assert all(torch.equal(here[name], there[name]) for name in here if name not in weights)

    masked = BigfootForCTC(teacher.config).eval()
    masked.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        for layer, conv in enumerate(masked.speech_encoder.feature_encoder.conv_layers):
            conv.conv.weight.copy_(block_diagonal(conv.conv.weight, groups[layer]))
        assert (student(speech[0]).logits - masked(speech[0]).logits).abs().max() < 1e-4

    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert teacher.config.conv_groups is None
    assert not student.training
    kept, total = (sum(state[name].numel() for name in weights) for state in (here, there))
    assert change.step == "conv_groups"
    assert change.dropped == [f"{total - kept:,} of {total:,} convolution weights"]


def test_grouping_in_two_steps_is_grouping_in_one(build_model):
    teacher = build_model()
    halfway, _ = apply(teacher, ConvGroups(2))
    twice, once = (apply(model, ConvGroups(4))[0].state_dict() for model in (halfway, teacher))
    assert all(torch.equal(tensor, once[name]) for name, tensor in twice.items())


def test_the_student_shares_no_memory_with_its_teacher(build_model):
    teacher = build_model()
    student, _ = apply(teacher, ConvGroups(2))
    addresses = {parameter.data_ptr() for parameter in teacher.parameters()}
    assert not addresses & {parameter.data_ptr() for parameter in student.parameters()}


@pytest.mark.parametrize(
    "conv_groups",
    [3, 0, -2, [2, 2, 2, 2, 2, 2, 2], [1, 2], "two", [1, 2, 2, 2, 2, 2, "2"], True, 2.0],
)
def test_groups_that_make_no_sense(build_model, conv_groups):
    with refusing(BAD, kind=ModelError):
        apply(build_model(), ConvGroups(conv_groups))


def test_fewer_groups_than_there_are(build_model):
    with refusing(BAD):
        apply(build_model(conv_groups=[1, 2, 2, 2, 2, 2, 2]), ConvGroups(1))


def test_one_number_spares_the_first_convolution():
    assert groups_per_conv(BigfootConfig(), 4) == [1, 4, 4, 4, 4, 4, 4]
    assert groups_per_conv(BigfootConfig(), (1, 2, 4, 8, 1, 1, 1)) == [1, 2, 4, 8, 1, 1, 1]
