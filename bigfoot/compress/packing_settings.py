"""Settings of weights of four and two bits; read without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero
from bigfoot.config.sizes import parse_bytes

BITS = (2, 4, 8)
GROUP_SIZES = (16, 32, 64, 128, 256)


@dataclass
class Packing:
    """How many bits the weights of each layer have."""

    bits: list[int] = field(default_factory=lambda: [4])
    """Bits of linear maps: 8, 4 or 2; of several, each layer has those that keep the outputs best in ``max_size``."""
    conv_bits: list[int] = field(default_factory=lambda: [8])
    """The same of convolutions."""
    group_size: int = 32
    """Numbers of a weight that share a step, at four and two bits: 16, 32, 64, 128 or 256; divides what goes into each
    layer."""
    max_size: str | None = None
    """Most bytes of the folder's weights, such as ``7MB``; null where ``bits`` leaves no choice."""
    keep_int8: list[str] = field(default_factory=list)
    """Layers that stay at 8 bits: names within the encoder, what they are part of, or patterns."""
    keep_fp32: list[str] = field(default_factory=list)
    """Layers that stay in fp32, named likewise."""
    seconds: float = above_zero(20.0)
    """Training audio on which sensitivities, and the ranges of ``int8_static``, are measured."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what no range of a single number covers."""
        for name in ("bits", "conv_bits"):
            given = getattr(self, name)
            if not given or any(type(count) is not int or count not in BITS for count in given):
                yield Problem(name, "unknown_word", f"{given} should hold one or more of {', '.join(map(str, BITS))}")
        if self.group_size not in GROUP_SIZES:
            sizes = ", ".join(map(str, GROUP_SIZES))
            yield Problem("group_size", "unknown_word", f"{self.group_size} is none of {sizes}")
        if self.max_size is not None and parse_bytes(self.max_size) is None:
            message = f"{self.max_size!r} is no size; write a number and a unit, such as 7MB"
            yield Problem("max_size", "no_size", message)
        if self.max_size is None and max(len(set(self.bits)), len(set(self.conv_bits))) > 1:
            message = "of several bits each layer gets what fits, and there is no budget; set max_size, or one number"
            yield Problem("max_size", "missing", message)
