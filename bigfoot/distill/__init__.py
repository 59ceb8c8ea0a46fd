"""Knowledge distillation: losses, the layers that they compare, and their weighted sum."""

from bigfoot.distill.loss import Loss, LossInputs, Shapes, Targets
from bigfoot.distill.registry import LossesConfig, default_losses, register_loss
from bigfoot.distill.terms.alignment import AlignmentLoss
from bigfoot.distill.terms.attention import AttentionLoss
from bigfoot.distill.terms.conv_features import ConvFeaturesLoss
from bigfoot.distill.terms.ctc import CTCLoss
from bigfoot.distill.terms.decoder import DecoderLoss
from bigfoot.distill.terms.decoder_kl import DecoderKLLoss
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
from bigfoot.distill.terms.value_relation import ValueRelationLoss

__all__ = [
    "AlignmentLoss",
    "AttentionLoss",
    "CTCLoss",
    "ConvFeaturesLoss",
    "DecoderKLLoss",
    "DecoderLoss",
    "FeaturePenalty",
    "GramLoss",
    "HeadsLoss",
    "HiddenLoss",
    "IntermediateCTCLoss",
    "LogMelLoss",
    "LogitCosineLoss",
    "LogitKLLoss",
    "Loss",
    "LossInputs",
    "LossesConfig",
    "MaskedHiddenLoss",
    "NBestLoss",
    "Shapes",
    "Targets",
    "ValueRelationLoss",
    "default_losses",
    "register_loss",
]
