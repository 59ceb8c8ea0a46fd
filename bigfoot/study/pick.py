"""Pick students out of a supernet: search, extraction, a short training where it is asked for, and the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bigfoot.compress.stored_size import count_stored_bytes
from bigfoot.compress.subnet import Space, Subnet, build_space
from bigfoot.compress.supernet import extract, subnet_shape
from bigfoot.config import Problem
from bigfoot.data.batches import evaluation_batches, read_lengths
from bigfoot.data.manifests import load_prepared
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.errors import ConfigError, ModelError
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.measure.error_rate import measure_error_rate
from bigfoot.measure.part_times import SpeedTable, list_parts
from bigfoot.measure.size import count_macs
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.execute import Turn, read_turn
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.settings import Config, load_config
from bigfoot.pipeline.steps.step import get_step
from bigfoot.progress import Work, show_work
from bigfoot.storage.ownership import OWN_OR_EDITED, MayReplace
from bigfoot.storage.state import read_state, write_state
from bigfoot.study.front import Candidate, Costs, Limits, Search, choose, limit_problems
from bigfoot.study.polish import polish

SEARCH_FILE, TABLE_FILE = "search.json", "speed_table.json"
_MACS_SECONDS = 10.0


@dataclass(frozen=True)
class PickRequest:
    """What is picked out of which run.

    Args:
        run: folder of a run with the step ``supernet``.
        out: folder for the students and the page.
        limits: what a student may cost.
        count: students.
        evaluations: subnets whose error is measured.
        dev_seconds: audio of dev that errors are measured on; spread over all of it where there is more.
        finetune: optimizer steps of distillation of each student by itself; 0 for none.
        seed: of the search.
        may: what may be replaced.
    """

    run: Path
    out: Path
    limits: Limits = field(default_factory=Limits)
    count: int = 1
    evaluations: int = 64
    dev_seconds: float = 600.0
    finetune: int = 0
    seed: int = 7
    may: MayReplace = OWN_OR_EDITED


@dataclass(frozen=True)
class Picked:
    """A student that was written.

    Args:
        folder: its model folder.
        candidate: its subnet, as the search measured it.
        wer: on dev of what was written; the search's, unless it was trained since.
    """

    folder: Path
    candidate: Candidate
    wer: float


@dataclass(frozen=True)
class PickResult:
    """Outcome of ``pick``.

    Args:
        students: from the largest to the smallest.
        candidates: all that were measured.
        axis: the field of ``Costs`` that the front is drawn over.
        num_subnets: in the space, about.
        num_utterances: of dev that errors are over.
    """

    students: list[Picked]
    candidates: list[Candidate]
    axis: str
    num_subnets: int
    num_utterances: int


@dataclass
class _Known:
    """Errors of an earlier call, by the key of a subnet."""

    of: str
    errors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Supernet:
    """A trained supernet.

    Args:
        config: of its run.
        loaded: its weights and processor.
        space: of its subnets.
    """

    config: Config
    loaded: LoadedModel
    space: Space


def open_supernet(run: Path) -> Supernet:
    """Open the supernet of a run.

    Args:
        run: its folder.

    Raises:
        ConfigError: it has no finished step ``supernet``.
        ModelError: it writes no text, by which its subnets are judged.
    """
    file = run / "config.yaml"
    result = read_turn(Turn(get_step("supernet")), run) if file.is_file() else None
    if result is None:
        message = f"{run} is no run with a finished step supernet; train one: steps: [student, supernet]"
        raise ConfigError([Problem("RUN", "no_supernet", message)])
    config = load_config(file)
    loaded = load_model(result.folder)
    if reason := loaded.missing_text_reason:
        raise ModelError(f"{result.folder}: subnets are judged by their texts, and {reason}")
    own = config.supernet
    return Supernet(config, loaded, build_space(loaded.model.config, own.shares, own.depth, own.bits))


def pick(request: PickRequest) -> PickResult:
    """Search the subnets of a supernet within limits, and write the best ones as model folders.

    A stopped call goes on where it was: errors and times that were measured are kept.

    Args:
        request: what is wanted.

    Returns:
        See ``PickResult``.

    Raises:
        ConfigError: no subnet is within the limits, or the run has no supernet.
    """
    supernet = open_supernet(request.run)
    cost = _Costing(supernet, request)
    cost.refuse_impossible()
    cost.measure_table()
    judge = _Judge(supernet, request)
    search = Search(
        supernet.space, request.limits, cost, judge, request.seed, request.evaluations,
        population=max(4, request.evaluations // 4),
    )  # fmt: skip
    with show_work("searching", request.evaluations, "subnets") as judge.work:
        candidates = search.run()
    chosen = choose(candidates, request.limits.axis, request.count)
    students = [_write(supernet, request, each, index + 1, judge) for index, each in enumerate(chosen)]
    return PickResult(students, candidates, request.limits.axis, supernet.space.size, judge.num_utterances)


class _Costing:
    """Costs of subnets: bytes counted, multiply-accumulates counted, time from a table."""

    def __init__(self, supernet: Supernet, request: PickRequest) -> None:
        self._net, self._request = supernet, request
        self._known: dict[str, Costs] = {}
        self._table: SpeedTable | None = None

    def refuse_impossible(self) -> None:
        """Refuse limits that not even the smallest subnet keeps, as far as they can be counted."""
        smallest = self(self._net.space.smallest)
        self._refuse(smallest)

    def _refuse(self, smallest: Costs) -> None:
        if problems := list(limit_problems(self._request.limits, smallest)):
            raise ConfigError(problems)

    def measure_table(self) -> None:
        """Measure the speed of parts on this machine, where a limit or the page asks for it."""
        config, space = self._net.loaded.model.config, self._net.space
        try:
            list_parts(config)
        except ModelError:
            if self._request.limits.real_time_factor is not None:
                raise
            return
        shapes = [subnet_shape(config, each) for each in (space.largest, space.smallest)]
        table = SpeedTable(config, _find_axes(space), self._request.run / TABLE_FILE)
        table.measure(shapes)
        self._table = table
        self._known.clear()
        self._refuse(self(space.smallest))

    def __call__(self, subnet: Subnet) -> Costs:
        """Return what a subnet costs."""
        if subnet.key not in self._known:
            shape = subnet_shape(self._net.loaded.model.config, subnet)
            macs = None
            if self._request.limits.macs_per_second is not None:
                with torch.device("meta"):
                    model = BigfootForCTC(shape)
                macs = round(count_macs(model, _MACS_SECONDS)[model] / _MACS_SECONDS)
            speed = None if self._table is None else self._table.predict(shape)
            self._known[subnet.key] = Costs(count_stored_bytes(shape, subnet.bits), macs, speed)
        return self._known[subnet.key]


def _find_axes(space: Space) -> dict[str, list[list[int]]]:
    """Return the sizes that each part of a subnet can have."""
    config = space.config
    sizes = {place: list(each) for place, each in space.choices.items()}
    by_kind: dict[str, list[int]] = {"heads": list(config.heads_of_layers), "feed_forward": [*config.widths_of_layers]}
    channels = [[1], *([width] for width in config.conv_dim)]
    widths = [config.hidden_size]
    for place, each in sizes.items():
        if place.kind == "conv":
            channels[place.layer + 1] = each
        elif place.kind == "width":
            widths = each
        else:
            by_kind.setdefault(place.kind, []).extend(each)
    axes: dict[str, list[list[int]]] = {
        f"conv {index}": [channels[index], channels[index + 1]] for index in range(config.num_conv_layers)
    }
    blocks = {"attention": [widths, by_kind["heads"]], "feed_forward": [widths, by_kind["feed_forward"]]}
    return axes | {"projection": [channels[-1], widths], "positional": [widths], "head": [widths]} | blocks


class _Judge:
    """Errors of subnets on dev, kept in a file from call to call."""

    def __init__(self, supernet: Supernet, request: PickRequest) -> None:
        self._net = supernet
        manifest = load_prepared(request.run / "data").manifests["dev"]
        silent = replace(supernet.loaded.processor, tokenizer=None)
        seconds = sum(length for _, _, length in read_lengths(manifest))
        stride = max(1, round(seconds / request.dev_seconds))
        # Batches of all lengths: the manifest is read by length.
        batch_size = supernet.config.evaluate.batch_size
        self._batches = list(evaluation_batches(manifest, silent, batch_size))[::stride]
        self.num_utterances = sum(len(batch) for batch in self._batches)
        result_folder = supernet.loaded.folder
        assert result_folder is not None
        of = fingerprint(fingerprint_files(result_folder), sorted(str(i) for b in self._batches for i in b.ids))
        self._file = request.run / SEARCH_FILE
        found = read_state(self._file, _Known)[0]
        self._known = found if found is not None and found.of == of else _Known(of)
        self.work: Work | None = None

    def __call__(self, subnet: Subnet) -> float:
        """Return the WER of a subnet."""
        if subnet.key not in self._known.errors:
            self._known.errors[subnet.key] = self.measure(extract(self._net.loaded.model, subnet))
            write_state(self._file, self._known)
        error = self._known.errors[subnet.key]
        if self.work is not None:
            self.work.advance(note=f"WER {error:.1%}")
        return error

    def measure(self, model: BigfootForCTC) -> float:
        """Return the WER of a model, greedy."""
        tokenizer = self._net.loaded.processor.tokenizer
        assert tokenizer is not None
        found = transcribe_batches(model, self._batches, tokenizer)
        wer = measure_error_rate(found.references, found.hypotheses, found.speakers, samples=1).wer
        if wer is None:
            raise ModelError("dev has no transcripts, and subnets are judged by their errors there")
        return wer


def _write(supernet: Supernet, request: PickRequest, chosen: Candidate, number: int, judge: _Judge) -> Picked:
    """Write one student, and train it by itself where it is asked for."""
    folder, loaded = request.out / f"student-{number}", supernet.loaded
    entry: dict[str, Any] = {"step": "pick", "changes": [f"subnet: {chosen.subnet.describe()}"]}
    save: Callable[..., None] = partial(save_model, processor=loaded.processor, folder=folder, may=request.may)
    if not request.finetune:
        save(extract(loaded.model, chosen.subnet), history=[*loaded.history, entry])
        return Picked(folder, chosen, chosen.wer)
    own = replace(chosen.subnet, bits=32)
    start = request.out / "finetune" / f"start-{number}"
    save_model(extract(loaded.model, own), loaded.processor, start, [*loaded.history, entry], may=request.may)
    trained = polish(supernet.config, request.run, start, request.out / "finetune" / f"run-{number}", request.finetune)
    whole = Subnet(tuple(range(trained.model.config.num_hidden_layers)), (), chosen.subnet.bits)
    model = extract(trained.model, whole)
    save(model, history=trained.history)
    return Picked(folder, chosen, judge.measure(model))


