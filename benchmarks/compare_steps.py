"""Training steps of two checkouts in turns: what a step takes here, as a share of what it took there.

    git worktree add /tmp/before 23c42ff
    python benchmarks/compare_steps.py /tmp/before --shape base --students bigfoot bigfoot_thin distilhubert maskhubert

A step of ``Trainer`` as it is, of noise of unequal lengths, with the teacher at work and with its answers read from a
cache. The processor's time is counted, so that other work beside changes ratios little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STUDENTS = ("bigfoot", "bigfoot_thin", "distilhubert", "maskhubert")


def serve(given: argparse.Namespace) -> None:
    """Build a trainer for every student, and take a step whenever a line with its name comes in."""
    sys.path.insert(0, str(Path.cwd() / "benchmarks"))
    import logging

    import torch
    from teacher_cache import LOSSES, SHAPES
    from train_step import prepare_audio

    from bigfoot.data.settings import DataConfig
    from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
    from bigfoot.distill.objective import Objective, needed_targets
    from bigfoot.formats.folder import load_model
    from bigfoot.models import BigfootConfig, BigfootForCTC
    from bigfoot.text.tokenizers import Processor
    from bigfoot.training.loop import Trainer
    from bigfoot.training.run import TrainingRun
    from bigfoot.training.settings import TrainConfig

    torch.set_num_threads(given.threads)
    logging.getLogger("bigfoot").setLevel(logging.ERROR)
    torch.manual_seed(0)
    shape = BigfootConfig() if given.shape == "base" else load_model("tiny_teacher").model.config
    teacher, work = BigfootForCTC(shape), Path(given.work)
    manifests = prepare_audio(work, given.seconds, given.utterances)
    data = DataConfig(batch_seconds=given.seconds * given.utterances, num_buckets=2)
    config = TrainConfig(max_steps=10**6, warmup_steps=1, eval_every=10**6, checkpoint_every=10**6, log_every=10**6)
    trainers: dict[str, tuple[Any, Any]] = {}
    for name in given.students:
        small = SHAPES[name] if given.shape == "base" else BigfootConfig.from_dict(
            {**shape.to_dict(), "num_hidden_layers": SHAPES[name].num_hidden_layers}
        )  # fmt: skip
        needed = needed_targets(LOSSES, small, shape)
        folder, processor = work / f"cache_{name}", Processor()
        write_cache(folder, CacheKey.of("noise", processor, "random", needed, "fp16", 0), teacher, manifests["train"],
                    processor, batch_size=1)  # fmt: skip
        for how, source in (("whole", teacher), ("cached", TeacherCache(folder, shape, needed))):
            run = TrainingRun("step", config, data, processor, manifests, work / "run", seed=1, precision="no")
            trainer = Trainer(Objective(LOSSES, BigfootForCTC(small), source), run)
            trainer.step_model.train()
            trainers[f"{name} {how}"] = trainer, trainer._stream()
    print("ready", flush=True)
    for line in sys.stdin:
        trainer, stream = trainers[line.strip()]
        start = time.process_time()
        trainer._step(stream)
        print(time.process_time() - start, flush=True)


def start(checkout: Path, given: argparse.Namespace, work: str) -> subprocess.Popen[str]:
    """Start a process that serves steps of a checkout."""
    path = os.pathsep.join([str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = ["--serve", "--work", work, "--shape", given.shape, "--seconds", str(given.seconds), "--utterances",
                 str(given.utterances), "--threads", str(given.threads), "--students", *given.students]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], cwd=checkout, env={**os.environ, "PYTHONPATH": path}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def describe(ones: list[float], others: list[float]) -> str:
    """Median, lowest and highest of the ratios of steps taken in turn."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, nargs="?", help="another checkout")
    parser.add_argument("--shape", choices=["base", "tiny"], default="tiny", help="of the teacher")
    parser.add_argument("--students", nargs="+", choices=STUDENTS, default=["bigfoot"], help="shapes of students")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest utterance")
    parser.add_argument("--utterances", type=int, default=2, help="of that length in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that does not")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given)
        return
    times: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        sides = {"before": start(given.other.resolve(), given, there), "now": start(ROOT, given, here)}
        for side in sides.values():
            assert side.stdout is not None and side.stdout.readline().strip() == "ready", "a process ended"
        for number in range(given.rounds + 1):
            for name in (f"{student} {how}" for student in given.students for how in ("whole", "cached")):
                for side, process in sides.items():
                    assert process.stdin is not None and process.stdout is not None
                    process.stdin.write(f"{name}\n")
                    process.stdin.flush()
                    taken = float(process.stdout.readline())
                    if number:
                        times.setdefault(name, {}).setdefault(side, []).append(taken)
        for process in sides.values():
            process.communicate()
    for student in given.students:
        whole, cached = times[f"{student} whole"], times[f"{student} cached"]
        print(f"{student}: whole {describe(whole['now'], whole['before'])}, "
              f"cached {describe(cached['now'], cached['before'])} of before; "
              f"cached of whole {describe(cached['now'], whole['now'])}, "
              f"cached of whole before {describe(cached['now'], whole['before'])}")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
