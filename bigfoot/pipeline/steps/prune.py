"""Step ``prune``: remove the units of least importance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accelerate import PartialState

from bigfoot.compress.importance import NEEDS_AUDIO
from bigfoot.compress.registry import apply_technique, fit_technique
from bigfoot.config import Problem
from bigfoot.data.batches import sample_batches
from bigfoot.formats.folder import load_model
from bigfoot.pipeline.context import Context
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.saving import save_step
from bigfoot.pipeline.steps.step import Step


class PruneStep(Step):
    """Score, select and remove units, by the technique ``prune``."""

    repeats = True
    reshapes = True
    untrained = True

    def check(self, plan: Plan) -> Iterator[Problem]:
        """See ``Step``."""
        if plan.models is None:
            return
        config, source, before = plan.config, plan.models.source, plan.before_first(self.name)
        shape = plan.models.student if "student" in before else source.config
        yield from (problem.under(self.name) for problem in fit_technique(shape, config.prune).problems)
        gains_decoder = "finetune" in before and config.finetune.objective != "ctc" and shape.decoder is None
        if "width" in config.prune.parts and gains_decoder:
            message = "width cannot be cut under a decoder, which reads frames of that width; leave it out"
            yield Problem("prune.parts", "width_under_decoder", message)
        can_tokenize = source.config.ctc_head and source.processor.tokenizer is not None
        if self.reads_labels(config) and not can_tokenize and "finetune" not in before:
            missing = "vocabulary (vocab.json)" if source.config.ctc_head else "CTC head"
            message = f"taylor asks the CTC loss, but {source.path} has no {missing}"
            yield Problem(
                "prune.importance", "no_labels", f"{message}; use l1, l2 or activation, or prune after finetune"
            )

    def reads_labels(self, config: Config) -> bool:
        """See ``Step``."""
        return config.prune.importance == "taylor"

    def depends_on(self, context: Context) -> dict[str, Any]:
        """See ``Step``."""
        return {"data": context.labels.fingerprint, "other settings": [context.config.data.known_batch_seconds]}

    def remaining_share(self, config: Config) -> float | None:
        """See ``Step``."""
        return config.prune.keep if config.prune.target == "params" else None

    def describe(self, config: Config, precision: str) -> str:
        """See ``Step``."""
        return "pruned, not trained since, CTC"

    def run(self, result: StepResult, before: StepResult, context: Context, *, control: bool) -> None:
        """See ``Step``."""
        config, loaded = context.config.prune, load_model(before.folder)
        batches = []
        if config.importance in NEEDS_AUDIO:
            manifest, room = context.labels.manifests["train"], context.config.data.known_batch_seconds
            labels = self.reads_labels(context.config)
            batches = sample_batches(manifest, loaded.processor, config.seconds, room, labels=labels)
        home = loaded.model.device
        given = loaded.model.to(PartialState().device)
        model, change = apply_technique(given, config, batches)
        result.changes = [change.describe()]
        save_step(result, model.to(home), loaded)
