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
from bigfoot.models.speech_llm.packing import Layout, name_recordings

NEXT_TOKEN, TOKEN_LOGITS, TEXT_SPEECH = "next_token", "token_logits", "text_speech"


@dataclass
class SpeechLLMLosses:
    """Weights of the losses."""

    next_token: float = not_negative(1.0)
    """Cross-entropy of the output's tokens, a mean over them."""
    token_logits: float = not_negative(0.0)
    """Divergence from the same language model reading the transcript in place of the speech (Kang & Roux, 2024), a mean
    over the output's tokens."""
    text_speech: float = not_negative(0.0)
    """One minus the cosine between the mean embedding of a recording and that of its transcript's tokens, a mean over
    the recordings with a transcript."""


@dataclass(frozen=True)
class PromptBatch:
    """Examples with speech, and the same with transcripts.

    Args:
        layouts: with outputs.
        speech: recordings that the layouts name.
        transcripts: the same examples with the transcript's tokens in place of the speech; empty where no loss needs
            them, or where ``teacher`` is given.
        teacher: cached distributions of the outputs' tokens, in the order of the layouts.
        spoken: number of a recording, and its transcript's tokens (U,), for each recording that has a transcript.
    """

    layouts: Sequence[Layout]
    speech: SpeechInput
    transcripts: Sequence[Layout] = ()
    teacher: TopTokens | None = None
    spoken: Sequence[tuple[int, Tensor]] = ()

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
        given = {
            NEXT_TOKEN: losses.next_token, TOKEN_LOGITS: losses.token_logits, TEXT_SPEECH: losses.text_speech,
        }  # fmt: skip
        self.weights = {name: weight for name, weight in given.items() if weight}
        if not self.weights:
            raise TrainingError("every loss of the speech LLM has weight 0, there is nothing to learn")

    def forward(self, batch: PromptBatch) -> dict[str, LossSum]:
        """Compute the sums of the losses over the outputs' tokens.

        Args:
            batch: on the model's device.
        """
        wanted = TEXT_SPEECH in self.weights or name_recordings(batch.layouts)
        recordings = self.embed(batch.speech) if wanted else []
        output = self.model(batch.layouts, recordings)
        units = torch.tensor(len(output.labels))
        found: dict[str, LossSum] = {}
        if NEXT_TOKEN in self.weights:
            found[NEXT_TOKEN] = LossSum(output.token_losses.sum(), units)
        if TOKEN_LOGITS in self.weights:
            teacher = self.teach(batch) if batch.teacher is None else batch.teacher
            found[TOKEN_LOGITS] = LossSum(token_logit_distillation(output.logits, teacher).sum(), units)
        if TEXT_SPEECH in self.weights:
            found[TEXT_SPEECH] = self._compare_embeddings(recordings, batch.spoken)
        return found

    def embed(self, speech: SpeechInput) -> list[Tensor]:
        """Compute the embeddings of each recording."""
        return self.model.embed_speech(speech)

    def _compare_embeddings(self, recordings: Sequence[Tensor], spoken: Sequence[tuple[int, Tensor]]) -> LossSum:
        total = self.model.token_embedding.weight.new_zeros(())
        for index, tokens in spoken:
            if not len(recordings[index]):
                continue  # too short for a frame
            # The text stays where it is: the speech moves towards it.
            text = self.model.token_embedding(tokens).detach().mean(0)
            total = total + 1 - nn.functional.cosine_similarity(recordings[index].mean(0), text, dim=0)
        return LossSum(total, torch.tensor(len(spoken)))

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
