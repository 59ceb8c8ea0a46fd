"""``bigfoot shrink``: read audio, search, save, judge on audio that the search did not see, and report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bigfoot.compress.settings import Shrink
from bigfoot.compress.shrink.audio import group_audio
from bigfoot.compress.shrink.search import Shrunk
from bigfoot.compress.shrink.survey import Reference
from bigfoot.compress.shrink.tables import Row, describe_shape
from bigfoot.compress.shrink.technique import apply, shrink_problems
from bigfoot.config.problems import Problem
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ConfigError
from bigfoot.export.audio import padded_audio, read_option
from bigfoot.formats.folder import (
    EARLIER_MODELS,
    LoadedModel,
    load_model,
    replace_model_folder,
    resolve_model,
    write_model,
)
from bigfoot.measure.size import measure_size
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, MayReplace, check_folder
from bigfoot.types import Seconds

REPORT = "shrink.json"
"""Beside the weights."""
_RESAMPLES = 1000


@dataclass(frozen=True)
class ShrinkRequest:
    """What to shrink, and how far.

    Args:
        model: see ``resolve_model``.
        destination: folder to write.
        audio: unlabelled speech: a lhotse manifest, a folder or a file.
        settings: of the search.
        seconds: of audio for the search, every fifth utterance held out of the fits.
        judge_seconds: of audio behind that, on which the result is judged.
        may: what may be replaced, besides what bigfoot wrote.
    """

    model: str
    destination: Path
    audio: Path
    settings: Shrink
    seconds: Seconds = 60.0
    judge_seconds: Seconds = 40.0
    may: MayReplace = OWN_ONLY


@dataclass(frozen=True)
class Judgement:
    """How far the outputs of the smaller model are from the whole model's.

    Args:
        error: nats a frame between the posteriors of the CTC heads; without a head squared distance of the last hidden
            states over their squares.
        low: lower end of its 95 % interval, by bootstrap over utterances.
        high: upper end.
        frames_changed: share of frames whose most probable token is another; None without a head.
        seconds: of audio.
        unseen: whether the search saw none of it.
    """

    error: float
    low: float
    high: float
    frames_changed: float | None
    seconds: Seconds
    unseen: bool


@dataclass(frozen=True)
class ShrinkReport:
    """Result of ``bigfoot shrink``.

    Args:
        settings: of the search.
        share: of the measure that is left.
        rows: what was cut where.
        sizes: ``macs_per_second``, ``params`` and ``megabytes``, before and after.
        judgement: on audio.
        rounds: of the search.
        processor_seconds: of the whole search.
    """

    settings: Shrink
    share: float
    rows: Sequence[Row]
    sizes: dict[str, tuple[float, float]]
    judgement: Judgement
    rounds: Sequence[Any]
    processor_seconds: float

    def to_json(self) -> str:
        """Return all of it."""
        return json.dumps(asdict(self), indent=2)


def run_shrink(request: ShrinkRequest, on_note: Callable[[str], None] = lambda _: None) -> ShrinkReport:
    """Load, search, judge, save.

    Args:
        request: what is to become small.
        on_note: called with a line that a user should read.

    Returns:
        See ``ShrinkReport``; the folder is written, the report in it.

    Raises:
        ConfigError: a model that cannot be searched, or settings out of range.
        UnfitError: the target cannot be reached.
        OutputError: the destination is read, holds what bigfoot did not write, or another process writes it.
    """
    model = resolve_model(request.model)
    may = replace(request.may, inputs=[model, request.audio], models=[model])
    check_folder(request.destination, replace(may, report=lambda _: None), EARLIER_MODELS)
    loaded = load_model(request.model)
    if problems := [_as_option(each) for each in shrink_problems(loaded.model.config, request.settings)]:
        raise ConfigError(problems)
    with locked(request.destination):
        return _shrink(replace(request, may=may), loaded, on_note)


def _as_option(problem: Problem) -> Problem:
    return replace(problem, key=f"--{problem.key or 'model'}")


def _shrink(request: ShrinkRequest, loaded: LoadedModel, on_note: Callable[[str], None]) -> ShrinkReport:
    wanted = request.seconds + request.judge_seconds
    utterances = read_option("--audio", request.audio, loaded.processor, on_note, wanted)
    fitted, judged = _divide(utterances, request, loaded.processor.sample_rate)
    audio = list(padded_audio(fitted, loaded.processor))
    found: list[Shrunk] = []
    start = time.process_time()
    model, change = apply(loaded.model, request.settings, audio, on_found=found.append)
    took = time.process_time() - start
    unseen = group_audio(list(padded_audio(judged, loaded.processor))) if judged else []
    judgement = judge(loaded.model, model, unseen or group_audio(audio[4::5] or audio), bool(unseen))
    sizes = _compare_sizes(loaded.model, model)
    rows = describe_shape(loaded.model.config, model.config)
    report = ShrinkReport(request.settings, found[0].share, rows, sizes, judgement, found[0].rounds, round(took, 1))
    entry = {"step": "shrink", "changes": [change.describe()]}

    def write(folder: Path) -> None:
        write_model(LoadedModel(model, loaded.processor, [*loaded.history, entry]), folder)
        (folder / REPORT).write_text(report.to_json(), encoding="utf-8")

    replace_model_folder(request.destination, write, request.may)
    return report


def _divide(
    utterances: Sequence[LoadedUtterance], request: ShrinkRequest, rate: int
) -> tuple[list[LoadedUtterance], list[LoadedUtterance]]:
    """Utterances of the search, and those behind them."""
    fitted: list[LoadedUtterance] = []
    judged: list[LoadedUtterance] = []
    seconds = 0.0
    for each in utterances:
        (fitted if seconds < request.seconds else judged).append(each)
        seconds += len(each.samples) / rate
        if seconds >= request.seconds + request.judge_seconds:
            break
    return fitted, judged


def _compare_sizes(before: BigfootForCTC, after: BigfootForCTC) -> dict[str, tuple[float, float]]:
    sizes = [measure_size(each) for each in (before, after)]
    held = [sum(tensor.nbytes for tensor in each.state_dict().values()) / 1e6 for each in (before, after)]
    return {
        "macs_per_second": (sizes[0].macs_per_second, sizes[1].macs_per_second),
        "params": (sizes[0].num_unique_params, sizes[1].num_unique_params),
        "megabytes": (held[0], held[1]),
    }


@torch.no_grad()
def judge(
    whole: BigfootForCTC, model: BigfootForCTC, batches: Sequence[PaddedAudio], unseen: bool, seed: int = 0
) -> Judgement:
    """Measure how far a model's outputs are from the whole model's.

    Args:
        whole: what it was cut out of.
        model: the smaller one.
        batches: audio.
        unseen: whether the search saw none of it.
        seed: of the bootstrap.
    """
    rows = [PaddedAudio(*(part[at : at + 1] for part in batch)) for batch in batches for at in range(len(batch[0]))]
    reference = Reference.of(whole, rows)
    other = Reference.of(model, rows).outputs
    sums = np.array(reference.errors(other))
    drawn = sums[np.random.default_rng(seed).integers(len(sums), size=(_RESAMPLES, len(sums)))].sum(1)
    low, high = np.percentile(drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    changed = None
    if reference.has_head:
        pairs = [(a.argmax(-1) != b.argmax(-1)) for a, b in zip(reference.outputs, other, strict=True)]
        changed = float(torch.cat(pairs).float().mean())
    seconds = sum(float(batch.attention_mask.sum()) for batch in rows) / 16_000
    return Judgement(float(sums[:, 0].sum() / sums[:, 1].sum()), float(low), float(high), changed, seconds, unseen)
