"""Count the parameters of a YAML file's student, as deployed and as in its paper, without training it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bigfoot.formats.folder import LoadedModel, outline_model
from bigfoot.measure.size import count_params
from bigfoot.measure.summary import ModelSummary, summarize_model
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.scale import apply_scale
from bigfoot.pipeline.settings import Config, PublishedConfig, load_config
from bigfoot.pipeline.steps.step import get_step
from bigfoot.pipeline.student_shape import final_shape
from bigfoot.text.tokenizers import Processor

# Shapes of the usual teachers, so that counting their students needs no download.
_KNOWN_TEACHERS: dict[str, dict[str, Any]] = {
    "facebook/wav2vec2-base": {"ctc_head": False},
    "facebook/wav2vec2-base-960h": {},
    "facebook/hubert-base-ls960": {"family": "hubert", "ctc_head": False},
    "microsoft/wavlm-base-plus": {"family": "wavlm", "ctc_head": False, "num_buckets": 320},
}


@dataclass(frozen=True)
class PresetSummary:
    """Student of a YAML file.

    Args:
        student: layer by layer, from its shape without weights.
        deployed_parts: parameters of the deployed model, by part; shared ones counted once.
        published_parts: parameters that the paper counts, by part.
        num_params_printed: number printed in the paper; None if unknown.
        num_params_target: parameters after the steps ``prune`` and ``gates``, which learn the shape; all other counts
            are before them. None without these steps, or if they have another kind of target.
        about: whether the paper's shape is unknown, and this one approximates it.
    """

    student: ModelSummary
    deployed_parts: dict[str, int]
    published_parts: dict[str, int]
    num_params_printed: int | None
    num_params_target: int | None = None
    about: bool = False

    @property
    def num_params_deployed(self) -> int:
        """Parameters of the deployed model."""
        return sum(self.deployed_parts.values())

    @property
    def num_params_as_published(self) -> int:
        """Parameters as the paper counts them: with the projections of training, without a CTC head."""
        return sum(self.published_parts.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain containers for JSON, without the student's layers."""
        return {
            "num_params_as_published": self.num_params_as_published,
            "num_params_deployed": self.num_params_deployed,
            "num_params_printed": self.num_params_printed,
            "num_params_target": self.num_params_target,
            "about": self.about,
            "published_parts": self.published_parts,
            "deployed_parts": self.deployed_parts,
        }

    def describe(self) -> list[str]:
        """Return two or three lines of text."""
        millions, target = self.num_params_printed, self.num_params_target
        of_what = ", of a shape that is not known; this one is about that" if self.about else ""
        printed = "" if millions is None else f" (the paper prints {millions / 1e6:.2f} M{of_what})"
        before = "" if target is None else ", before pruning"
        counted = printed if target is None else before
        lines = [f"as published {self.num_params_as_published:,}{counted}: {_list(self.published_parts)}",
                 f"deployed {self.num_params_deployed:,}{before}: {_list(self.deployed_parts)}"]  # fmt: skip
        return lines if target is None else [*lines, f"pruned to about {target:,}{printed}, in a shape that is learned"]


def _list(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in parts.items())


def summarize_preset(path: str | Path, overrides: Sequence[str] = ()) -> PresetSummary:
    """Build the student of a YAML file without weights, and count its parameters.

    Args:
        path: looked up as given, then under ``configs/``.
        overrides: ``a.b=c`` each.

    Returns:
        See ``PresetSummary``.

    Raises:
        ConfigError: a key is invalid.
        ModelError: the teacher is missing, the student's shape is invalid, or its ranks depend on weights.

    Examples:
        >>> summarize_preset("methods/maskhubert.yaml").num_params_as_published
        26635840
    """
    config = apply_scale(load_config(path, overrides))
    teacher = _find_shape(config.teacher.path, config.teacher.language)
    source = teacher if config.student.path is None else _find_shape(config.student.path)
    with torch.device("meta"):
        model = BigfootForCTC(final_shape(config, source)).eval()
    parts = _count_parts(model)
    published = {name: count for name, count in parts.items() if name != "lm_head"}
    published |= _count_extras(config.published, model.config.hidden_size, teacher.hidden_size)
    printed = round(config.published.num_params) or None
    student, target = summarize_model(LoadedModel(model, Processor())), _pruned_size(config, sum(parts.values()))
    return PresetSummary(student, parts, published, printed, target, config.published.about)


def _find_shape(path: str, language: str | None = None) -> BigfootConfig:
    known = _KNOWN_TEACHERS.get(path)
    return outline_model(path, language=language).config if known is None else BigfootConfig(**known)


def _pruned_size(config: Config, num_params: int) -> int | None:
    """Compute the parameters left if every pruning step meets its target."""
    shares = [get_step(name).remaining_share(config) for name in config.steps]
    known = [share for share in shares if share is not None]
    if len(known) < len(shares) or all(share == 1 for share in known):
        return None
    return round(num_params * math.prod(known))


def _count_parts(model: BigfootForCTC) -> dict[str, int]:
    """Count unique parameters by part; ``rest`` is the encoder's norm and the mask embedding."""
    encoder = model.speech_encoder
    modules = {
        "feature_encoder": encoder.feature_encoder,
        "feature_projection": encoder.feature_projection,
        "pos_conv_embed": encoder.encoder.pos_conv_embed,
        "time_reduction": encoder.encoder.time_reduction,
        "layers": encoder.encoder.layers,
        "lm_head": model.head,
    }
    counts = {name: count_params(module) for name, module in modules.items() if module is not None}
    counts["rest"] = count_params(model) - sum(counts.values())
    return {name: count for name, count in counts.items() if count}


def _count_extras(published: PublishedConfig, size: int, teacher_size: int) -> dict[str, int]:
    """Count modules that the paper counts and that are dropped after training."""
    extras = {}
    if published.projections:
        extras[f"{published.projections} projections"] = published.projections * (size + 1) * teacher_size
    if published.upsamplers:
        extras[f"{published.upsamplers} upsamplers"] = published.upsamplers * (2 * size + 1) * size
    return extras
