"""Frames of one rate brought to another: against a plain loop over times, and whatever the padding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.distill.resampling import resample_log_probs, resample_states, resampling_weights
from bigfoot.models.frames.timing import FrameTiming, frame_timing
from bigfoot.models.shape import Shape

periods = st.sampled_from([160.0, 320.0, 640.0, 1280.0, 500.0])


def loop_over_times(lengths, width, given, wanted, frames):
    """The same by the definition, a frame at a time."""
    rows = []
    for length in lengths:
        for frame in range(frames):
            here = wanted.first + wanted.period * frame
            reach, row = max(given.period, wanted.period), [0.0] * width
            gaps = [abs(given.first + given.period * place - here) for place in range(length)]
            for place, gap in enumerate(gaps):
                row[place] = max(0.0, 1.0 - gap / reach)
            if length and sum(row) < 1e-9:
                row[gaps.index(min(gaps))] = 1.0
            rows.append([share / (sum(row) or 1.0) for share in row])
    return torch.tensor(rows).view(len(lengths), frames, width)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=3), periods, periods, st.integers(1, 30),
    st.floats(0, 900), st.floats(0, 900), st.integers(0, 3),
)  # fmt: skip
def test_shares_are_those_of_a_plain_loop(lengths, one, other, frames, first, wanted_first, padding):
    width = max(1, *lengths) + padding
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    given, wanted = FrameTiming(one, first), FrameTiming(other, wanted_first)
    found = resampling_weights(mask, given, wanted, frames)
    torch.testing.assert_close(found, loop_over_times(lengths, width, given, wanted, frames), atol=1e-5, rtol=0)
    sums = (torch.tensor(lengths) > 0).float()[:, None].expand(-1, frames)
    torch.testing.assert_close(found.sum(-1), sums, atol=1e-5, rtol=0)


def test_centres_of_slower_frames_meet_those_of_faster_ones():
    # 40 ms frames that stand at 0, 640, ...; 20 ms frames of wav2vec2, centred at 199.5, 519.5, ...
    weights = resampling_weights(torch.ones(1, 3, dtype=torch.bool), FrameTiming(640.0, 0.0), frame_timing(Shape()), 4)
    peak = weights[0] @ torch.tensor([0.0, 640.0, 1280.0])
    torch.testing.assert_close(peak, torch.tensor([199.5, 519.5, 839.5, 1159.5]))


def test_posteriors_stay_posteriors_and_padding_stays_out():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 5, 4).log_softmax(-1)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    timings = FrameTiming(640.0, 0.0), FrameTiming(320.0, 199.5)
    found = resample_log_probs(log_probs, resampling_weights(mask, *timings, 9))
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(2, 9))
    alone = resample_log_probs(log_probs[1:, :3], resampling_weights(mask[1:, :3], *timings, 9))
    torch.testing.assert_close(found[1:], alone)
    hostile = log_probs.clone()
    hostile[1, 3:] = math.nan
    together = resample_states(hostile, resampling_weights(mask, *timings, 9))
    single = resample_states(log_probs[1:, :3], resampling_weights(mask[1:, :3], *timings, 9))
    torch.testing.assert_close(together[1:], single)


@pytest.mark.parametrize("token", [0, 2])
def test_a_peak_of_a_fast_teacher_is_in_some_frame_of_a_slow_student(token):
    log_probs = torch.full((1, 8, 3), 1e-9)
    log_probs[..., 1] = 1.0
    log_probs[0, 3] = torch.nn.functional.one_hot(torch.tensor(token), 3) + 1e-9
    mask = torch.ones(1, 8, dtype=torch.bool)
    weights = resampling_weights(mask, FrameTiming(320.0, 0.0), FrameTiming(1280.0, 0.0), 2)
    found = resample_log_probs(log_probs.log(), weights).exp()
    assert found[0, :, token].max() > 0.05
