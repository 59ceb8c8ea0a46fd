import math

import torch

from bigfoot.models.decoders.shape import DecoderShape
from bigfoot.models.decoders.streams import AudioStreams, Sizes, StreamInputs

SIZES = Sizes(encoder=6, num_states=3, vocab=5, window=400, hop=320)


def as_output(frames, mask=None):
    return StreamInputs(torch.zeros(1, 10), frames, None, None, mask)


@torch.no_grad()
def test_every_frame_has_its_time():
    streams = AudioStreams(DecoderShape(hidden_size=8, num_heads=2), SIZES, 8)
    memory, _ = streams(as_output(torch.zeros(1, 4, 6)))
    differences = memory[0] - streams.projections["encoder"].bias
    for frame in range(4):
        angles = [frame / 10_000 ** (i / 4) for i in range(4)]
        expected = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        torch.testing.assert_close(differences[frame], torch.tensor(expected), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_time_begins_with_the_first_real_frame():
    streams = AudioStreams(DecoderShape(hidden_size=8, num_heads=2), SIZES, 8)
    frames = torch.randn(1, 5, 6, generator=torch.Generator().manual_seed(0))
    alone, _ = streams(as_output(frames))
    padded, mask = streams(as_output(torch.nn.functional.pad(frames, (0, 0, 3, 0)), torch.arange(8)[None] >= 3))
    torch.testing.assert_close(padded[:, 3:], alone)
    assert mask.sum() == 5
