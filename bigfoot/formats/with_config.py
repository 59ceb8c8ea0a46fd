"""A state dict's tensors in a shape from elsewhere."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bigfoot.formats.fairseq import rename_state
from bigfoot.formats.fairseq2 import rename_fairseq2
from bigfoot.formats.filling import fill_model, in_fp32
from bigfoot.formats.huggingface import build_from_weights
from bigfoot.formats.state_dict import whose_names
from bigfoot.formats.torchaudio import rename_to_plain
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.reshape import name_in_model, reshape_config


def build_with_config(tensors: dict[str, Tensor], config: BigfootConfig, file: Path) -> BigfootForCTC:
    """Build a model of a state dict's tensors.

    Args:
        tensors: by the names of transformers, bigfoot, torchaudio, fairseq or fairseq2.
        config: of a model of the same shape; the head, and its size, are those of the tensors.
        file: where they come from, for messages.

    Returns:
        The model in fp32 and eval mode.

    Raises:
        ModelError: tensors are missing, left over or of another shape.
    """
    shape = reshape_config(config, small_weights=None)
    whose = whose_names(tensors)
    if whose == "fairseq":
        tensors = rename_state(tensors, shape, file)
    elif whose == "fairseq2":
        tensors = rename_fairseq2(tensors, shape)
    elif whose == "torchaudio":
        plain = rename_to_plain(tensors, str(file))
        tensors = {name_in_model(name, shape): tensor for name, tensor in plain.items()}
    head = next((tensor for name, tensor in tensors.items() if name.endswith("lm_head.weight")), None)
    rows = {} if head is None or not head.ndim else {"vocab_size": len(head)}
    shape = reshape_config(shape, ctc_head=head is not None, **rows)
    if shape.is_huggingface_shape:
        return build_from_weights(shape, tensors, str(file))
    return fill_model(shape, in_fp32(tensors), str(file))
