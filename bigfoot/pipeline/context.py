"""Context that all steps of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.data.manifests import PreparedData
from bigfoot.formats.folder import LoadedModel
from bigfoot.pipeline.plan import Models, Plan
from bigfoot.pipeline.settings import Config


@dataclass(frozen=True)
class Labels:
    """Transcripts for training.

    Args:
        manifests: by split.
        fingerprint: of everything that determines their content.
        notes: remarks for the report.
    """

    manifests: dict[str, Path]
    fingerprint: str
    notes: list[str]


@dataclass
class Context:
    """Context that all steps of a run share.

    Args:
        plan: of the run.
        run_dir: output folder.
        data: manifests.
        teacher: frozen, with its processor.
        labels: the manifests with the transcripts for training.
        noise: digest of the noise recordings; None without any.
    """

    plan: Plan
    run_dir: Path
    data: PreparedData
    teacher: LoadedModel
    labels: Labels
    noise: str | None = None

    @property
    def models(self) -> Models:
        """Models of the plan, which a run always has."""
        assert self.plan.models is not None
        return self.plan.models

    @property
    def config(self) -> Config:
        """Settings of the run."""
        return self.plan.config
