"""Speech models of transformers that are not read, and what to do with them: they may teach by their texts."""

from __future__ import annotations

from collections.abc import Iterable

from transformers.models.auto import modeling_auto


def _kinds(name: str) -> Iterable[str]:
    # Older versions of transformers have fewer of these tables.
    found: Iterable[str] = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES", ())
    return found


_WHAT = (
    (_kinds("CTC"), "a CTC model whose frames bigfoot cannot time"),
    (_kinds("SPEECH_SEQ_2_SEQ"), "a sequence-to-sequence model"),
    (_kinds("MULTIMODAL_LM"), "a language model that answers a prompt"),
    (_kinds("TDT"), "a transducer"),
    (_kinds("RNNT"), "a transducer"),
)
"""Kinds by their names in transformers, and what they are; of a kind with several, the last."""


def advise_on_kind(kind: str) -> str:
    """Return what an unread kind of model is, and how it may teach; empty where it is no speech model of transformers'.

    Args:
        kind: its ``model_type``.

    Examples:
        >>> advise_on_kind("parakeet_tdt").partition(":")[0]
        '; it is a transducer, which teaches by its texts'
        >>> advise_on_kind("bert")
        ''
    """
    found = next((what for kinds, what in reversed(_WHAT) if kind in kinds), None)
    if found is None:
        return ""
    return (
        f"; it is {found}, which teaches by its texts: transcribe your audio with it, write a table with the columns "
        "path and text, and train on that (data.corpus=table, distill.losses.ctc.weight=1)"
    )
