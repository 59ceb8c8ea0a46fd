"""What all steps of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.data.manifests import PreparedData
from bigfoot.formats.folder import LoadedModel
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config


@dataclass(frozen=True)
class Labels:
    """Where training finds its transcripts.

    Args:
        manifests: by split.
        fingerprint: of all that decides what is in them.
        notes: what a reader of the report should know of them.
    """

    manifests: dict[str, Path]
    fingerprint: str
    notes: list[str]


@dataclass
class Context:
    """What all steps of a run share.

    Args:
        plan: of the run.
        run_dir: where steps write.
        data: manifests.
        teacher: frozen, with its processor.
        labels: the manifests that training reads, with the transcripts that it is to learn from.
        noise: digest of the recordings of noise; None without any.
    """

    plan: Plan
    run_dir: Path
    data: PreparedData
    teacher: LoadedModel
    labels: Labels
    noise: str | None = None

    @property
    def config(self) -> Config:
        """Settings of the run."""
        return self.plan.config
