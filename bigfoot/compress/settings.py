"""Settings of the sections ``student``, ``prune`` and ``quantize``; a YAML file holds only what differs from them.

They are read without torch; what applies them stands in the files of the techniques.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bigfoot.compress.entries import check_technique
from bigfoot.compress.shrink.kinds import DEFAULT, KINDS
from bigfoot.config.problems import Problem
from bigfoot.config.rules import above_zero, not_negative, one_of, share, unknown_words

LAYER_INITS = ("first_k", "last_k", "every_k", "spread")
"""Rules by which layers stay."""
CONV_INITS = ("slice", "permute", "least_squares")
"""Initializations of grouped kernels."""
SHARING_INITS = ("mean", "first", "last", "least_squares")
"""Initializations of shared kernels."""
WEIGHTINGS = ("activations", "none")
"""Weightings of low ranks."""
IMPORTANCES = ("taylor", "l1", "l2", "activation")
"""Judgements of units."""
PRUNABLE = ("heads", "feed_forward", "conv_module", "conv", "width")
"""What can be pruned."""
FROM_CORPUS = "from_corpus"
"""Of ``student.vocabulary``: the characters of the transcripts."""


@dataclass
class LowRank:
    """Linear maps of the transformer as products of two thin ones, by singular values."""

    linears: list[str] = field(default_factory=list)
    """Which, in every layer: ``q_proj``, ``k_proj``, ``v_proj``, ``out_proj``, ``intermediate_dense`` and
    ``output_dense``. Empty: none."""
    rank: int = not_negative(0)
    """Singular values that stay in each; 0 leaves it to ``energy``."""
    energy: float = share(0.9)
    """Share of the squared singular values that stays, where there is no ``rank``."""
    weighting: str = one_of(*WEIGHTINGS)
    """``activations`` keeps what matters on training audio, ``none`` what matters to the matrix alone."""


@dataclass
class Streaming:
    """A student that transcribes while audio comes, chunk by chunk (docs/how-to/streaming.md)."""

    chunk: str | None = None
    """Audio of a chunk, such as ``320ms``, whose frames attend to all of it; null for a student of whole recordings."""
    left: int = not_negative(4)
    """Chunks before it that its frames attend to."""
    dynamic: bool = True
    """Half of the batches of training have chunks of another size: half as long, up to four times as long, or whole
    recordings."""


@dataclass
class Shrink:
    """A smaller model without gradients, cut where its outputs change least (docs/how-to/shrink.md)."""

    target: float = share(0.5)
    """Share of the model that stays, by ``measure``."""
    measure: str = one_of("macs", "params", "mb", "rtf")
    """What the share is of: multiply-accumulates a second of audio, parameters, megabytes, or the time on this
    machine and one thread."""
    cuts: list[str] = field(default_factory=lambda: [*DEFAULT])
    """Kinds of cut among which it may choose: ``heads``, ``feed_forward`` units, ``conv`` channels, and those of
    docs/how-to/shrink.md."""
    rounds: int = above_zero(4)
    """Rounds in which it gets there: in each, every cut is measured anew."""
    seed: int = not_negative(0)
    """Of what is drawn."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what no range of a single number covers."""
        yield from unknown_words("cuts", "kind", self.cuts, list(KINDS))
        if self.target <= 0:
            yield Problem("target", "out_of_range", f"must be above 0, got {self.target:g}")


@dataclass
class StudentConfig:
    """The shape of the student, cut out of the teacher."""

    path: str | None = None
    """What it is cut out of, where not the teacher: as ``teacher.path``, of any family and width; learns by losses that
    compare what both have, at the same frame rate."""
    num_hidden_layers: int = above_zero(4)
    """Transformer layers that stay."""
    layer_init: Any = "spread"
    """Which: ``first_k``, ``last_k``, ``every_k``, ``spread`` (both ends kept), or a list of 0-based layers."""
    weights: str = one_of("teacher", "random")
    """``random`` takes the shape alone and initializes all of its weights at random: a control."""
    adapters: str = one_of("keep", "drop")
    """Adapters of a teacher's layers (MMS): ``drop`` leaves them out, which changes outputs until it is distilled."""
    vocabulary: str | None = None
    """Characters that stay in the vocabulary and the CTC head: ``from_corpus`` keeps those of the transcripts of train
    and dev, a text file those in it. The teacher's probabilities of all others count as the blank's. null keeps all."""
    decoder_layers: int | None = above_zero(None)
    """Layers of the decoder that stay, as far apart as can be, both ends among them; null keeps all, and a teacher
    without a decoder needs none."""
    change_conv_layers: bool = True
    """False leaves the feature encoder as the teacher's."""
    conv_groups: Any = 2
    """Groups of the convolutions 1 and up (0 has one input channel), or a list with one number a layer."""
    conv_init: str = one_of(*CONV_INITS)
    """How grouped kernels are initialized: ``slice`` (the dense kernel's block diagonal), ``permute`` (the same,
    channels ordered so that it holds the most energy), ``least_squares`` (fitted, on audio, to the dense layer's
    output)."""
    conv_sharing: Any = field(default_factory=list)
    """Lists of convolutions, 0-based and of equal shape, that use one kernel: [[1, 2], [3, 4]]."""
    conv_sharing_init: str = one_of(*SHARING_INITS)
    """How a shared kernel is initialized: the members' mean, one member, or a fit to their outputs on audio."""
    shape: dict[str, Any] = field(default_factory=dict)
    """What is otherwise than in the teacher, by fields of ``BigfootConfig``: ``hidden_size``, ``num_attention_heads``,
    ``intermediate_size``, per-layer lists of them, ``attention_reuse``, ``time_reduction``, ``feature_projection``,
    ``conv_dim``, ... What fits is copied, the rest is initialized at random."""
    shape_init: str = one_of("slice", "least_squares")
    """``slice`` copies the first units of everything; ``least_squares`` keeps those that explain the others, for
    narrower shapes with heads as wide as the teacher's, and fits what reads them on audio."""
    low_rank: LowRank = field(default_factory=LowRank)
    """Linear maps of low rank; made last but ``streaming`` and ``techniques``."""
    streaming: Streaming = field(default_factory=Streaming)
    """Chunks of a student that streams; made last but ``techniques``."""
    techniques: list[Any] = field(default_factory=list)
    """What is done after all that, in this order: a name and its settings each, such as ``- depth: {num_hidden_layers:
    2}``; built-in techniques, or those of ``plugins``."""
    init_seconds: float = above_zero(60.0)
    """Training audio from which least squares and low ranks are fitted."""
    init: str = one_of("shape", "shrink")
    """``shape`` cuts it by the settings above; ``shrink`` lets the search of the section ``shrink`` choose what is cut,
    on audio and without training, and of the settings above ``vocabulary``, ``streaming`` and ``techniques`` count."""
    shrink: Shrink = field(default_factory=Shrink)
    """How far the search goes, and by which kinds of cut."""

    def find_problems(self) -> Iterator[Problem]:
        """Check the settings of ``techniques``."""
        for index, entry in enumerate(self.techniques):
            yield from (problem.under(f"techniques[{index}]") for problem in check_technique(entry))


