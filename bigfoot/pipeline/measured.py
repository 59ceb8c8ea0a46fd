"""Measure what all splits share of a run's models: size, speed and memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bigfoot.compress.quantize import folder_plan
from bigfoot.evaluation.decoder_pass import DecoderPass, find_token_rate
from bigfoot.evaluation.evaluate import missing_wer_reason
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.measure.memory import measure_peak_memory
from bigfoot.measure.size import ModelSize, measure_size
from bigfoot.measure.speed import ModelSpeed, count_all_threads, measure_speed
from bigfoot.pipeline.deployed import open_timed
from bigfoot.pipeline.facts import StepResult
from bigfoot.pipeline.settings import Config
from bigfoot.progress import show_work
from bigfoot.report.rows import Row
from bigfoot.text.tokenizer import Tokenizer

log = logging.getLogger("bigfoot")


@dataclass
class Measured:
    """A model with the measurements that all splits share.

    Args:
        judged_as: see ``evaluate_accuracy``.
    """

    result: StepResult
    loaded: LoadedModel
    size: ModelSize
    decoder: DecoderPass | None = None
    peak_memory: int | None = None
    judged_as: Tokenizer | None = None

    @property
    def decoder_row(self) -> str:
        """Name of the row of the decoder's hypotheses."""
        return f"{self.result.row}, decoder"


@dataclass
class Speeds:
    """Speeds by row, with one thread and with all, and notes on how they were measured."""

    single: dict[str, ModelSpeed] = field(default_factory=dict)
    every: dict[str, ModelSpeed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def fill_(self, row: Row) -> Row:
        """Write a row's speeds into it, None where it was not timed, and return it."""
        one, every = self.single.get(row.name), self.every.get(row.name)
        row.real_time_factor = None if one is None else one.real_time_factor
        row.speedup = None if one is None else one.speedup
        row.speedup_low = None if one is None else one.speedup_low
        row.speedup_high = None if one is None else one.speedup_high
        row.speedup_all_threads = None if every is None else every.speedup
        return row


def measure_model(result: StepResult, manifests: Sequence[Path], config: Config) -> Measured:
    """Load the model of a step and measure its size.

    Args:
        result: of the step.
        manifests: of the evaluated splits, whose transcripts say how much a decoder writes.
        config: of the run.
    """
    loaded = load_model(result.folder)
    assert loaded.folder is not None
    measured = Measured(result, loaded, measure_size(loaded.model, loaded.folder))
    # PyTorch only simulates layers that compute in int8: such a decoder has no speed.
    timed = loaded.model.decoder is not None and folder_plan(loaded.model) is None and not missing_wer_reason(loaded)
    rate = find_token_rate(loaded, manifests) if timed else None
    if rate is not None:
        measured.decoder = DecoderPass(loaded.model, config.evaluate.autoregressive, rate)
    return measured


def _describe_pass(name: str, decoder: DecoderPass) -> str:
    rate = decoder.tokens_per_second
    return f"{name}: speed and MACs are those of {rate:.1f} tokens per second of audio, as the transcripts have"


def measure_speeds(measured: Sequence[Measured], config: Config) -> Speeds:
    """Time all models in interleaved rounds, and measure the memory of each in a process of its own."""
    with open_timed({item.result.row: item.loaded for item in measured}) as timed:
        rounds, seconds = config.evaluate.speed_rounds, config.evaluate.speed_seconds
        decoders = {item.decoder_row: item.decoder for item in measured if item.decoder is not None}
        models = {**timed.models, **decoders}
        timed.notes += [_describe_pass(name, decoder) for name, decoder in decoders.items()]
        log.info("measuring speed: %d interleaved rounds of %d models", rounds, len(models))
        # A bar that refreshes itself would be measured too.
        with show_work("measuring speed", 2 * (rounds + 1), "rounds", live=False) as work:
            measure = partial(measure_speed, models, rounds=rounds, seconds=seconds, on_round=work.advance)
            single, every = measure(threads=1), measure(threads=count_all_threads())
        for item in measured:
            if item.result.row in timed.models and item.loaded.folder is not None:
                item.peak_memory = measure_peak_memory(timed.files.get(item.result.row, item.loaded.folder))
    return Speeds(single, every, timed.notes)
