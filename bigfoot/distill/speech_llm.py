"""Losses of a language model that gets speech: next tokens, and what it gives itself for the transcript."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bigfoot.config import not_negative
from bigfoot.distill.losses import LossSum
from bigfoot.distill.token_logits import TopTokens, token_logit_distillation
from bigfoot.errors import TrainingError
from bigfoot.models.speech_llm.model import SpeechInput, SpeechLLM
from bigfoot.models.speech_llm.packing import Layout

NEXT_TOKEN, TOKEN_LOGITS = "next_token", "token_logits"


@dataclass
class SpeechLLMLosses:
    """Weights of the losses, each a mean over the tokens of the outputs."""

    next_token: float = not_negative(1.0)
    """Cross-entropy of the output's tokens."""
    token_logits: float = not_negative(0.0)
    """Divergence from the same language model reading the transcript in place of the speech (Kang & Roux, 2024)."""


@dataclass(frozen=True)
class PromptBatch:
    """Examples with speech, and the same with transcripts.

    Args:
        layouts: with outputs.
        speech: recordings that the layouts name.
        transcripts: the same examples with the transcript's tokens in place of the speech; empty where no loss needs
            them, or where ``teacher`` is given.
        teacher: cached distributions of the outputs' tokens, in the order of the layouts.
    """

    layouts: Sequence[Layout]
    speech: SpeechInput
    transcripts: Sequence[Layout] = ()
    teacher: TopTokens | None = None

    @property
    def num_tokens(self) -> int:
        """Tokens of all outputs."""
        return sum(len(example.output) for example in self.layouts)


class SpeechLLMObjective(nn.Module):
    """A speech LLM with its losses.

    Args:
        model: what learns.
        losses: weights; a loss of weight 0 is not computed.

    Raises:
        TrainingError: no loss has a weight.
    """

    def __init__(self, model: SpeechLLM, losses: SpeechLLMLosses) -> None:
        super().__init__()
        self.model = model
        given = {NEXT_TOKEN: losses.next_token, TOKEN_LOGITS: losses.token_logits}
        self.weights = {name: weight for name, weight in given.items() if weight}
        if not self.weights:
            raise TrainingError("every loss of the speech LLM has weight 0, there is nothing to learn")

    def forward(self, batch: PromptBatch) -> dict[str, LossSum]:
        """Compute the sums of the losses over the outputs' tokens.

        Args:
            batch: on the model's device.
        """
        output = self.model(batch.layouts, batch.speech)
        units = torch.tensor(len(output.labels))
        found: dict[str, LossSum] = {}
        if NEXT_TOKEN in self.weights:
            found[NEXT_TOKEN] = LossSum(output.token_losses.sum(), units)
        if TOKEN_LOGITS in self.weights:
            teacher = self.teach(batch) if batch.teacher is None else batch.teacher
            found[TOKEN_LOGITS] = LossSum(token_logit_distillation(output.logits, teacher).sum(), units)
        return found

    @torch.no_grad()
    def teach(self, batch: PromptBatch) -> Tensor:
        """Compute the (K, V) logits of the language model that reads the transcripts.

        Raises:
            TrainingError: the batch has none.
        """
        if len(batch.transcripts) != len(batch.layouts):
            raise TrainingError("token_logits needs the transcript of each recording; give it, or set its weight to 0")
        was_training = self.model.training
        self.model.eval()
        with without_adapters(self.model.language_model):
            logits = self.model(batch.transcripts, []).logits
        self.model.train(was_training)
        return logits


def without_adapters(language_model: nn.Module) -> AbstractContextManager[None]:
    """Run a language model as it was before low-rank adapters were put into it."""
    disable = getattr(language_model, "disable_adapter", None)
    return nullcontext() if disable is None else disable()
