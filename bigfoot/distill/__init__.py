"""What a student learns from a teacher: losses, which layers they compare, and their weighted sum."""

from bigfoot.distill.loss import Answers, Loss, Shapes, Targets
from bigfoot.distill.registry import (
    AttentionLoss,
    ConvFeaturesLoss,
    CTCLoss,
    DecoderKLLoss,
    DecoderLoss,
    FeaturePenalty,
    GramLoss,
    HeadsLoss,
    HiddenLoss,
    LogitCosineLoss,
    LogitKLLoss,
    LossesConfig,
    MaskedHiddenLoss,
    ValueRelationLoss,
    default_losses,
    register_loss,
)

__all__ = [
    "Answers",
    "AttentionLoss",
    "CTCLoss",
    "ConvFeaturesLoss",
    "DecoderKLLoss",
    "DecoderLoss",
    "FeaturePenalty",
    "GramLoss",
    "HeadsLoss",
    "HiddenLoss",
    "LogitCosineLoss",
    "LogitKLLoss",
    "Loss",
    "LossesConfig",
    "MaskedHiddenLoss",
    "Shapes",
    "Targets",
    "ValueRelationLoss",
    "default_losses",
    "register_loss",
]
