"""What a supernet costs beside a training of one student, and how far its subnets are from trainings of their own.

    python benchmarks/supernet.py cost runs/fsdd_supernet
    python benchmarks/supernet.py quality runs/fsdd_supernet runs/fsdd_apart --subnets smallest largest 1 2 3

``cost`` times steps in turns on the same batches, by the processor time of a thread: one student of the largest shape,
of the smallest, and all of a supernet's subnets. ``quality`` trains each subnet by itself from the same initial
weights, by the same losses, for as many steps, and compares both on test; numbers are seeds of drawn subnets. A
stopped call goes on.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bigfoot.compress.subnet import Subnet
from bigfoot.compress.supernet import extract, order_units
from bigfoot.data.batches import training_batches
from bigfoot.data.manifests import load_prepared
from bigfoot.distill.objective import Objective
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.measure.error_rate import compare_paired
from bigfoot.measure.size import count_params
from bigfoot.measure.speed import time_rounds
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.pipeline.teacher import load_teacher
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.study.pick import Supernet, open_supernet
from bigfoot.study.polish import polish
from bigfoot.training.supernet import SupernetObjective


def start_model(net: Supernet, run: Path) -> BigfootForCTC:
    """Build the supernet as it was before its first step."""
    student = load_model(run / "student" / "model").model
    if net.config.supernet.importance not in ("l1", "l2"):
        raise SystemExit("only importances of weights can be computed again here: l1, l2")
    return order_units(student, list(net.space.choices), net.config.supernet.importance)


def measure_cost(run: Path, rounds: int) -> None:
    """Print the processor time of a step of each kind over that of the largest student."""
    net = open_supernet(run)
    config, teacher = net.config.supernet, load_teacher(net.config).model
    model = start_model(net, run)
    alone = {name: extract(model, subnet) for name, subnet in
             (("largest", net.space.largest), ("smallest", net.space.smallest))}  # fmt: skip
    objectives = {name: Objective(config.losses, each, teacher).train() for name, each in alone.items()}
    objectives["supernet"] = SupernetObjective(config, net.space, model, teacher, net.config.seed).train()
    manifest = load_prepared(run / "data").manifests["train"]
    stream = training_batches(manifest, net.loaded.processor, net.config.data, net.config.seed)
    batches = list(itertools.islice(stream, rounds + 1))

    def step(name: str) -> Callable[[], object]:
        mine = iter(batches)

        def run_step() -> None:
            objective, batch = objectives[name], next(mine)
            terms = objective(batch, {})
            sum(objective.weights[key] * term.total / term.count for key, term in terms.items()).backward()
            objective.zero_grad()

        return run_step

    torch.set_num_threads(1)
    times = time_rounds({name: step(name) for name in objectives}, rounds, clock=time.thread_time)
    for name, own in times.items():
        ratios = [each / whole for each, whole in zip(own, times["largest"], strict=True)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"{name}: {statistics.median(own):.2f} s a step, {middle:.2f} [{low:.2f}, {high:.2f}] of the largest")


def name_subnet(net: Supernet, name: str) -> Subnet:
    """Return the subnet of a word or a seed."""
    named = {"smallest": net.space.smallest, "largest": net.space.largest}
    return named[name] if name in named else net.space.draw(np.random.default_rng(int(name)))


def measure_quality(run: Path, out: Path, names: list[str]) -> None:
    """Print the error of each subnet on test, as a slice and from a training of its own."""
    net = open_supernet(run)
    start, steps = start_model(net, run), net.config.supernet.max_steps
    test = load_prepared(run / "data").manifests["test"]
    for name in names:
        subnet = replace(name_subnet(net, name), bits=32)
        folder, began = out / f"start-{name}", time.process_time()
        save_model(extract(start, subnet), net.loaded.processor, folder, may=OWN_OR_EDITED)
        apart = polish(net.config, run, folder, out / f"run-{name}", steps)
        took = time.process_time() - began
        slice_ = LoadedModel(extract(net.loaded.model, subnet), net.loaded.processor)
        found = [evaluate_accuracy(each, test, net.config.evaluate, net.config.seed) for each in (slice_, apart)]
        pair = [each.transcripts.hypotheses for each in found]
        gap = compare_paired(found[0].transcripts.references, pair[1], pair[0], found[0].transcripts.speakers)
        rates = ", ".join(f"{each.error_rate.wer:.2%}" for each in found)
        print(f"{name}: {count_params(slice_.model):,} parameters, {subnet.describe()}")
        between = f"{100 * (gap.difference or 0):+.2f} [{100 * (gap.low or 0):+.2f}, {100 * (gap.high or 0):+.2f}]"
        print(f"  WER of slice, of own training: {rates}; {between} points; {took:.0f} s of processor", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cost = commands.add_parser("cost")
    cost.add_argument("run", type=Path)
    cost.add_argument("--rounds", type=int, default=8)
    quality = commands.add_parser("quality")
    quality.add_argument("run", type=Path)
    quality.add_argument("out", type=Path)
    quality.add_argument("--subnets", nargs="+", default=["smallest", "largest"])
    given = parser.parse_args()
    if given.command == "cost":
        measure_cost(given.run, given.rounds)
    else:
        measure_quality(given.run, given.out, given.subnets)


if __name__ == "__main__":
    main()
