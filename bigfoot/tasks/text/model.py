"""The model of a text task: a text encoder with its classifier, or with speech beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.models.fusion.fusion import Fusion
from bigfoot.models.fusion.streams import Frames
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.tasks.text.batches import TextBatch
from bigfoot.tasks.text.streams import SpeechStreams


class TextAnswers(NamedTuple):
    """Output of a text task's model.

    Args:
        logits: (B, K).
        text: (B, E), embedding of the text; None without speech.
        speech: (B, E), of the speech.
    """

    logits: Tensor
    text: Tensor | None = None
    speech: Tensor | None = None


class TextClassifier(nn.Module):
    """Classifies text, alone or fused with speech; padding of either changes nothing.

    Args:
        shape: of the task.
        text: of transformers: a sequence classifier, or an encoder where there is a fusion.
        speech: streams; None for text alone.
        fusion: of both; None for text alone.
    """

    def __init__(
        self, shape: TaskShape, text: Any, speech: SpeechStreams | None = None, fusion: Fusion | None = None  # noqa: ANN401
    ) -> None:
        super().__init__()
        self.shape = shape
        self.text: nn.Module = text
        self.speech, self.fusion = speech, fusion

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.parameters()).device

    def parts(self) -> dict[str, nn.Module]:
        """Return the parts by the names that learning rates use."""
        found: dict[str, nn.Module] = {"text": self.text}
        if self.speech is not None and self.speech.encoder is not None:
            found["encoder"] = self.speech.encoder
        return found | ({} if self.fusion is None else {"fusion": self.fusion})

    def forward(self, batch: TextBatch) -> TextAnswers:
        """Answer a batch.

        Args:
            batch: on the model's device.
        """
        # Masks of transformers are numbers, not truth values.
        mask = batch.text_mask.long()
        output = self.text(input_ids=batch.input_ids, attention_mask=mask)
        if self.fusion is None or self.speech is None:
            return TextAnswers(output.logits)
        streams = self.speech(batch.input_values, batch.attention_mask)
        found = self.fusion(Frames(output.last_hidden_state, batch.text_mask), streams)
        return TextAnswers(found.logits, found.text, found.speech)
