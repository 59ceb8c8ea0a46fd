"""Terms for the start from random weights: each against a plain loop over single unpadded utterances."""

import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank

from bigfoot.data.batches import Batch
from bigfoot.distill import AlignmentLoss, IntermediateCTCLoss, LogitKLLoss, LogMelLoss, LossesConfig
from bigfoot.distill.objective import Objective, objective_problems
from bigfoot.distill.terms.alignment import align_frames
from bigfoot.distill.terms.log_mel import log_mels
from bigfoot.models.ctc import compute_ctc_losses
from bigfoot.models.frames.timing import FrameTiming

LENGTHS = (9000, 16_000, 399)
SPANS = [[(0.0, 3000.0), (3000.0, 3000.0), (3500.0, 8000.0)], None, [(0.0, 100.0), (100.0, 200.0), (200.0, 300.0)]]


@pytest.fixture(scope="module")
def batch(speech):
    waves = [speech[index][0, :length] for index, length in zip((0, 1, 0), LENGTHS, strict=True)]
    mask = torch.stack([torch.arange(16_000) < len(wave) for wave in waves])
    values = torch.stack([torch.nn.functional.pad(wave, (0, 16_000 - len(wave))) for wave in waves])
    labels = torch.tensor([[5, 6, 7], [7, 8, -100], [5, 6, 7]])
    times = torch.tensor([spans or [(np.nan, np.nan)] * 3 for spans in SPANS])
    return Batch(values, mask, labels, ["a", "b", "c"], [""] * 3, ["s"] * 3, label_times=times)


@pytest.fixture
def student(build_model):
    return build_model("base", seed=2, num_hidden_layers=3, hidden_size=16, num_attention_heads=2).eval()


def only(**sections):
    return LossesConfig(logit_kl=LogitKLLoss(0.0), **sections)


def frames(length):
    return (length - 400) // 320 + 1


def label_at(sample, spans, labels):
    """The label of the interval that a sample is in, the blank elsewhere."""
    found = [label for (start, end), label in zip(spans, labels, strict=True) if start <= sample < end]
    return found[0] if found else 0


def test_frames_are_compared_with_the_label_at_their_centre(student, batch):
    objective = Objective(only(alignment=AlignmentLoss(1.0)), student, None)
    term, expected = objective(batch, {})["alignment"], 0.0
    wave, labels = batch.input_values[0, :9000], batch.labels[0].tolist()
    logits = student(wave[None]).logits[0].log_softmax(-1)
    for frame in range(frames(9000)):
        expected -= float(logits[frame, label_at(199.5 + 320 * frame, SPANS[0], labels)].detach())
    assert float(term.total.detach()) == pytest.approx(expected, rel=1e-4)
    assert int(term.count) == objective.count_units(batch)["alignment"] == frames(9000)


def test_labels_in_time_are_those_of_a_loop():
    rng = np.random.default_rng(3)
    bounds = np.sort(rng.uniform(0, 900, (4, 12)), axis=1).reshape(4, 6, 2)
    labels = rng.integers(1, 30, (4, 6))
    timing, mask = FrameTiming(40.0, 13.0), torch.arange(25) < torch.tensor([25, 7, 0, 20])[:, None]
    found = align_frames(torch.from_numpy(labels), torch.from_numpy(bounds), mask, timing, 0)
    for row in range(4):
        for frame in range(25):
            expected = label_at(13 + 40 * frame, bounds[row], labels[row]) if mask[row, frame] else -100
            assert found[row, frame] == expected


def test_a_start_fades_and_ends(student, batch):
    objective = Objective(only(alignment=AlignmentLoss(1.0, until_step=4, fade_steps=2)), student, None)
    totals = []
    for _ in range(5):
        totals.append(float(objective(batch, {})["alignment"].total.detach()))
        objective.advance_()
    assert [total / totals[0] for total in totals] == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0])
    without = Batch(**{**vars(batch), "label_times": None})
    assert float(objective(without, {})["alignment"].mean().detach()) == 0.0
    assert objective.count_units(without) == {"alignment": 0}


@pytest.mark.parametrize(("layers", "read"), [([], [1]), ([1, 3], [1, 3])])
def test_intermediate_ctc_is_the_mean_over_heads_of_layers(student, batch, layers, read):
    objective = Objective(only(intermediate_ctc=IntermediateCTCLoss(1.0, layers)), student, None)
    heads, expected = objective.terms["intermediate_ctc"], 0.0
    for row in (0, 1):
        wave, labels = batch.input_values[row, : LENGTHS[row]], batch.labels[row][batch.labels[row] >= 0]
        states = student(wave[None], output_hidden_states=True).hidden_states
        for head, layer in zip(heads, read, strict=True):
            expected += float(compute_ctc_losses(head(states[layer]), labels[None], None, 0).detach()) / len(read)
    term = objective(batch, {})["intermediate_ctc"]
    assert float(term.total.detach()) == pytest.approx(expected, rel=1e-4)
    assert int(term.count) == objective.count_units(batch)["intermediate_ctc"] == 8


def test_log_mels_are_those_of_numpy():
    audio = np.random.default_rng(1).standard_normal((2, 2000)).astype(np.float32)
    found = log_mels(torch.from_numpy(audio), 20, 900, 640)
    filters = mel_filter_bank(257, 20, 20, 8000, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    window = np.hanning(401)[:-1]
    assert found.shape == (2, 2, 4 * 20)
    for row in range(2):
        for frame in range(2):
            for part in range(4):
                first = 640 * frame + 160 * part
                power = np.abs(np.fft.rfft(audio[row, first : first + 400] * window, 512)) ** 2
                ours = found[row, frame, 20 * part : 20 * (part + 1)].numpy()
                np.testing.assert_allclose(ours, np.log(power @ filters + 0.1), rtol=1e-4, atol=1e-4)


def test_log_mels_are_learned_blind_to_padding(student, batch):
    """Zeros behind the end change nothing; a wider batch has the same loss."""
    objective = Objective(only(log_mel=LogMelLoss(1.0)), student, None)
    fields = ("input_values", "attention_mask")
    wider = {name: torch.nn.functional.pad(getattr(batch, name), (0, 3000)) for name in fields}
    padded = Batch(**{**vars(batch), **wider})
    one, two = (float(objective(each, {})["log_mel"].total.detach()) for each in (batch, padded))
    assert two == pytest.approx(one, rel=1e-5) and one > 0


def test_terms_of_the_start_are_refused_where_they_cannot_be(build_model):
    shape = build_model("base", num_hidden_layers=2).config
    headless = build_model("base", num_hidden_layers=2, ctc_head=False).config
    found = [
        (problem.key.removeprefix("distill.losses."), problem.code)
        for losses, student in (
            (only(intermediate_ctc=IntermediateCTCLoss(1.0, [0, 2])), shape),
            (only(intermediate_ctc=IntermediateCTCLoss(1.0, [1, 1])), shape),
            (only(intermediate_ctc=IntermediateCTCLoss(1.0), alignment=AlignmentLoss(1.0)), headless),
        )
        for problem in objective_problems(losses, student, shape)
    ]
    assert found == [
        ("intermediate_ctc.layers", "out_of_range"), ("intermediate_ctc.layers", "repeated"),
        ("intermediate_ctc", "no_student_head"), ("alignment", "no_student_head"),
    ]  # fmt: skip
