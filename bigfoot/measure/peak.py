"""Peak rate of this machine: a large matrix product, to compare a model's own rate with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bigfoot.measure.speed import torch_threads
from bigfoot.types import Seconds

PEAK = ""
"""Name of the matrix product among the passes of a round; no model can have it."""
_SMALLEST, _LARGEST = 1024, 8192
_LONGEST: Seconds = 0.5
_GAIN = 1.05


@dataclass(frozen=True)
class MatrixProduct:
    """A square product in fp32, to be timed in the rounds of the models.

    Args:
        left: (n, n).
        right: (n, n).
        out: (n, n), so that a pass asks for no memory.
    """

    left: torch.Tensor
    right: torch.Tensor
    out: torch.Tensor

    @property
    def size(self) -> int:
        """Rows, and columns, of each matrix."""
        return self.left.shape[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a pass."""
        return self.size**3

    def __call__(self) -> None:
        """Multiply once."""
        torch.mm(self.left, self.right, out=self.out)


def build_product(size: int) -> MatrixProduct:
    """Return a product of two random matrices.

    Args:
        size: rows and columns.

    Examples:
        >>> build_product(8).macs
        512
    """
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, size, size, generator=generator)
    return MatrixProduct(left, right, torch.empty(size, size))


def find_peak_product(threads: int = 1) -> MatrixProduct:
    """Find a product that is large enough: doubling its sides makes it no faster any more.

    Args:
        threads: of torch; more of them need a larger product to be busy.

    Returns:
        The smallest such, or the largest that takes less than half a second.
    """
    with torch_threads(threads):
        best, seconds = _try(_SMALLEST)
        while best.size < _LARGEST and 8 * seconds < _LONGEST:
            larger, its_seconds = _try(2 * best.size)
            if larger.macs / its_seconds < _GAIN * best.macs / seconds:
                break
            best, seconds = larger, its_seconds
    return best


def share_of_peak(seconds: Sequence[Seconds], macs: float, peaks: Sequence[float]) -> float:
    """Compute the share of the machine's peak rate that was reached.

    Within a round a machine that slows down takes from both, so shares are taken round by round.

    Args:
        seconds: time that the work took, one a round.
        macs: multiply-accumulates of the work.
        peaks: multiply-accumulates per second of the matrix product, one a round.

    Returns:
        The median over the rounds; 0 where there was nothing to do.

    Examples:
        >>> share_of_peak([1.0, 2.0, 4.0], 100.0, [400.0, 200.0, 100.0])
        0.25
    """
    return statistics.median(macs / own / peak if own else 0.0 for own, peak in zip(seconds, peaks, strict=True))


def _try(size: int) -> tuple[MatrixProduct, Seconds]:
    product = build_product(size)
    times = []
    # The first pass wakes threads and touches memory.
    for _ in range(3):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return product, min(times)
