"""Low-rank adapters on the encoder (Hu et al., 2021) in training: merged into saved weights, or kept beside them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bigfoot.distill.objective import Objective
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.lora import inject_adapters_
from bigfoot.models.reshape import with_kept_adapters, with_merged_adapters


def add_adapters_(model: BigfootForCTC, rank: int, modules: Sequence[str]) -> list[nn.Parameter]:
    """Put adapters on linear maps of the encoder; they start as no change.

    Args:
        model: changed in place.
        rank: of each adapter.
        modules: names of linear maps in the layers, such as ``q_proj``.

    Returns:
        The encoder's own parameters, which are to be frozen; prompts are none of them.

    Raises:
        ModelError: no layer has such a map.
        MissingExtraError: ``peft`` is not installed.
    """
    encoder = model.speech_encoder
    own = [parameter for parameter in encoder.parameters() if parameter is not encoder.prompts]
    inject_adapters_(encoder.encoder.layers, rank, modules)
    return own


class AdaptedObjective(Objective):
    """An objective whose student has adapters: what is saved is the same model without them."""

    def deployed(self) -> BigfootForCTC:
        """Return a copy of the student with its adapters merged into the weights."""
        return with_merged_adapters(self.student)


class KeptAdapters(Objective):
    """An objective whose student has adapters: what is saved has its first weights, and the adapters beside them."""

    rank: int
    modules_adapted: Sequence[str]

    def keep(self, rank: int, modules: Sequence[str]) -> KeptAdapters:
        """Set what the saved configuration states of the adapters.

        Args:
            rank: of each.
            modules: that have them.
        """
        self.rank, self.modules_adapted = rank, modules
        return self

    def deployed(self) -> BigfootForCTC:
        """Return a copy of the student whose configuration names its adapters."""
        return with_kept_adapters(self.student, self.rank, self.modules_adapted)
