"""Padding before the audio, behind it, on both sides: the answer is that of the utterance alone; holes are refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import DataError
from bigfoot.models.padding import bring_to_front
from tests.refusals import refused

INT8 = {"small_weights": {"precision": "int8_dynamic"}}
SHAPES = {
    "base": ("base", {}),
    "large-lv60": ("large-lv60", {}),
    "hubert": ("hubert", {}),
    "hubert-batch-norm": ("hubert-batch-norm", {}),
    "wavlm": ("wavlm", {}),
    "wavlm-large": ("wavlm-large", {}),
    "data2vec": ("data2vec", {}),
    "grouped, fewer frames": ("base", {"conv_groups": [1, 2, 2, 2, 2, 2, 2], "time_reduction": 2}),
    "int8": ("base", INT8),
    "decoder": ("base", {"decoder": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "fuse": "attention",
                                     "streams": ["encoder", "layers", "fbank", "posteriors"]}}),
}  # fmt: skip
BEFORE = (0, 1777, 640, 3)
"""Samples of padding before each row's audio."""


@pytest.fixture(scope="module", params=SHAPES)
def model(request, build_model):
    structure, changes = SHAPES[request.param]
    return build_model(structure, **changes)


@pytest.fixture(scope="module")
def utterances(speech):
    wave = max(speech, key=lambda each: each.shape[1])[0]
    return [wave[:16_000], wave[2_000:9_001], wave[5_000:5_401], wave[:12_345]]


def place(utterances, before, size):
    """(B, N) with each utterance at its place, noise around it, and the mask."""
    values = 9 * torch.randn(len(utterances), size, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(values.shape, dtype=torch.bool)
    for row, (wave, start) in enumerate(zip(utterances, before, strict=True)):
        values[row, start : start + len(wave)] = wave
        mask[row, start : start + len(wave)] = True
    return values, mask


def answers(output):
    named = {"logits": output.logits, "last": output.last_hidden_state, "convs": output.conv_features}
    named |= {f"layer {index}": state for index, state in enumerate(output.hidden_states)}
    named |= {f"attention {index}": maps for index, maps in enumerate(output.attentions)}
    return named | ({} if output.memory is None else {"memory": output.memory})


@torch.no_grad()
def ask(model, values, mask=None):
    return model(values, mask, output_hidden_states=True, output_attentions=True, output_memory=True)


@pytest.mark.grid
@pytest.mark.parametrize("kind", [torch.bool, torch.long, torch.float32])
def test_padding_anywhere_is_padding_at_the_end(model, utterances, kind):
    size = 19_000
    before, mask = place(utterances, BEFORE, size)
    behind, mask_behind = place(utterances, (0,) * len(utterances), size)
    there, here = ask(model, before, mask.to(kind)), ask(model, behind, mask_behind)
    assert torch.equal(there.frame_mask, here.frame_mask)
    for (name, one), two in zip(answers(there).items(), answers(here).values(), strict=True):
        assert torch.equal(one[~one.isnan()], two[~two.isnan()]), name


def test_a_left_padded_row_is_the_row_alone(model, utterances):
    values, mask = place(utterances, [19_000 - len(wave) for wave in utterances], 19_000)
    batch = ask(model, values, mask)
    for row, wave in enumerate(utterances):
        alone = ask(model, wave[None])
        frames = alone.logits.shape[1]
        assert int(batch.frame_mask[row].sum()) == frames and batch.frame_mask[row, :frames].all()
        pairs = zip([batch.logits, *batch.hidden_states], [alone.logits, *alone.hidden_states], strict=True)
        for here, there in pairs:  # rounding grows with the numbers, and processors sum in orders of their own
            assert (here[row, :frames] - there[0]).abs().max() < 1e-5 * there.abs().max().clamp(min=1)


def test_training_on_left_padded_audio(build_model, utterances):
    model = build_model("wavlm").train()
    labels = torch.tensor([[5, 6, 7], [8, -100, -100], [9, -100, -100], [5, 5, -100]])
    gradients = []
    for before in (BEFORE, (0, 0, 0, 0)):
        model.zero_grad()
        model(*place(utterances, before, 19_000), labels=labels).loss.backward()
        gradients.append([each.grad.clone() for each in model.parameters() if each.grad is not None])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


@pytest.mark.parametrize("holes", [[(400, 500)], [(100, 101), (900, 1000)]])
def test_a_mask_with_holes_is_refused(build_model, holes):
    mask = torch.ones(2, 2_000, dtype=torch.long)
    for start, end in holes:
        mask[1, start:end] = 0
    with refused(DataError, "1"):
        build_model()(torch.zeros(2, 2_000), mask)


def test_a_mask_of_another_shape_is_refused(build_model):
    with pytest.raises(DataError):
        build_model()(torch.zeros(2, 2_000), torch.ones(2, 6))


@pytest.mark.parametrize("padding, real", [(0, 2), (0, 0.5), (-1e4, 0), (float("-inf"), 0), (float("nan"), 1), (-1, 1)])
def test_a_mask_of_other_values_is_refused(build_model, padding, real):
    mask = torch.full((2, 2_000), float(padding))
    mask[:, :1_500] = real
    with pytest.raises(DataError):
        build_model()(torch.zeros(2, 2_000), mask)


ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=4)


@settings(max_examples=60)
@given(rows=ROWS, compiled=st.booleans())
def test_samples_are_moved_and_not_changed(rows, compiled):
    """Also in the way that waits for no GPU: by the same indices whatever the mask."""
    size = max(1, *(sum(row) for row in rows))
    values = torch.arange(1.0, len(rows) * size + 1).reshape(len(rows), size)
    mask = torch.zeros(values.shape, dtype=torch.bool)
    for row, (before, real, _) in enumerate(rows):
        mask[row, before : before + real] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: compiled)
        moved, front = bring_to_front(values, mask, training=True)
    for row, (before, real, _) in enumerate(rows):
        assert front[row].tolist() == [True] * real + [False] * (size - real)
        assert torch.equal(moved[row, :real], values[row, before : before + real])


def test_a_row_of_no_real_sample_has_no_frame_and_changes_no_other(model, utterances):
    values, mask = place(utterances, BEFORE, 19_000)
    for real in (0, 399):
        mask[1] = torch.arange(19_000) < real
        there = ask(model, values, mask)
        without = ask(model, values[[0, 2, 3]], mask[[0, 2, 3]])
        assert there.frame_mask.sum(-1)[1] == 0 and there.logits.isfinite().all()
        frames = without.logits.shape[1]
        assert torch.allclose(there.logits[[0, 2, 3], :frames], without.logits, atol=1e-5)
