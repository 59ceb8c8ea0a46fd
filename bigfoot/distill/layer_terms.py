"""Terms that compare what the layers of student and teacher give: hidden states, attention maps, values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bigfoot.config.schema import HiddenLossConfig, LossesConfig
from bigfoot.distill.losses import (
    LossSum,
    attention_distance,
    frame_distance,
    gram_distance,
    prediction_distance,
    value_relation_kl,
)
from bigfoot.distill.matches import LayerMatch, build_layer_matches, build_matches, build_projections
from bigfoot.distill.term import MASKED, Answers, LossTerm, Shapes, Targets
from bigfoot.errors import ModelError
from bigfoot.models.configuration import BigfootConfig


def _add_up(sums: list[LossSum], weights: Sequence[float] = ()) -> LossSum:
    """Weighted where there are weights; else the mean: adding a match must not drown the other terms."""
    if weights:
        weighted = [weight * part.total for weight, part in zip(weights, sums, strict=True)]
        return LossSum(torch.stack(weighted).sum(), sums[0].count)
    total = sum((part.total for part in sums), sums[0].total.new_zeros(()))
    return LossSum(total / len(sums), sums[0].count)


def _mean_state(states: Sequence[Tensor], last: int, mean_of: int) -> Tensor:
    return states[last] if mean_of == 1 else torch.stack(tuple(states[last - mean_of + 1 : last + 1])).mean(0)


def _states_of(last: Sequence[int], mean_of: int) -> set[int]:
    return {state - back for state in last for back in range(mean_of)}


def _mean_problems(last: Sequence[int], mean_of: int) -> Iterator[str]:
    # The encoder's input is no layer, and is compared only where it is named.
    short = sorted({state for state in last if mean_of > 1 and state < mean_of})
    if short:
        yield f".mean_of: there are no {mean_of} layers up to the teacher's states {short}"


def _hidden_matches(config: HiddenLossConfig, student: BigfootConfig, teacher: BigfootConfig) -> list[LayerMatch]:
    return build_matches(config.matches, student.num_hidden_layers, teacher.num_hidden_layers)


def _hidden_problems(config: HiddenLossConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
    try:
        matches = _hidden_matches(config, student, teacher)
    except ModelError as error:
        yield f".matches: {error}"
        return
    weights = config.match_weights
    if weights and len(weights) != len(matches):
        yield f".match_weights: {len(weights)} numbers for {len(matches)} matches"
    if any(not weight >= 0 for weight in weights):
        yield f".match_weights: must not be below 0, got {weights}"
    yield from _mean_problems([match.teacher for match in matches], config.mean_of)


class HiddenTerm(LossTerm):
    """The teacher's hidden states, through a linear map a match where widths differ."""

    outputs = ("output_hidden_states",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        self.matches = _hidden_matches(self.settings, student, teacher)
        self.projections = build_projections(len(self.matches), student.hidden_size, teacher.hidden_size)

    @property
    def settings(self) -> HiddenLossConfig:
        """Its section."""
        return self.losses.hidden

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _hidden_problems(losses.hidden, student, teacher)

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        matches = _hidden_matches(losses.hidden, student, teacher)
        return {"hidden_states": _states_of([match.teacher for match in matches], losses.hidden.mean_of)}

    def predict(self, states: Sequence[Tensor]) -> list[Tensor]:
        """The student's states as wide as the teacher's, one a match."""
        pairs = zip(self.matches, self.projections, strict=True)
        return [project(states[match.student]) for match, project in pairs]

    def compare(self, predicted: list[Tensor], states: Sequence[Tensor], frame_mask: Tensor) -> LossSum:
        """Distance from the teacher's states over some frames."""
        config, pairs = self.settings, zip(predicted, self.matches, strict=True)
        return _add_up([
            frame_distance(here, _mean_state(states, match.teacher, config.mean_of), frame_mask, config.distance)
            for here, match in pairs
        ], config.match_weights)  # fmt: skip

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        here, there = answers.both("hidden_states")
        return self.compare(self.predict(here), there, answers.frame_mask)


class MaskedHiddenTerm(HiddenTerm):
    """The teacher's hidden states, masked and unmasked frames apart (Jang et al., 2023, section 3.2).

    As in the paper's repository: where the student does not hear a frame, its target is what a teacher says that hears
    all; where it hears it, what a teacher says from whom the same frames are hidden. Both sums are over the number of
    all real frames.
    """

    @property
    def settings(self) -> HiddenLossConfig:
        """Its section."""
        return self.losses.masked_hidden

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _hidden_problems(losses.masked_hidden, student, teacher)
        if not losses.masked_hidden.masked_weight and not losses.masked_hidden.unmasked_weight:
            yield ": masked_weight and unmasked_weight are both 0, there is nothing to compare"

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        config = losses.masked_hidden
        matches = _hidden_matches(config, student, teacher)
        states = _states_of([match.teacher for match in matches], config.mean_of)
        weights = {"hidden_states": config.masked_weight, MASKED: config.unmasked_weight}
        return {field: states for field, weight in weights.items() if weight}

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        config, (here, whole), real = self.losses.masked_hidden, answers.both("hidden_states"), answers.frame_mask
        hidden = torch.zeros_like(real) if answers.masked_frames is None else answers.masked_frames
        predicted, total = self.predict(here), real.new_zeros((), dtype=torch.float32)
        if config.masked_weight:
            total = total + config.masked_weight * self.compare(predicted, whole, real & hidden).total
        if config.unmasked_weight:
            assert answers.masked_teacher is not None and answers.masked_teacher.hidden_states is not None
            told = answers.masked_teacher.hidden_states
            total = total + config.unmasked_weight * self.compare(predicted, told, real & ~hidden).total
        return LossSum(total, real.sum())


def _predicted_layers(layers: Sequence[int], depth: int) -> list[int]:
    return list(layers) or sorted({max(1, round(depth * part / 3)) for part in (1, 2, 3)})


class HeadsTerm(LossTerm):
    """Teacher layers, each predicted from the student's last state by a head (Chang et al., 2022, section 2.2).

    A head is linear, GELU, linear, the first as wide as the student, as in the paper's repository (s3prl's
    ``distiller``); the loss is the mean over heads.
    """

    outputs = ("output_hidden_states",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        here, there = student.hidden_size, teacher.hidden_size
        self.layers = _predicted_layers(losses.heads.layers, teacher.num_hidden_layers)
        self.heads = nn.ModuleList(
            [nn.Sequential(nn.Linear(here, here), nn.GELU(), nn.Linear(here, there)) for _ in self.layers]
        )

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        config, depth = losses.heads, teacher.num_hidden_layers
        strange = [layer for layer in config.layers if not 1 <= layer <= depth]
        if strange:
            yield f".layers: {strange} out of range: the teacher's layers go from 1 to {depth}"
        if len(set(config.layers)) < len(config.layers):
            yield f".layers: {config.layers} names a layer twice"
        if not config.l1_weight and not config.cosine_weight:
            yield ": l1_weight and cosine_weight are both 0, there is nothing to compare"
        yield from _mean_problems(_predicted_layers(config.layers, depth), config.mean_of)

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        layers = _predicted_layers(losses.heads.layers, teacher.num_hidden_layers)
        return {"hidden_states": _states_of(layers, losses.heads.mean_of)}

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        config, (_, there) = self.losses.heads, answers.both("hidden_states")
        return _add_up([
            prediction_distance(
                head(answers.student.last_hidden_state), _mean_state(there, layer, config.mean_of), answers.frame_mask,
                config.l1_weight, config.cosine_weight,
            )
            for head, layer in zip(self.heads, self.layers, strict=True)
        ])  # fmt: skip


def _layer_matches(matches: Any, student: BigfootConfig, teacher: BigfootConfig) -> list[LayerMatch]:  # noqa: ANN401
    return build_layer_matches(matches, student.num_hidden_layers, teacher.num_hidden_layers)


def _layer_problems(matches: Any, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:  # noqa: ANN401
    try:
        _layer_matches(matches, student, teacher)
    except ModelError as error:
        yield f".matches: {error}"


class GramTerm(LossTerm):
    """How alike frames are in what goes into the teacher's layers and comes out (Jang et al., 2024)."""

    outputs = ("output_hidden_states",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        self.matches = _layer_matches(losses.gram.matches, *shapes.both)

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _layer_problems(losses.gram.matches, student, teacher)
        if not losses.gram.layer_weight and not losses.gram.within_weight:
            yield ": layer_weight and within_weight are both 0, there is nothing to compare"

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        layers = [match.teacher for match in _layer_matches(losses.gram.matches, student, teacher)]
        inputs = layers if losses.gram.within_weight else []
        return {"hidden_states": {layer + 1 for layer in layers} | set(inputs)}

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        config, both = self.losses.gram, answers.both("hidden_states")
        sums, weights = [], []
        for match in self.matches:
            here, there = ((states[at], states[at + 1]) for states, at in zip(both, match.both, strict=True))
            if config.layer_weight:
                sums.append(gram_distance((here[1], here[1]), (there[1], there[1]), answers.frame_mask))
                weights.append(config.layer_weight / len(self.matches))
            if config.within_weight:
                sums.append(gram_distance(here, there, answers.frame_mask))
                weights.append(config.within_weight / len(self.matches))
        return _add_up(sums, weights)


class ValueRelationTerm(LossTerm):
    """How alike frames are in the values of the teacher's attention."""

    outputs = ("output_attention_values",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        self.matches = _layer_matches(losses.value_relation.matches, student, teacher)
        own = student.heads_of_layers
        self.parts = [losses.value_relation.heads or own[match.student] for match in self.matches]

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        config = losses.value_relation
        found = list(_layer_problems(config.matches, student, teacher))
        if student.time_reduction != teacher.time_reduction:
            found.append(": the models' attention has not the same frames (time_reduction)")
        yield from found
        for match in [] if found else _layer_matches(config.matches, student, teacher):
            here, there = student.heads_of_layers[match.student], teacher.heads_of_layers[match.teacher]
            widths = here * student.head_dim, there * teacher.head_dim
            if not here or not there:
                yield f".matches: [{match.student}, {match.teacher}] names a layer without attention"
            elif config.heads is None and here != there:
                yield (
                    f".heads: layer {match.student} of the student has {here} heads, layer {match.teacher} of the "
                    f"teacher {there}; set it to a number that divides the widths of their values, {widths}"
                )
            elif config.heads is not None and any(width % config.heads for width in widths):
                yield (
                    f".heads: {config.heads} divides not both widths of values, {widths}, of the student's layer "
                    f"{match.student} and the teacher's layer {match.teacher}"
                )

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        matches = _layer_matches(losses.value_relation.matches, student, teacher)
        return {"attention_values": {match.teacher for match in matches}}

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        here, there = answers.both("attention_values")
        return _add_up([
            value_relation_kl(here[match.student], there[match.teacher], answers.frame_mask, parts)
            for match, parts in zip(self.matches, self.parts, strict=True)
        ])  # fmt: skip


class AttentionTerm(LossTerm):
    """The teacher's attention maps, averaged over heads."""

    outputs = ("output_attentions",)

    def __init__(self, losses: LossesConfig, shapes: Shapes) -> None:
        super().__init__(losses, shapes)
        student, teacher = shapes.both
        self.matches = _layer_matches(losses.attention.matches, student, teacher)

    @staticmethod
    def find_problems(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Iterator[str]:
        """See ``LossTerm``."""
        yield from _layer_problems(losses.attention.matches, student, teacher)

    @staticmethod
    def find_targets(losses: LossesConfig, student: BigfootConfig, teacher: BigfootConfig) -> Targets:
        """See ``LossTerm``."""
        return {"attentions": {match.teacher for match in _layer_matches(losses.attention.matches, student, teacher)}}

    def forward(self, answers: Answers) -> LossSum:
        """See ``LossTerm``."""
        here, there = answers.both("attentions")
        distance = self.losses.attention.distance
        return _add_up([
            attention_distance(here[match.student], there[match.teacher], answers.frame_mask, distance)
            for match in self.matches
        ])  # fmt: skip
