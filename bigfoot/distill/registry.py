"""The losses by name: a built-in one is a line of ``LossesConfig``, one of a user's module is added by a decorator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import Any, TypeVar

from bigfoot.config.registry import Registry
from bigfoot.distill.loss import Loss
from bigfoot.distill.terms.alignment import AlignmentLoss
from bigfoot.distill.terms.attention import AttentionLoss
from bigfoot.distill.terms.conv_features import ConvFeaturesLoss
from bigfoot.distill.terms.ctc import CTCLoss
from bigfoot.distill.terms.decoder import DecoderLoss
from bigfoot.distill.terms.decoder_kl import DecoderKLLoss
from bigfoot.distill.terms.delayed_kl import DelayedKLLoss
from bigfoot.distill.terms.feature_penalty import FeaturePenalty
from bigfoot.distill.terms.gram import GramLoss
from bigfoot.distill.terms.heads import HeadsLoss
from bigfoot.distill.terms.hidden import HiddenLoss
from bigfoot.distill.terms.intermediate_ctc import IntermediateCTCLoss
from bigfoot.distill.terms.log_mel import LogMelLoss
from bigfoot.distill.terms.logit_cosine import LogitCosineLoss
from bigfoot.distill.terms.logit_kl import LogitKLLoss
from bigfoot.distill.terms.masked_hidden import MaskedHiddenLoss
from bigfoot.distill.terms.nbest import NBestLoss
from bigfoot.distill.terms.task import TaskKLLoss, TaskLoss
from bigfoot.distill.terms.value_relation import ValueRelationLoss
from bigfoot.errors import BigfootError

_L = TypeVar("_L", bound=type[Loss])


@dataclass
class LossesConfig:
    """The terms of the distillation loss, by name and weight, in the order in which they are summed."""

    logit_kl: LogitKLLoss = field(default_factory=LogitKLLoss)
    """The teacher's posteriors."""
    hidden: HiddenLoss = field(default_factory=HiddenLoss)
    """The teacher's hidden states."""
    attention: AttentionLoss = field(default_factory=AttentionLoss)
    """The teacher's attention maps."""
    conv_features: ConvFeaturesLoss = field(default_factory=ConvFeaturesLoss)
    """The teacher's convolutional features."""
    logit_cosine: LogitCosineLoss = field(default_factory=LogitCosineLoss)
    """The direction of the teacher's logits."""
    feature_penalty: FeaturePenalty = field(default_factory=FeaturePenalty)
    """Small convolutional features."""
    masked_hidden: MaskedHiddenLoss = field(default_factory=MaskedHiddenLoss)
    """The teacher's hidden states, masked and unmasked frames apart."""
    heads: HeadsLoss = field(default_factory=HeadsLoss)
    """Teacher layers, predicted from the student's last."""
    gram: GramLoss = field(default_factory=GramLoss)
    """Likeness of frames in the teacher's hidden states."""
    value_relation: ValueRelationLoss = field(default_factory=ValueRelationLoss)
    """Likeness of frames in the values of the teacher's attention."""
    nbest: NBestLoss = field(default_factory=NBestLoss)
    """The teacher's most probable texts."""
    ctc: CTCLoss = field(default_factory=CTCLoss)
    """The transcripts, or the teacher's own."""
    intermediate_ctc: IntermediateCTCLoss = field(default_factory=IntermediateCTCLoss)
    """The same, by layers below the last."""
    alignment: AlignmentLoss = field(default_factory=AlignmentLoss)
    """The transcripts at the known times of their words: a flat start."""
    log_mel: LogMelLoss = field(default_factory=LogMelLoss)
    """The audio's log mels, predicted from the convolutional features: a start for random convolutions."""
    decoder: DecoderLoss = field(default_factory=DecoderLoss)
    """The same, by the decoder."""
    decoder_kl: DecoderKLLoss = field(default_factory=DecoderKLLoss)
    """The teacher decoder's distribution over every next token."""
    task: TaskLoss = field(default_factory=TaskLoss)
    """The labels of a task, by the task head."""
    task_kl: TaskKLLoss = field(default_factory=TaskKLLoss)
    """The teacher's answers to the task."""
    delayed_kl: DelayedKLLoss = field(default_factory=DelayedKLLoss)
    """The teacher's posteriors, some frames later."""


REGISTERED: Registry[type[Loss]] = Registry("loss")
"""Losses of users' modules by name."""


def register_loss(name: str) -> Callable[[_L], _L]:
    """Register a loss under a name in configurations: ``distill.losses.NAME`` and ``gates.losses.NAME``.

    A module that is loaded again replaces its own losses.

    Args:
        name: an identifier that no other loss has.

    Raises:
        BigfootError: the name is taken or no identifier, or the class is no dataclass that derives from ``Loss``.

    Examples:
        >>> from dataclasses import dataclass
        >>> from bigfoot.distill.loss import Loss
        >>> @register_loss("example_of_a_loss")
        ... @dataclass
        ... class Example(Loss):
        ...     power: float = 2.0
        >>> default_losses().example_of_a_loss.power
        2.0
    """

    def register(loss: _L) -> _L:
        if not (issubclass(loss, Loss) and dataclasses.is_dataclass(loss) and "__dataclass_fields__" in vars(loss)):
            raise BigfootError(f"loss {name!r}: {loss.__name__} should be a dataclass that derives from Loss")
        if name in (item.name for item in dataclasses.fields(LossesConfig)):
            raise BigfootError(f"loss {name!r}: there is one of that name already; choose another")
        from bigfoot.config.reading import check_section  # needs OmegaConf, which losses do not

        check_section(loss)
        REGISTERED.add(name, loss, f"{loss.__module__}.{loss.__qualname__}")
        return loss

    return register


def default_losses(**given: Loss) -> LossesConfig:
    """Return the losses with their defaults, those of users' modules among them.

    Args:
        given: losses by name that take the place of the defaults.

    Examples:
        >>> default_losses(hidden=HiddenLoss(0.5)).hidden.weight
        0.5
    """
    composed: Any = _compose(tuple(REGISTERED.items()))
    losses: LossesConfig = composed(**given)
    return losses


@cache
def _compose(registered: tuple[tuple[str, type[Loss]], ...]) -> type[LossesConfig]:
    if not registered:
        return LossesConfig
    extra = [(name, loss, field(default_factory=loss)) for name, loss in registered]
    return make_dataclass("LossesConfig", extra, bases=(LossesConfig,))


def losses_by_name(losses: LossesConfig) -> dict[str, Loss]:
    """Return every loss of a configuration by name, in the order in which they are summed."""
    return {item.name: getattr(losses, item.name) for item in dataclasses.fields(losses)}


def without_teacher(losses: LossesConfig) -> LossesConfig:
    """Return the same losses with the teacher's off and CTC on: what the student learns without a teacher."""
    compared = {name: loss for name, loss in losses_by_name(losses).items() if loss.needs_teacher}
    changed: dict[str, Any] = {name: dataclasses.replace(loss, weight=0.0) for name, loss in compared.items()}
    changed["ctc"] = dataclasses.replace(losses.ctc, weight=losses.ctc.weight or 1.0)
    return dataclasses.replace(losses, **changed)
