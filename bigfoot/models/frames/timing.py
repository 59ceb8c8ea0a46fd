"""When the frames of a model are: their period, and the centre of the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bigfoot.models.shape import Shape


class FrameTiming(NamedTuple):
    """Places of frames in the audio, in samples at 16 kHz.

    Args:
        period: from one frame to the next.
        first: centre of the first frame.

    Examples:
        >>> FrameTiming(320.0, 199.5).seconds
        0.02
    """

    period: float
    first: float

    @property
    def seconds(self) -> float:
        """The period in seconds."""
        return self.period / 16_000


def frame_timing(config: Shape) -> FrameTiming:
    """Return when the frames of a model are.

    Args:
        config: its shape. Of an encoder of another kind its settings say it (``timing``); Whisper's frames, and those
            of a user's own encoder that says nothing, are 20 ms apart from the start on.

    Examples:
        >>> from bigfoot.models.shape import Shape
        >>> frame_timing(Shape())
        FrameTiming(period=320.0, first=199.5)
    """
    if config.frame_encoder is None:
        return FrameTiming(float(config.inputs_to_logits_ratio), (config.receptive_field - 1) / 2)
    given = config.frame_encoder["settings"].get("timing")
    return FrameTiming(320.0, 0.0) if given is None else FrameTiming(*map(float, given))
