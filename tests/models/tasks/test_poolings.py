"""Poolings against plain loops over the real frames."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.models.tasks.pooling.registry import POOLINGS
from bigfoot.models.tasks.shape import POOLING_NAMES

PLAIN = {
    "mean": lambda frames: frames.mean(0),
    "max": lambda frames: frames.max(0),
    "last": lambda frames: frames[-1],
    "statistics": lambda frames: np.concatenate([frames.mean(0), np.sqrt(frames.var(0) + 1e-5)]),
}


def test_every_name_has_its_pooling():
    assert tuple(POOLINGS) == POOLING_NAMES


@pytest.mark.slow
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 3), st.integers(0, 10_000))
def test_padding_of_any_value_is_in_no_vector(lengths, extra, seed):
    rng = np.random.default_rng(seed)
    size = max(lengths) + extra
    frames = rng.normal(3.0, 2.0, (len(lengths), size, 4)).astype(np.float32)
    mask = np.arange(size) < np.array(lengths)[:, None]
    frames[~mask] = rng.choice([np.nan, np.inf, 1e30])
    for name, plain in PLAIN.items():
        found = POOLINGS[name](4)(torch.from_numpy(frames), torch.from_numpy(mask)).vectors
        for row, length in enumerate(lengths):
            np.testing.assert_allclose(found[row].numpy(), plain(frames[row, :length]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_sums_each_part_by_its_own_shares(heads):
    torch.manual_seed(0)
    pooling = POOLINGS["attention"](4, heads)
    frames, mask = torch.randn(2, 5, 4), torch.arange(5) < torch.tensor([[5], [3]])
    frames[1, 3:] = torch.nan
    vectors, weights = pooling(frames, mask)
    assert weights.shape == (2, heads, 5) and not weights[1, :, 3:].any()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, heads))
    for head in range(heads):
        part = slice(head * 4 // heads, (head + 1) * 4 // heads)
        expected = (weights[1, head, :3, None] * frames[1, :3, part]).sum(0)
        torch.testing.assert_close(vectors[1, part], expected)


@pytest.mark.parametrize("name", POOLING_NAMES)
def test_an_utterance_without_a_frame_is_zeros_and_trains(name):
    pooling = POOLINGS[name](4)
    frames = torch.randn(2, 3, 4, requires_grad=True)
    vectors = pooling(frames, torch.tensor([[True, True, False], [False, False, False]])).vectors
    assert not vectors[1].any() and vectors[0].any()
    vectors.square().sum().backward()
    assert frames.grad.isfinite().all()
    assert not frames.grad[1].any() and not frames.grad[0, 2].any()


@pytest.mark.slow
def test_attention_finds_the_planted_frames():
    """A signal stands at a random place among noise; the shares of its frames go from chance to most."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    pooling, output = POOLINGS["attention"](8), torch.nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*pooling.parameters(), *output.parameters()], lr=3e-2)
    mask = torch.ones(32, 20, dtype=torch.bool)

    def draw():
        frames = torch.randn(32, 20, 8, generator=generator)
        values = 8 * torch.rand(32, generator=generator) - 4
        places = torch.randint(0, 20, (32,), generator=generator)
        frames[torch.arange(32), places, 0] = 6.0
        frames[torch.arange(32), places, 1] = values
        return frames, values, places

    for _ in range(300):
        frames, values, _ = draw()
        loss = torch.nn.functional.mse_loss(output(pooling(frames, mask).vectors)[:, 0], values)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    frames, values, places = draw()
    vectors, weights = pooling(frames, mask)
    assert weights[torch.arange(32), 0, places].mean() > 0.8
    assert (output(vectors)[:, 0] - values).abs().mean() < 0.5
