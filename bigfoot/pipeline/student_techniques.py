"""The techniques that the section ``student`` asks for, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bigfoot.compress import (
    ConvGroups,
    ConvOrder,
    ConvSharing,
    DecoderDepth,
    Depth,
    DropAdapters,
    Narrow,
    Reshape,
)
from bigfoot.compress.entries import check_technique, read_technique
from bigfoot.config import Problem
from bigfoot.pipeline.settings import Config


@dataclass(frozen=True)
class PlannedTechnique:
    """A technique and the settings of the run that stand for it.

    Args:
        settings: of the technique.
        key: below ``student``, of all of them.
        fields: keys below ``student`` of single fields that are not below ``key``.
    """

    settings: object
    key: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def locate(self, problem: Problem) -> Problem:
        """Give a problem of a field its key in the configuration.

        Examples:
            >>> depth = PlannedTechnique(Depth(0), "num_hidden_layers", {"layer_init": "layer_init"})
            >>> depth.locate(Problem("layer_init", "bad_layers", "")).key
            'student.layer_init'
        """
        if problem.key in self.fields:
            return replace(problem, key=f"student.{self.fields[problem.key]}")
        return problem.under(f"student.{self.key}")


def shape_techniques(config: Config) -> Iterator[PlannedTechnique]:
    """Plan what the settings of the shape ask for, before ``student.techniques``.

    Args:
        config: of the run.

    Yields:
        One by one.
    """
    wanted = config.student
    if wanted.init == "shrink":
        yield PlannedTechnique(wanted.shrink, "shrink")
        if wanted.streaming.chunk is not None:
            yield PlannedTechnique(wanted.streaming, "streaming")
        return
    fields = {name: name for name in ("num_hidden_layers", "layer_init")}
    yield PlannedTechnique(Depth(wanted.num_hidden_layers, wanted.layer_init), "num_hidden_layers", fields)
    if wanted.adapters == "drop":
        yield PlannedTechnique(DropAdapters(), "adapters")
    if wanted.decoder_layers is not None:
        fields = {"num_layers": "decoder_layers"}
        yield PlannedTechnique(DecoderDepth(wanted.decoder_layers), "decoder_layers", fields)
    if wanted.shape:
        narrow = wanted.shape_init == "least_squares"
        shape = Narrow(wanted.shape) if narrow else Reshape(wanted.shape, config.seed)
        yield PlannedTechnique(shape, "shape_init" if narrow else "shape", {"shape": "shape"})
    if wanted.change_conv_layers:
        fields = {"conv_groups": "conv_groups", "init": "conv_init"}
        yield PlannedTechnique(ConvGroups(wanted.conv_groups, wanted.conv_init), "conv_groups", fields)
        if wanted.conv_sharing not in ([], None):
            fields = {"conv_sharing": "conv_sharing", "init": "conv_sharing_init"}
            sharing = ConvSharing(wanted.conv_sharing, wanted.conv_sharing_init)
            yield PlannedTechnique(sharing, "conv_sharing", fields)
    if wanted.low_rank.linears:
        yield PlannedTechnique(wanted.low_rank, "low_rank")
    if wanted.streaming.chunk is not None:
        yield PlannedTechnique(wanted.streaming, "streaming")


def further_techniques(config: Config) -> Iterator[PlannedTechnique]:
    """Plan the valid entries of ``student.techniques``; the section itself reports the others.

    Args:
        config: of the run.

    Yields:
        One by one.
    """
    for index, entry in enumerate(config.student.techniques):
        if not check_technique(entry):
            yield PlannedTechnique(read_technique(entry), f"techniques[{index}].{next(iter(entry))}")


def initial_techniques(config: Config) -> list[object]:
    """Return the settings of ``shape_techniques`` for initialization.

    With ``distill.grow_groups`` convolutions stay dense for now, and ``permute`` orders their channels.

    Args:
        config: of the run.

    Examples:
        >>> initial_techniques(Config())
        [Depth(num_hidden_layers=4, layer_init='spread'), ConvGroups(conv_groups=2, init='slice')]
    """
    planned = [each.settings for each in shape_techniques(config)]
    if not config.distill.grow_groups:
        return planned
    dense: list[object] = [ConvOrder(config.student.conv_groups)] if config.student.conv_init == "permute" else []
    return [settings for each in planned for settings in (dense if isinstance(each, ConvGroups) else [each])]
