"""Where real samples stand in a padded batch: brought to the front, or taken out row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bigfoot.errors import DataError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.feature_encoder import FeatureEncoder
from bigfoot.models.log_mel import LogMel
from bigfoot.models.outputs import SpeechEncoderOutput


def bring_to_front(input_values: Tensor, attention_mask: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Move the real samples of every row to its front, wherever its padding is.

    Args:
        input_values: (B, N).
        attention_mask: (B, N), true or 1 where a sample is real: one run a row, or none, of a row without frames.
        training: whether a GPU must not be waited for. Holes are not searched for there.

    Returns:
        The samples and the mask, (B, N), True on the first samples of each row; both as they were given where all
        padding stands at the end already.

    Raises:
        DataError: a mask of another shape than the samples, of other values, or with padding between real samples.

    Examples:
        >>> waves, mask = torch.tensor([[0.0, 3.0, 4.0]]), torch.tensor([[False, True, True]])
        >>> bring_to_front(waves, mask, training=False)[0].tolist()
        [[3.0, 4.0, 0.0]]
    """
    if attention_mask.shape != input_values.shape:
        shapes = f"{tuple(attention_mask.shape)} and input_values is {tuple(input_values.shape)}"
        raise DataError(f"attention_mask is {shapes}; it should mark every sample as real or padding")
    mask = attention_mask.bool()
    places = torch.arange(mask.shape[1], device=mask.device)
    front = places < mask.sum(-1, keepdim=True)
    if torch.compiler.is_exporting():
        return input_values, front  # A graph is written for padding at the end, and cannot hold a refusal.
    waits = mask.device.type == "cpu" or not training
    if waits and not torch.compiler.is_compiling():
        _check_values(attention_mask)
        if torch.equal(mask, front):
            return input_values, attention_mask
        _check_runs(mask)
    start = mask.int().argmax(-1, keepdim=True)
    moved = input_values.gather(1, (places + start).clamp(max=mask.shape[1] - 1))
    return moved.where(front, 0.0), front


def _check_values(attention_mask: Tensor) -> None:
    """Refuse what is no mask: an additive one, as attention takes it, would mark all padding as real."""
    if attention_mask.dtype == torch.bool:
        return
    odd = attention_mask[(attention_mask != 0) & (attention_mask != 1)]
    if len(odd):
        raise DataError(f"attention_mask holds {float(odd[0]):g}; expected 1 where a sample is real, and 0 elsewhere")


def _check_runs(mask: Tensor) -> None:
    """Refuse a row with padding between real samples: the places of its frames are unknown."""
    starts = mask[:, 1:] & ~mask[:, :-1]
    runs = starts.sum(-1) + mask[:, 0]
    if torch.any(runs > 1):
        row = int(runs.argmax())
        raise DataError(
            f"attention_mask: row {row} has {int(runs[row])} runs of real samples with padding between them, and one "
            "run is expected; cut the utterance there, or mark silence as real"
        )


class Audio(NamedTuple):
    """Inputs of ``SpeechEncoder.forward``, padding at the end."""

    input_values: Tensor
    attention_mask: Tensor | None
    mask_time_indices: Tensor | None
    mask_feature_indices: Tensor | None
    chunk_frames: Tensor | int | None = None
    conv_features: Tensor | None = None

    def rows(self) -> Iterator[Audio]:
        """One utterance after the other, without its padding."""
        samples = self.input_values.shape[1]
        lengths = [samples] * len(self.input_values) if self.attention_mask is None else self.attention_mask.sum(-1)
        for row, length in enumerate(lengths):
            time, feature = (None if mask is None else mask[row : row + 1] for mask in self[2:4])
            yield Audio(self.input_values[row : row + 1, : int(length)], None, time, feature, self.chunk_frames)


def join_rows(
    rows: Sequence[SpeechEncoderOutput], given: Audio, feature_encoder: FeatureEncoder | LogMel, config: BigfootConfig
) -> SpeechEncoderOutput:
    """Put utterances that were encoded one by one beside each other, with zeros after the shorter ones."""
    samples = max(given.input_values.shape[1], feature_encoder.receptive_field)
    frames = int(feature_encoder.frame_lengths(torch.tensor([samples])))

    seen = frames + config.num_prompts
    in_layers = max(1, config.frames_in_layers(int(feature_encoder.layer_lengths(torch.tensor([samples])))))

    def join(parts: Sequence[Tensor | None], frames: int, is_map: bool = False) -> Tensor | None:
        padded = []
        for part in parts:
            if part is None:
                return None
            missing = (in_layers + config.num_prompts if is_map else frames) - part.shape[-2]
            padded.append(nn.functional.pad(part, (0, missing if is_map else 0, 0, missing)))
        return torch.cat(padded)

    joined: dict[str, Any] = {}
    for name, count in (("last_hidden_state", seen), ("conv_features", frames)):
        joined[name] = join([getattr(row, name) for row in rows], count)
    for name in ("hidden_states", "attentions", "attention_values"):
        # Not by key: transformers' outputs have no keys for None.
        if getattr(rows[0], name) is not None:
            layers = zip(*(getattr(row, name) for row in rows), strict=True)
            joined[name] = tuple(join(layer, seen, name == "attentions") for layer in layers)
    if given.attention_mask is not None:
        real = feature_encoder.frame_lengths(given.attention_mask.sum(-1)) + config.num_prompts
        joined["frame_mask"] = torch.arange(seen, device=real.device) < real[:, None]
    return SpeechEncoderOutput(**joined)
