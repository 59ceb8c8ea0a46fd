"""Where the time of a training step goes, part by part, and what the loop adds to the bare step.

    python benchmarks/train_step.py --shape base --seconds 10 --utterances 2

A step of ``Trainer`` as it is: batches out of lhotse's sampler, masks, a teacher and a student with random weights, the
losses, backward, clipping, AdamW, and the synchronisations that the loss is read by. The bare step beside it, in turns,
is a plain loop on one batch that is there already. On a processor all times are of the processor, not of the clock:
other work beside does not change them much. On a GPU the parts are timed by synchronising around each, in steps of
their own.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bigfoot.audio.files import write_audio
from bigfoot.data.batches import Batch
from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.distill import HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.objective import Objective
from bigfoot.formats.folder import load_model
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.text.tokenizers import Processor
from bigfoot.training.loop import Trainer
from bigfoot.training.run import TrainingRun
from bigfoot.training.settings import TrainConfig

Seconds = float
PARTS = ("loader", "units", "masks and transfer", "teacher", "student", "losses", "backward", "clip", "optimizer",
         "reading the loss", "rest")  # fmt: skip


def read_clock(device: torch.device) -> Seconds:
    """Wait for a GPU, and read the clock; of a processor, the time that this process has had of it."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


class Clock:
    """Exclusive times of nested parts."""

    def __init__(self, device: torch.device) -> None:
        self.times: dict[str, Seconds] = defaultdict(float)
        self._open: list[str] = []
        self._device, self._last = device, read_clock(device)
        self.on = False

    def enter(self, part: str) -> None:
        """Begin a part; the one around it pauses."""
        self._charge()
        self._open.append(part)

    def leave(self) -> None:
        """End the innermost part."""
        self._charge()
        self._open.pop()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done in the block."""
        self.enter(name)
        yield
        self.leave()

    def _charge(self) -> None:
        now = read_clock(self._device) if self.on else self._last
        if self.on and self._open:
            self.times[self._open[-1]] += now - self._last
        self._last = now


class TimedTrainer(Trainer):
    """A trainer whose parts are timed."""

    def __init__(self, objective: Objective, run: TrainingRun) -> None:
        super().__init__(objective, run)
        self.clock = Clock(self.accelerator.device)
        for name, module in (("teacher", objective.teachers[0]), ("student", objective.student)):
            module.register_forward_pre_hook(lambda *_, name=name: self.clock.enter(name))
            module.register_forward_hook(lambda *_: self.clock.leave())
        self.step_model.register_forward_pre_hook(lambda *_: self.clock.enter("losses"))
        self.step_model.register_forward_hook(lambda *_: self.clock.leave())
        wait, backward = self.pace.wait, self.accelerator.backward
        self.pace.wait = self._timed("loader", wait)  # type: ignore[method-assign]
        self.accelerator.backward = self._timed("backward", backward)
        for owner, name, part in (
            (self.transfer, "count_units", "units"), (self, "_masks", "masks and transfer"),
            (self, "_clip", "clip"), (self, "_update", "optimizer"), (self.transfer, "add_up", "reading the loss"),
        ):  # fmt: skip
            setattr(owner, name, self._timed(part, getattr(owner, name)))

    def _timed(self, part: str, call: Any) -> Any:  # noqa: ANN401
        def timed(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            with self.clock.part(part):
                return call(*arguments, **named)

        return timed


def prepare_audio(folder: Path, seconds: Seconds, utterances: int) -> dict[str, Path]:
    """Write noise of unequal lengths as a corpus, from 0.6 of the seconds on; its manifests."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8 * utterances), ("dev", 1)):
        lines = ["path\ttext"]
        for index in range(count):
            length = int(16_000 * seconds * rng.uniform(0.6, 1.0))
            write_audio(folder / f"{split}{index}.wav", 0.1 * rng.standard_normal(length).astype(np.float32))
            lines.append(f"{split}{index}.wav\tA")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    config = DataConfig(corpus="table", root=str(folder), train_splits=["train.tsv"], dev_splits=["dev.tsv"])
    return dict(prepare_data(config, 0, folder / "data").manifests)


