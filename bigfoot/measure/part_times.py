"""The time of any shape from a table of its parts, measured on this machine: convolutions, attention, feed-forward.

What a search asks of thousands of shapes cannot be measured one by one. The parts of a shape are few, and between the
sizes that were measured the time of each is interpolated.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.measure.speed import make_samples, name_processor, run_pass, time_rounds, torch_threads
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import ConvLayer, FeatureProjection
from bigfoot.models.positional import build_positional_conv
from bigfoot.models.reshape import reshape_config
from bigfoot.models.transformer import EncoderLayer
from bigfoot.progress import show_work
from bigfoot.storage.state import read_state, write_state
from bigfoot.types import SAMPLE_RATE, Seconds

Part = tuple[str, tuple[int, ...]]
"""A part by its name and its sizes."""
Axes = Mapping[str, Sequence[Sequence[int]]]
"""For each part, the sizes that its dimensions can have, ascending."""
_POINTS = 3


def list_parts(shape: BigfootConfig) -> list[Part]:
    """List the parts of a shape, one after the other.

    Args:
        shape: of convolutions and plain transformer layers.

    Raises:
        UnfitError: its layers or its front end are of another kind.

    Examples:
        >>> parts = list_parts(BigfootConfig(num_hidden_layers=1))
        >>> parts[1], parts[-2]
        (('conv 1', (512, 512)), ('feed_forward', (768, 3072)))
    """
    plain = shape.has_convolutions and not shape.is_conformer and not shape.is_disentangled
    if not plain or shape.has_position_bias or shape.squeeze_factor > 1 or shape.time_reduction > 1:
        message = f"no table of speeds for the layers of this {shape.family}; bound it by --max-macs"
        raise UnfitError(Problem("--max-rtf", "no_table", message))
    channels, width = [1, *shape.conv_dim], shape.hidden_size
    parts: list[Part] = [(f"conv {i}", (channels[i], channels[i + 1])) for i in range(shape.num_conv_layers)]
    parts += [("projection", (shape.feature_size, width)), ("positional", (width,))]
    for heads, units in zip(shape.heads_of_layers, shape.widths_of_layers, strict=True):
        parts += [("attention", (width, heads))] * (heads > 0) + [("feed_forward", (width, units))] * (units > 0)
    return [*parts, ("head", (width,))] if shape.ctc_head else parts


@dataclass
class _Times:
    """What is kept of a table.

    Args:
        machine: processor and library.
        seconds: of audio.
        times: seconds of one pass by the text of a part.
    """

    machine: str
    seconds: Seconds
    times: dict[str, Seconds] = field(default_factory=dict)


class SpeedTable:
    """Times of parts on this machine, one thread, batch 1, in fp32; kept in a file under the processor's name.

    Times are those of the processor, so that other work beside it changes them little.

    Args:
        shape: of the supernet, which all others are narrower than.
        axes: sizes of each part that shapes can have; the first, the last and one between are measured.
        file: where times are kept; None for nowhere.
        seconds: audio of a pass.
        rounds: of each measurement.
    """

    def __init__(
        self, shape: BigfootConfig, axes: Axes, file: Path | None = None, *, seconds: Seconds = 5.0, rounds: int = 5
    ) -> None:
        self.shape, self._file, self._rounds = shape, file, rounds
        self.axes = {name: [_thin(each) for each in dims] for name, dims in axes.items()}
        kept = _Times(f"{name_processor()}, torch {torch.__version__}", seconds)
        found = None if file is None else read_state(file, _Times)[0]
        # Of another machine, or of other audio, nothing is of use.
        self._kept = found if found and (found.machine, found.seconds) == (kept.machine, kept.seconds) else kept
        self._line = (1.0, 0.0)

    def measure(self, ends: Iterable[BigfootConfig]) -> None:
        """Measure all that is missing, and fit the sum of the parts to whole models.

        Args:
            ends: two shapes far apart, the larger first.
        """
        parts = [(name, sizes) for name, dims in self.axes.items() for sizes in product(*dims)]
        missing = [part for part in parts if _key(part) not in self._kept.times]
        wholes = {f"whole {index}": shape for index, shape in enumerate(ends)}
        with show_work("measuring parts", len(missing) + len(wholes), "parts", live=False) as work:
            for part in missing:
                self._kept.times[_key(part)] = self._time(self._build(part))
                work.advance()
            whole = [self._whole(shape, work.advance) for shape in wholes.values()]
        if self._file is not None:
            write_state(self._file, self._kept)
        sums = [self._sum(shape) for shape in wholes.values()]
        if len(whole) == 2 and sums[0] > 1.05 * sums[1] and whole[0] > whole[1]:
            slope = (whole[0] - whole[1]) / (sums[0] - sums[1])
            self._line = slope, whole[0] - slope * sums[0]
        elif whole:
            self._line = whole[0] / sums[0], 0.0

    def _whole(self, shape: BigfootConfig, advance: Callable[[], None]) -> Seconds:
        key = f"whole {shape.to_json_string()}"
        if key not in self._kept.times:
            model = BigfootForCTC(shape).eval()
            self._kept.times[key] = self._time(partial(run_pass, model, make_samples(self._kept.seconds)))
        advance()
        return self._kept.times[key]

    @torch.no_grad()
    def _time(self, run: Callable[[], object]) -> Seconds:
        with torch_threads(1):
            return statistics.median(time_rounds({"": run}, self._rounds, clock=time.process_time)[""])

    def predict(self, shape: BigfootConfig) -> float:
        """Return the real-time factor of a shape: seconds of one thread per second of audio.

        Args:
            shape: within the axes.
        """
        slope, offset = self._line
        return max(1e-9, slope * self._sum(shape) + offset) / self._kept.seconds

    def _sum(self, shape: BigfootConfig) -> Seconds:
        return sum(self._look_up(part) for part in list_parts(shape))

    def _look_up(self, part: Part) -> Seconds:
        name, sizes = part
        return interpolate(self.axes[name], lambda point: self._kept.times[_key((name, point))], sizes)

    def _build(self, part: Part) -> Callable[[], object]:
        """Build one part with random weights; return its pass on random input."""
        name, sizes = part
        frames = [round(self._kept.seconds * SAMPLE_RATE)]
        for kernel, stride in zip(self.shape.conv_kernel, self.shape.conv_stride, strict=True):
            frames.append((frames[-1] - kernel) // stride + 1)
        if name.startswith("conv "):
            index, channels = int(name.split()[1]), list(self.shape.conv_dim)
            channels[index] = sizes[1]
            if index:
                channels[index - 1] = sizes[0]
            conv = ConvLayer(reshape_config(self.shape, conv_dim=channels), index).eval()
            return partial(conv, torch.randn(1, sizes[0], frames[index]), None)
        if name == "projection":
            channels = [*self.shape.conv_dim[:-1], sizes[0]]
            projection = FeatureProjection(reshape_config(_narrow(self.shape, sizes[1]), conv_dim=channels)).eval()
            return partial(projection, torch.randn(1, frames[-1], sizes[0]))
        x = torch.randn(1, frames[-1], sizes[0])
        if name == "positional":
            return partial(build_positional_conv(_narrow(self.shape, sizes[0])).eval(), x)
        if name == "head":
            return partial(torch.nn.Linear(sizes[0], self.shape.vocab_size), x)
        return _build_block(self.shape, name, sizes, x)


def _build_block(shape: BigfootConfig, name: str, sizes: tuple[int, ...], x: Tensor) -> Callable[[], object]:
    heads, units = (sizes[1], 0) if name == "attention" else (0, sizes[1])
    layer = EncoderLayer(_narrow(shape, sizes[0], heads, units), 0).eval()
    return partial(layer, x, None, False)


def _narrow(shape: BigfootConfig, width: int, heads: int = 1, units: int = 0) -> BigfootConfig:
    """Return the shape of one layer of some width."""
    return reshape_config(
        shape, num_hidden_layers=1, hidden_size=width, num_attention_heads=width // shape.head_dim,
        layer_num_attention_heads=[heads], layer_intermediate_sizes=[units], attention_reuse=None, layer_ranks=None,
    )  # fmt: skip


def _thin(sizes: Sequence[int]) -> list[int]:
    """Return the first, the last, and one between."""
    ordered = sorted(set(sizes))
    return ordered if len(ordered) <= _POINTS else [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def _key(part: Part) -> str:
    return f"{part[0]} {'x'.join(map(str, part[1]))}"


def interpolate(
    axes: Sequence[Sequence[int]], value: Callable[[tuple[int, ...]], float], point: Sequence[int]
) -> float:
    """Interpolate on a grid, along each axis in turn; beyond its ends the nearest end counts.

    Args:
        axes: ascending.
        value: at a point of the grid.
        point: where.

    Examples:
        >>> interpolate([[0, 10], [0, 2]], lambda at: at[0] * at[1], [5, 1])
        5.0
    """
    if not axes:
        return float(value(()))
    axis, here = axes[0], min(max(point[0], axes[0][0]), axes[0][-1])
    upper = next(index for index, size in enumerate(axis) if size >= here)
    low, high = axis[max(0, upper - 1)], axis[upper]

    def rest(size: int) -> float:
        return interpolate(axes[1:], lambda more: value((size, *more)), point[1:])

    if high in (low, here):
        return rest(high)
    share = (here - low) / (high - low)
    return (1 - share) * rest(low) + share * rest(high)
