"""Step ``quantize``: quantize the weights; the last step of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from bigfoot.compress.audio import one_by_one
from bigfoot.compress.registry import apply_technique, fit_technique
from bigfoot.config import Problem
from bigfoot.data.batches import sample_batches
from bigfoot.formats.folder import load_model
from bigfoot.measure.size import measure_size_bytes
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.saving import save_step
from bigfoot.pipeline.steps.step import Step
from bigfoot.progress import track

log = logging.getLogger("bigfoot")


class QuantizeStep(Step):
    """Quantize weights; with ``int8_static``, calibrate on training audio."""

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        steps = plan.config.steps
        if self.name in steps[:-1]:
            message = f"quantize comes last, not as in {steps}: quantized weights are neither trained nor cut"
            yield Problem("steps", "bad_order", message)
        if plan.models is not None:
            fit = fit_technique(plan.models.student, plan.config.quantize)
            yield from (problem.under(self.name) for problem in fit.problems)

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``."""
        return {"data": context.labels.fingerprint, "other settings": [context.config.data.known_batch_seconds]}

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return f"{precision} weights, not trained since, CTC"

    def describe_after_control(self, precision: str) -> str:
        """See ``Step``."""
        return f"then {precision} weights"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        config, loaded = context.config.quantize, load_model(before.folder)
        audio: Sequence[PaddedAudio] = ()
        if config.precision == "int8_static":
            manifest, room = context.labels.manifests["train"], context.config.data.known_batch_seconds
            audio = [*one_by_one(sample_batches(manifest, loaded.processor, config.seconds, room))]
        # Read once, in order: the one technique that needs no sequence.
        shown: Any = track(audio, "calibrating", unit="utterances") if audio else audio
        model, change = apply_technique(loaded.model, config, shown)
        result.changes = [change.describe()]
        save_step(result, model, loaded, precision=config.precision)
        sizes = [measure_size_bytes(folder) / 1e6 for folder in (before.folder, result.folder)]
        log.info("quantize: %s %.2f MB -> %.2f MB", change.describe(), *sizes)