def build_objective(shape: str) -> Objective:
    """A teacher of 12 layers and a student of 4, wav2vec2-base's width or the tiny teacher's; random weights."""
    torch.manual_seed(0)
    teacher = BigfootConfig() if shape == "base" else load_model("tiny_teacher").model.config
    small = BigfootConfig.from_dict({**teacher.to_dict(), "num_hidden_layers": 4})
    losses = LossesConfig(logit_kl=LogitKLLoss(1.0), hidden=HiddenLoss(1.0))
    return Objective(losses, BigfootForCTC(small), BigfootForCTC(teacher))


def bare_step(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch, masks: dict[str, Any]) -> None:
    """The same step, written out, on a batch that is there."""
    terms = objective(batch, masks)
    sum(objective.weights[name] * term.total / term.count for name, term in terms.items()).backward()
    nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def measure(given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Take steps of both kinds in turns."""
    manifests = prepare_audio(work, given.seconds, given.utterances)
    data = DataConfig(batch_seconds=given.seconds * given.utterances, num_buckets=2, num_workers=given.workers)
    run = TrainingRun("step", TrainConfig(max_steps=10**6, warmup_steps=1, eval_every=10**6), data, Processor(),
                      manifests, work / "run", seed=1, precision=given.precision)  # fmt: skip
    trainer = TimedTrainer(build_objective(given.shape), run)
    trainer.step_model.train()
    stream, device = trainer._stream(), trainer.accelerator.device
    bare = build_objective(given.shape).to(device).train()
    bare.move_teacher(device)
    optimizer = torch.optim.AdamW(bare.parameters(), run.config.learning_rate)
    whole, plain, losses = [], [], []
    taken: list[Batch] = []
    wait: Any = trainer.pace.wait

    def remember(stream: Any) -> Any:  # noqa: ANN401
        taken.append(wait(stream))
        return taken[-1]

    trainer.pace.wait = remember  # type: ignore[method-assign]
    for number in range(given.rounds + 1):
        trainer.clock.on = False
        start = read_clock(device)
        losses.append(trainer._step(stream)["loss"])
        middle = read_clock(device)
        batch, masks = taken[-1].to(device), trainer._masks(taken[-1])
        again = read_clock(device)
        with trainer.accelerator.autocast():
            bare_step(bare, optimizer, batch, masks)
        if number:
            whole.append(middle - start)
            plain.append(read_clock(device) - again)
    audio = sum(batch.seconds(16_000) for batch in taken[1:])
    taken.clear()
    trainer.clock.times.clear()
    trainer.clock.on, trainer.clock._last = True, read_clock(device)
    for _ in range(given.rounds):
        with trainer.clock.part("rest"):
            losses.append(trainer._step(stream)["loss"])
    parts = {part: trainer.clock.times[part] / given.rounds for part in PARTS}
    return {"step": whole, "bare": plain, "parts": parts, "losses": losses, "audio_seconds": audio}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["base", "tiny"], default="tiny", help="of the teacher")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest utterance")
    parser.add_argument("--utterances", type=int, default=2, help="of that length in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that does not")
    parser.add_argument("--workers", type=int, default=0, help="processes that read audio")
    parser.add_argument("--precision", default="auto", help="of the training")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.getLogger("bigfoot").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as work:
        found = measure(given, Path(work))
    step, total = statistics.median(found["step"]), sum(found["parts"].values())
    ratios = [one / other for one, other in zip(found["step"], found["bare"], strict=True)]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{given.threads} thread(s)"
    print(f"{where}, torch {torch.__version__}, {given.shape}, {given.utterances} x {given.seconds:g} s")
    for part, seconds in found["parts"].items():
        print(f"{part:<20} {1000 * seconds:9.1f} ms {seconds / total:7.1%}")
    audio = found["audio_seconds"] / sum(found["step"])
    print(f"step {1000 * step:.0f} ms, {statistics.median(ratios):.3f} of the bare step, {audio:.0f} s of audio/s")
    if given.json:
        kept = vars(given) | {"json": str(given.json), "where": where, "torch": torch.__version__} | found
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
