"""Tensor names of all families (``FAMILY_PREFIXES``) in all versions of transformers, brought to today's.

What has changed there, or differs between the classes that save a model:

- the vector of masked frames was ``mask_time_emb_vector`` until 2021;
- weight normalization is ``weight_g`` and ``weight_v``, or ``parametrizations.weight.original0`` and ``original1``,
  and a plain ``weight`` where it was removed before saving;
- a base model saves without its prefix, a wrapped one (DDP, ``torch.compile``, a module around it) with another
  before it;
- heads of pre-training and of other tasks stand beside the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from bigfoot.models.shape import FAMILY_PREFIXES

WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What stands before every name of a model that was wrapped when it was saved."""
OF_A_MODEL = re.compile(rf"((?:\w+\.)*)(?:{'|'.join(FAMILY_PREFIXES.values())})\.")
"""A name within an encoder, with what any module around it put before."""

_RETIRED = {
    "mask_time_emb_vector": "masked_spec_embed",
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}
_PLAIN_KERNEL, _LENGTH, _DIRECTION = (
    f"encoder.pos_conv_embed.conv.{kind}"
    for kind in ("weight", "parametrizations.weight.original0", "parametrizations.weight.original1")
)
_PRETRAINING_HEADS = (
    "quantizer.", "project_q.", "project_hid.", "final_proj.", "label_embs_concat", "ctc_proj.", "speaker_proj.",
    "label_embeddings_concat", "layer_norm_for_extract.",
)  # fmt: skip
# Of classes for sequences, frames and speakers; there ``feature_extractor`` is also a linear map of the head.
_OTHER_HEADS = (
    "classifier.", "projector.", "layer_weights", "tdnn.", "objective.", "feature_extractor.weight",
    "feature_extractor.bias",
)  # fmt: skip


@dataclass
class Renamed:
    """Tensors by today's names.

    Args:
        tensors: encoder and CTC head.
        pretraining: parts of a pre-training head, which were left out.
        other: parts of another task's head, which were left out.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    pretraining: set[str] = field(default_factory=set)
    other: set[str] = field(default_factory=set)


def rename_to_current(tensors: Mapping[str, Tensor], family: str) -> Renamed:
    """Rename the tensors of a file to the names of today's transformers.

    Args:
        tensors: by the file's names.
        family: of the model, by its ``model_type``.

    Returns:
        The tensors of encoder and CTC head as given, and what was left out.

    Examples:
        >>> import torch
        >>> given = dict.fromkeys(["wav2vec2.mask_time_emb_vector", "quantizer.codevectors"], torch.zeros(2))
        >>> renamed = rename_to_current(given, "wav2vec2")
        >>> list(renamed.tensors), renamed.pretraining
        (['wav2vec2.masked_spec_embed'], {'quantizer'})
    """
    wrapper, prefix, renamed = common_wrapper(tensors), f"{FAMILY_PREFIXES[family]}.", Renamed()
    retired: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bare = _without_prefix(name.removeprefix(wrapper))
        if bare.startswith(_PRETRAINING_HEADS):
            renamed.pretraining.add(bare.partition(".")[0])
        elif bare.startswith(_OTHER_HEADS):
            renamed.other.add(bare.partition(".")[0])
        else:
            today = _today(bare)
            full = today if today.startswith("lm_head.") else prefix + today
            (renamed.tensors if today == bare else retired)[full] = tensor
    # Where a file has both names, today's is the one that was trained last.
    renamed.tensors = retired | renamed.tensors
    _split_plain_kernel_(renamed.tensors, prefix)
    return renamed


def common_wrapper(names: Iterable[str]) -> str:
    """Find the common prefix of all names of a model that was saved from within another module.

    Examples:
        >>> common_wrapper(["module.model.a", "module.model.b"]), common_wrapper(["module.a", "b"])
        ('module.model.', '')
        >>> common_wrapper(["asr.net.wav2vec2.masked_spec_embed", "asr.net.lm_head.bias"])
        'asr.net.'
    """
    left, wrapper = list(names), ""
    around = next((match[1] for name in left if (match := OF_A_MODEL.match(name))), "")
    if all(name.startswith(around) for name in left):
        wrapper, left = around, [name.removeprefix(around) for name in left]
    while left and (found := next((each for each in WRAPPERS if all(name.startswith(each) for name in left)), None)):
        wrapper, left = wrapper + found, [name.removeprefix(found) for name in left]
    return wrapper


def _without_prefix(name: str) -> str:
    """Return a name within the encoder, whichever family's prefix it has, or of a head."""
    for prefix in FAMILY_PREFIXES.values():
        if name.startswith(f"{prefix}."):
            return name.removeprefix(f"{prefix}.")
    return name


def _today(name: str) -> str:
    for old, new in _RETIRED.items():
        if name == old or name.endswith(f".{old}"):
            return name.removesuffix(old) + new
    return name


def _split_plain_kernel_(tensors: dict[str, Tensor], prefix: str) -> None:
    """A positional kernel without weight normalization as its length and direction; a batch norm's stays whole."""
    if f"{prefix}encoder.pos_conv_embed.batch_norm.weight" in tensors:
        return
    kernel = tensors.get(prefix + _PLAIN_KERNEL)
    if kernel is not None and kernel.ndim == 3:
        del tensors[prefix + _PLAIN_KERNEL]
        length = kernel.float().norm(dim=(0, 1), keepdim=True)
        tensors |= {prefix + _LENGTH: length, prefix + _DIRECTION: kernel}