@dataclass
class Prune:
    """Take out the units that matter least, and leave a model that is smaller indeed."""

    parts: list[str] = field(default_factory=lambda: ["heads", "feed_forward"])
    """What is cut: attention ``heads``, ``feed_forward`` units, ``conv`` channels, the ``width`` of the frames; of
    conformers also ``conv_module``, channels of the convolutions in their layers."""
    importance: str = one_of(*IMPORTANCES)
    """How units are judged: ``taylor`` (|weight times gradient| of the CTC loss, needs labels), ``l1`` or ``l2`` norm
    of their weights, ``activation`` (mean square of what they give)."""
    scope: str = one_of("part", "layer", "global")
    """Who competes: the units of a ``part`` over all layers, those of a ``layer`` alone, or all with all."""
    target: str = one_of("ratio", "macs", "params")
    """``ratio`` cuts so many units; ``macs`` and ``params`` as many as bring the model down to ``keep``."""
    ratio: float = share(0.3)
    """Share of the units that goes; with ``macs`` or ``params`` found by bisection."""
    part_ratios: dict[str, float] = field(default_factory=dict)
    """The same for single parts, such as {heads: 0.5}; with ``macs`` or ``params`` their proportions count."""
    keep: float = share(0.5)
    """With ``macs`` or ``params``: share of the model's multiply-accumulates or parameters that stays."""
    multiple_of: int = above_zero(8)
    """What stays of a layer's feed-forward units and channels is a multiple of so many, as kernels like it."""
    min_left: float = share(0.1)
    """Share of any layer's units that stays at least, and one unit."""
    seconds: float = above_zero(60.0)
    """Training audio on which ``taylor`` and ``activation`` are measured."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what no range of a single number covers."""
        yield from unknown_words("parts", "part", self.parts, PRUNABLE)
        yield from unknown_words("part_ratios", "part", list(self.part_ratios), PRUNABLE)
        if not self.parts:
            yield Problem("parts", "empty", f"empty, so there is nothing to cut; parts are {', '.join(PRUNABLE)}")
        for part, ratio in self.part_ratios.items():
            if not 0 <= ratio <= 1:
                yield Problem("part_ratios", "out_of_range", f"{part} must be from 0 to 1, got {ratio}")
        if self.part_ratios and self.scope == "global":
            yield Problem("part_ratios", "not_read", "with scope global all units compete; use scope part or layer")
        if self.target != "ratio" and not self.keep:
            yield Problem("keep", "out_of_range", f"must be above 0 with target {self.target}, got {self.keep}")


@dataclass
class Quantize:
    """Store the last model in fewer bytes; nothing trains or prunes after it (docs/how-to/quantize.md)."""

    precision: str = one_of("int8_static", "int8_dynamic", "int8", "float16", "bfloat16")
    """``int8_static`` and ``int8_dynamic`` also bring what goes into layers to eight bits, as an exported file does, by
    ranges measured on training audio or of the audio at hand; ``int8`` and the halves compute in fp32."""
    keep_fp32: list[str] = field(default_factory=list)
    """Layers that stay in fp32: names within the encoder, what they are part of, or patterns, such as ``*.v_proj``."""
    percentile: float = 100.0
    """``int8_static``: of the numbers that go into a layer, how many its range holds, in %, above 50; 100 holds all."""
    seconds: float = above_zero(60.0)
    """``int8_static``: training audio on which ranges are measured."""

    def find_problems(self) -> Iterator[Problem]:
        """Check what no range of a single number covers."""
        if problem := percentile_problem(self.percentile):
            yield problem
        elif self.percentile != 100 and self.precision != "int8_static":
            yield Problem(
                "percentile", "not_read", f"cuts the ranges of int8_static, and precision is {self.precision}"
            )


def percentile_problem(percentile: float) -> Problem | None:
    """Explain why a percentile of ranges is out of range; None where it is not.

    Examples:
        >>> print(percentile_problem(40), percentile_problem(99.9), sep="; ")
        percentile: must be above 50 and at most 100, got 40; None
    """
    if 50.0 < percentile <= 100.0:
        return None
    return Problem("percentile", "out_of_range", f"must be above 50 and at most 100, got {percentile:g}")
