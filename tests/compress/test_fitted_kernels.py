"""Kernels fitted by least squares, for groups and for sharing, against numpy's and against what must come out."""

import re

import numpy as np
import pytest
import torch

from bigfoot.compress import conv_groups, conv_sharing
from bigfoot.compress.conv_groups import ConvGroups
from bigfoot.compress.conv_sharing import ConvSharing
from bigfoot.compress.least_squares import kernel_to_matrix, matrix_to_kernel, without_bias
from bigfoot.measure.feature_error import measure_feature_error
from bigfoot.models.feature_encoder import PaddedAudio
from tests.codes import refusing

EVEN = {"conv_dim": [8] * 7}


def pad(waves, garbage=0.0):
    longest = max(wave.shape[1] for wave in waves) + 999
    values = torch.full((len(waves), longest), garbage)
    mask = torch.zeros(len(waves), longest, dtype=torch.bool)
    for row, wave in enumerate(waves):
        values[row, : wave.shape[1]], mask[row, : wave.shape[1]] = wave[0], True
    return PaddedAudio(values, mask)


@pytest.fixture(scope="module")
def audio(speech):
    return [pad(speech[:2]), pad(speech[2:] or speech[:1])]


def kernels(model):
    return [layer.conv.weight.detach() for layer in model.speech_encoder.feature_encoder]


def inputs_of(model, wave, index):
    """What convolution ``index`` is given, (1, C, T)."""
    x = wave.unsqueeze(1)
    for layer in list(model.speech_encoder.feature_encoder)[:index]:
        x = layer(x, None)
    return x


def rows(x, layer):
    """(frames, channels, width), cut out one by one."""
    width, stride = layer.conv.kernel_size[0], layer.conv.stride[0]
    return np.stack([x[0, :, t : t + width].numpy() for t in range(0, x.shape[2] - width + 1, stride)])


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_kernels_become_matrices_and_back(groups):
    kernel = torch.randn(8, 8 // groups, 3)
    assert torch.equal(matrix_to_kernel(kernel_to_matrix(kernel, groups), 3), kernel)


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_each_group_is_numpys_least_squares(build_model, speech, structure):
    """Layer 1, whose inputs are the teacher's own: group by group, frame by frame."""
    teacher = build_model(structure, **EVEN)
    student, _ = conv_groups.apply(teacher, ConvGroups(2, "least_squares"), [pad(speech)])
    original = teacher.speech_encoder.feature_encoder.conv_layers[1]
    with torch.no_grad():
        seen = [inputs_of(teacher, wave, 1) for wave in speech]
        wanted = np.concatenate([without_bias(original, x)[0].T.numpy() for x in seen])
    inputs = np.concatenate([rows(x, original) for x in seen])
    for group in range(2):
        block = inputs[:, 4 * group : 4 * group + 4].reshape(len(inputs), -1)
        solved = np.linalg.lstsq(block.astype(np.float64), wanted[:, 4 * group : 4 * group + 4], rcond=None)[0]
        ours = kernels(student)[1][4 * group : 4 * group + 4].flatten(1).T.numpy()
        np.testing.assert_allclose(ours, solved, rtol=0, atol=2e-3 * np.abs(solved).max())


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["base", "large-lv60"])
@pytest.mark.parametrize("count", [2, 4])
def test_fitted_groups_start_closer_than_slices(build_model, audio, structure, count):
    teacher = build_model(structure, **EVEN)
    made = {init: conv_groups.apply(teacher, ConvGroups(count, init), audio)[0] for init in conv_groups.CONV_INITS}
    errors = {init: measure_feature_error(student, teacher, audio) for init, student in made.items()}
    assert errors["least_squares"] < 0.9 * errors["slice"], errors
    assert {student.config.groups_of_convs[1] for student in made.values()} == {count}


@pytest.mark.slow
def test_what_groups_can_express_is_expressed_exactly(build_model, audio):
    """A teacher that is block-diagonal but for its shape loses nothing, whatever the beginning."""
    teacher = build_model("base", **EVEN)
    groups = [1] + [2] * 6
    conv_groups.fade_outside_blocks_(teacher, groups, 0.0)
    for init in conv_groups.CONV_INITS:
        student, _ = conv_groups.apply(teacher, ConvGroups(2, init), audio)
        assert measure_feature_error(student, teacher, audio) < 1e-6, init


