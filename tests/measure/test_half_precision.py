import torch
from torch import nn

from bigfoot.measure.half_precision import WRONG, ProneConv, measure_half_precision_error


class Forgetful(nn.Linear):
    """Right in fp32, and something else under autocast."""

    def forward(self, x):
        return -super().forward(x) if torch.is_autocast_enabled("cpu") else super().forward(x)


def test_rounding_is_no_error_and_another_answer_is():
    torch.manual_seed(0)
    rounded = measure_half_precision_error(nn.Linear(16, 16), 16, torch.bfloat16)
    assert 0 < rounded < WRONG / 5
    assert abs(measure_half_precision_error(Forgetful(16, 16), 16, torch.bfloat16) - 2.0) < WRONG


def test_the_prone_convolution_keeps_its_shape_and_moves_no_generator():
    conv = ProneConv()
    assert conv(torch.zeros(2, 50, ProneConv.SIZE)).shape == (2, 50, ProneConv.SIZE)
    before = torch.get_rng_state()
    # Whether it is wrong is the machine's affair; that it is judged is ours.
    assert measure_half_precision_error(conv, ProneConv.SIZE, torch.bfloat16) >= 0
    assert torch.equal(before, torch.get_rng_state())
