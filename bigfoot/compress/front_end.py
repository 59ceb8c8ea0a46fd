"""What only a front end of convolutions can have done to it."""

from __future__ import annotations

from bigfoot.config import Problem
from bigfoot.errors import UnfitError
from bigfoot.models.configuration import BigfootConfig


def require_convolutions(config: BigfootConfig, field: str, technique: str) -> None:
    """Refuse a technique on convolutions where the front end has none.

    Args:
        config: of the model.
        field: of the technique's settings.
        technique: its name.

    Raises:
        UnfitError: the front end is log-mel.

    Examples:
        >>> shape = BigfootConfig(front_end="log-mel", conv_dim=[], conv_kernel=[], conv_stride=[])
        >>> try:
        ...     require_convolutions(shape, "conv_groups", "conv_groups")
        ... except UnfitError as error:
        ...     print(error.problems[0].code)
        no_convolutions
    """
    if not config.has_convolutions:
        message = (
            f"{technique} cuts convolutions of the waveform, and the front end of this {config.family} is log-mel "
            "filter banks, which have no weights; leave it out (in a run: student.change_conv_layers=false)"
        )
        raise UnfitError(Problem(field, "no_convolutions", message))