def test_padding_is_not_fitted(build_model, speech):
    teacher = build_model("base", **EVEN)
    fitted = [
        conv_groups.apply(teacher, ConvGroups(2, "least_squares"), batches)[0]
        for batches in ([pad([wave]) for wave in speech], [pad(speech)], [pad(speech, garbage=0.7)])
    ]
    for other in fitted[1:]:
        for one, two in zip(kernels(fitted[0]), kernels(other), strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-3 * float(one.abs().max()))


def test_permuted_slices_keep_more_and_say_so(build_model):
    teacher = build_model("base", **EVEN)
    _, change = conv_groups.apply(teacher, ConvGroups(2, "permute"))
    after, before = (int(share) for share in re.findall(r"(\d+)%", change.kept[0]))
    assert after > before


def test_what_a_beginning_needs(build_model):
    teacher = build_model("base", **EVEN)
    with refusing(("init", "no_audio")):
        conv_groups.apply(teacher, ConvGroups(2, "least_squares"))
    with refusing(("init", "unknown_word")):
        conv_groups.apply(teacher, ConvGroups(2, "best"))
    grouped, _ = conv_groups.apply(teacher, ConvGroups(2))
    with refusing(("init", "not_dense")):
        conv_groups.apply(grouped, ConvGroups(4, "permute"))
    with refusing(("init", "unknown_word")):
        conv_sharing.apply(teacher, ConvSharing([[1, 2]], "sum"))
    with refusing(("init", "no_audio")):
        conv_sharing.apply(teacher, ConvSharing([[1, 2]], "least_squares"))


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60"])
def test_shared_kernels_begin_as_asked(build_model, audio, structure):
    teacher = build_model(structure, **EVEN)
    k = kernels(teacher)
    expected = {"mean": (k[1] + k[2] + k[4]) / 3, "first": k[1], "last": k[4]}
    errors = {}
    for init in conv_sharing.SHARING_INITS:
        student, change = conv_sharing.apply(teacher, ConvSharing([[1, 2, 4], [5, 6]], init), audio)
        errors[init] = measure_feature_error(student, teacher, audio)
        ours = kernels(student)
        assert ours[1] is not None and torch.equal(ours[1], ours[4])
        if init in expected:
            torch.testing.assert_close(ours[1], expected[init], rtol=0, atol=1e-7)
        assert torch.equal(ours[3], k[3])
        assert change.dropped == [f"{2 * 8 * 8 * 3 + 8 * 8 * 2:,} convolution weights"]
    assert errors["least_squares"] < min(errors[init] for init in expected), errors


@pytest.mark.slow
def test_a_shared_kernel_is_numpys_least_squares_over_all_members(build_model, speech):
    teacher = build_model("base", **EVEN)
    student, _ = conv_sharing.apply(teacher, ConvSharing([[1, 3]], "least_squares"), [pad(speech)])
    inputs, targets = [], []
    for index in (1, 3):
        layer = teacher.speech_encoder.feature_encoder.conv_layers[index]
        with torch.no_grad():
            seen = [inputs_of(teacher, wave, index) for wave in speech]
            wanted = np.concatenate([without_bias(layer, x)[0].T.numpy() for x in seen]).astype(np.float64)
        scale = 1 / np.sqrt((wanted**2).sum())
        inputs.append(scale * np.concatenate([rows(x, layer) for x in seen]).reshape(len(wanted), -1))
        targets.append(scale * wanted)
    solved = np.linalg.lstsq(np.concatenate(inputs), np.concatenate(targets), rcond=None)[0]
    ours = kernels(student)[1].flatten(1).T.numpy()
    np.testing.assert_allclose(ours, solved, rtol=0, atol=2e-3 * np.abs(solved).max())


def test_members_that_are_equal_stay_as_they_are(build_model, audio):
    teacher = build_model("base", conv_sharing=[[1, 2, 3]], **EVEN)
    student, _ = conv_sharing.apply(teacher, ConvSharing([[1, 2, 3]], "least_squares"), audio)
    assert measure_feature_error(student, teacher, audio) < 1e-6


def test_the_error_is_that_of_single_unpadded_utterances(build_model, speech):
    one, two = build_model("base"), build_model("base", seed=5)
    error = energy = 0.0
    with torch.no_grad():
        for wave in speech:
            ours, theirs = one(wave).conv_features, two(wave).conv_features
            error, energy = error + float((ours - theirs).square().sum()), energy + float(theirs.square().sum())
    assert measure_feature_error(one, two, [pad(speech, garbage=3.0)]) == pytest.approx(error / energy, rel=1e-4)
