"""Positional convolutions: a stack of narrow ones, and one behind a batch norm."""

import pytest
import torch

from bigfoot.models import BigfootConfig
from bigfoot.models.positional import PositionalConv, PositionalConvStack, build_positional_conv

SHAPE = {"hidden_size": 8, "num_attention_heads": 2, "num_conv_pos_embedding_groups": 2}
KINDS = {
    "one": {"num_conv_pos_embeddings": 6},
    "one, odd": {"num_conv_pos_embeddings": 7},
    "batch norm": {"num_conv_pos_embeddings": 6, "conv_pos_batch_norm": True},
    "stack": {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5},
    "stack, even": {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 4},
}


@pytest.fixture(params=KINDS)
def conv(request):
    torch.manual_seed(0)
    made = build_positional_conv(BigfootConfig(**SHAPE, **KINDS[request.param]))
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean += 1.0
    return made


def test_kinds():
    kinds = [type(build_positional_conv(BigfootConfig(**SHAPE, **fields))) for fields in KINDS.values()]
    assert kinds == [PositionalConv] * 3 + [PositionalConvStack] * 2


def test_frames_stay_as_many_and_depend_on_no_padding(conv):
    x = torch.randn(1, 20, 8)
    mask = torch.arange(20)[None] < 13
    with torch.no_grad():
        alone = conv(x[:, :13])
        assert alone.shape == (1, 13, 8)
        assert conv(x).shape == x.shape
        torch.testing.assert_close(conv(x * mask[..., None], mask)[:, :13], alone)


def test_training_leaves_the_stored_statistics_and_ignores_the_batch(conv):
    x = torch.randn(3, 20, 8)
    before = {name: buffer.clone() for name, buffer in conv.named_buffers()}
    conv.train()
    together = conv(x)
    for row in range(3):
        torch.testing.assert_close(conv(x[row : row + 1])[0], together[row])
    assert all(torch.equal(buffer, before[name]) for name, buffer in conv.named_buffers())
    together.square().mean().backward()
    assert all(parameter.grad is not None for parameter in conv.parameters())


def test_how_far_a_stack_reaches():
    """Three kernels of 5 reach 6 frames to either side; their norms mix channels, never frames."""
    torch.manual_seed(0)
    conv = build_positional_conv(BigfootConfig(**SHAPE, **KINDS["stack"]))
    x = torch.randn(1, 31, 8, requires_grad=True)
    conv(x)[0, 15].sum().backward()
    reached = x.grad[0].abs().sum(-1) > 0
    assert reached.nonzero().flatten().tolist() == list(range(9, 22))
