"""A model as the exported file has it: audio and lengths in, logits and frames out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bigfoot.models.ctc import BigfootForCTC

_VARIANCE_FLOOR = 1e-7


def normalize_by_lengths(input_values: Tensor, lengths: Tensor) -> Tensor:
    """Bring every utterance to zero mean and unit variance, by the formula of ``Wav2Vec2FeatureExtractor``.

    Args:
        input_values: (B, N).
        lengths: real samples of each, (B,).

    Returns:
        (B, N), zero in the padding.

    Example:
        >>> normalize_by_lengths(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([2])).round(decimals=3).tolist()
        [[-1.0, 1.0, 0.0]]
    """
    mask = torch.arange(input_values.shape[1], device=lengths.device) < lengths[:, None]
    count = lengths.clamp(min=1)[:, None]
    centred = input_values - (input_values * mask).sum(1, keepdim=True) / count
    variance = (centred.square() * mask).sum(1, keepdim=True) / count
    return (centred * torch.rsqrt(variance + _VARIANCE_FLOOR)).where(mask, 0.0)


class AnsweringModel(nn.Module):
    """What is exported, and what every export is compared with.

    Args:
        model: in eval mode, with a head.
        normalize: bring utterances to zero mean and unit variance inside.

    Example:
        >>> from bigfoot.models.folder import load_model
        >>> answering = AnsweringModel(load_model("tiny_teacher").model)
        >>> logits, frames = answering(torch.zeros(2, 16000), torch.tensor([16000, 8000]))
        >>> logits.shape[:2], frames.tolist()
        (torch.Size([2, 49]), [49, 24])
    """

    def __init__(self, model: BigfootForCTC, normalize: bool = False) -> None:
        super().__init__()
        self.model, self.normalize, self.fewest = model, normalize, model.config.receptive_field

    def forward(self, input_values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Answer.

        Args:
            input_values: (B, N), zeros beyond the lengths.
            lengths: real samples of each utterance, (B,).

        Returns:
            Logits (B, T, V), and real frames of each utterance (B,).
        """
        if self.normalize:
            input_values = normalize_by_lengths(input_values, lengths)
        # Without an "if": the graph is one for audio shorter than a frame and for any other.
        samples = torch.sym_max(input_values.shape[1], self.fewest)
        padded = nn.functional.pad(input_values, (0, self.fewest))[:, :samples]
        mask = torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None]
        # Written out: PyTorch's fused attention is exported with a search for NaN that nobody here can produce.
        output = self.model(padded, mask, output_attentions=True)
        return output.logits, output.frame_mask.sum(-1)
