"""The configuration of a speech encoder: Hugging Face's, with more shapes than Hugging Face's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.models.notices import warn_once
from bigfoot.models.shape import FAMILY_PREFIXES, Shape
from bigfoot.models.shape_checks import beyond_huggingface, shape_problems
from bigfoot.models.shape_fields import field_problems, read_fields

RENAMED = ("sew", "sew-d")
"""Families whose tensors have names of ours in our folders, also where transformers can express the shape."""

BIGFOOT_PREFIX = "bigfoot"
"""Prefix of tensors whose shape plain transformers cannot express: it then reports all of them missing."""


class BigfootConfig(Shape):
    """Configuration of ``SpeechEncoder`` and ``BigfootForCTC``; see ``Shape`` for its fields.

    Raises:
        ModelError: a field of another kind or beyond all measure, or fields that do not go together.

    Examples:
        >>> config = BigfootConfig(num_hidden_layers=2, conv_groups=[1, 2, 2, 2, 2, 2, 2])
        >>> config.is_huggingface_shape, config.weight_prefix
        (False, 'bigfoot')
    """

    model_type = "bigfoot"

    def __post_init__(self, **kwargs: object) -> None:
        """Check that the fields agree with each other."""
        super().__post_init__(**kwargs)
        problems = shape_problems(self)
        if problems:
            raise ModelError("this shape cannot be built: " + "; ".join(problems))

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> Any:  # noqa: ANN401 - as of transformers
        """Build from a ``config.json`` of any origin: bigfoot's own fields and no others.

        Args:
            config_dict: the file.
            kwargs: what the caller wants otherwise, as of transformers.

        Returns:
            The configuration; with ``return_unused_kwargs`` a pair, as of transformers.

        Raises:
            ModelError: a field of another kind or beyond all measure, or fields that do not go together.

        Examples:
            >>> BigfootConfig.from_dict({"num_hidden_layers": 2, "num_labels": 10**12}).num_labels
            2
        """
        given, strange = read_fields(config_dict)
        if problems := list(field_problems(given)):
            raise ModelError("this configuration cannot be used: " + "; ".join(problems))
        if strange:
            warn_once(f"fields of its configuration that are none of bigfoot's were left out: {', '.join(strange)}")
        return super().from_dict(given, **kwargs)

    @property
    def is_huggingface_shape(self) -> bool:
        """Whether the family's own class in transformers can express this shape."""
        return not beyond_huggingface(self)

    @property
    def weight_prefix(self) -> str:
        """Prefix of the encoder's tensors in a checkpoint."""
        named = self.is_huggingface_shape and self.family not in RENAMED
        return FAMILY_PREFIXES[self.family] if named else BIGFOOT_PREFIX


def build_config(fields: Mapping[str, Any], source: object) -> BigfootConfig:
    """Build the configuration of a foreign file.

    Args:
        fields: of ``BigfootConfig``, of any kind.
        source: the file, for messages.

    Raises:
        ModelError: a field of another kind or beyond all measure, or fields that do not go together.

    Examples:
        >>> build_config({"hidden_size": "wide"}, "config.json")
        Traceback (most recent call last):
        bigfoot.errors.ModelError: config.json: hidden_size 'wide' should be a whole number, 1 or more
    """
    if problems := list(field_problems(fields)):
        raise ModelError(f"{source}: " + "; ".join(problems))
    try:
        return BigfootConfig(**fields)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
