"""The control of a run: the same student without its teacher."""

from __future__ import annotations

from dataclasses import replace

from bigfoot.config.schema import LossesConfig
from bigfoot.distill.terms import TERMS


def ctc_only(losses: LossesConfig) -> LossesConfig:
    """The same losses with the teacher's off and CTC on: what the student learns without a teacher.

    Args:
        losses: of the step that the control is compared with.
    """
    compared = [name for name, term in TERMS.items() if term.needs_teacher]
    off = {name: replace(getattr(losses, name), weight=0.0) for name in compared}
    return replace(losses, **off, ctc=replace(losses.ctc, weight=losses.ctc.weight or 1.0))
