"""What a step of training takes with the teacher at work and with its answers read from disk, in turns.

    python benchmarks/teacher_cache.py --student bigfoot bigfoot_thin distilhubert maskhubert
    python benchmarks/teacher_cache.py --student presets

The teacher is wav2vec2-base in full size with random weights. The student learns logits and hidden states; a step is
forward, backward and AdamW's. What is left of the time is the student's own: the more it computes, the less there is to
gain. Beside the ratio of wall times stands that of processor times, which tells more where other work runs beside it.
The exit status is 1 if a median ratio of wall times misses its target.
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from bigfoot.audio.files import write_audio
from bigfoot.config import CONFIG_FOLDER
from bigfoot.data.batches import Batch, evaluation_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.distill import HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
from bigfoot.distill.objective import Objective, needed_targets
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.pipeline.settings import load_config
from bigfoot.pipeline.student_shape import resolve_student
from bigfoot.text.tokenizers import Processor

TARGET = 0.6
Seconds = float
SHAPES = {
    "bigfoot": BigfootConfig(num_hidden_layers=4, conv_groups=[1, *[2] * 6]),
    "bigfoot_thin": BigfootConfig(
        num_hidden_layers=4, hidden_size=512, num_attention_heads=8, intermediate_size=1152,
        conv_dim=[128, 128, 192, 256, 256, 256, 384],
    ),
    "distilhubert": BigfootConfig(num_hidden_layers=2),
    "maskhubert": BigfootConfig(
        hidden_size=480, intermediate_size=640, conv_dim=[128, *[256] * 5, 480, 480, 480],
        conv_kernel=[10, 1, 3, 3, 3, 3, 1, 2, 2], conv_stride=[5, 1, 2, 2, 2, 2, 1, 2, 2],
    ),
}  # fmt: skip
PRESETS = tuple(sorted(path.stem for path in (CONFIG_FOLDER / "methods").glob("*.yaml")))
LOSSES = LossesConfig(logit_kl=LogitKLLoss(1.0), hidden=HiddenLoss(1.0))


def shape_of(name: str) -> BigfootConfig:
    """The shape that a preset's student is trained in, of a teacher of base size."""
    if name in SHAPES:
        return SHAPES[name]
    config = load_config(f"methods/{name}.yaml")
    return resolve_student(config, BigfootConfig()).shape if "student" in config.steps else BigfootConfig()


def prepare_audio(folder: Path, seconds: Seconds, utterances: int) -> Path:
    """Write noise as a corpus of one batch; its manifest."""
    lines = ["path\ttext"]
    for index in range(utterances):
        samples = np.random.default_rng(index).standard_normal(int(16_000 * seconds)).astype(np.float32)
        write_audio(folder / f"{index}.wav", 0.1 * samples)
        lines.append(f"{index}.wav\tA")
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    config = DataConfig(corpus="table", root=str(folder), train_splits=["train.tsv"])
    return prepare_data(config, 0, folder / "data").manifests["train"]


class StepTime(NamedTuple):
    """What a step took.

    Args:
        wall: by the clock.
        cpu: of the processor, all threads together.
    """

    wall: Seconds
    cpu: Seconds


def measure_step(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch) -> StepTime:
    """Time one optimizer step."""
    began, used = time.perf_counter(), time.process_time()
    terms = objective(batch, {})
    torch.stack([objective.weights[name] * term.mean() for name, term in terms.items()]).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return StepTime(time.perf_counter() - began, time.process_time() - used)


def describe_ratios(cached: list[Seconds], uncached: list[Seconds]) -> str:
    """Median and quartiles of the ratios of steps taken in turn."""
    ratios = [one / other for one, other in zip(cached, uncached, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def measure_student(name: str, teacher: BigfootForCTC, work: Path, given: argparse.Namespace) -> float:
    """Print both times of a step and give the median of their ratios."""
    manifest, processor, shape = prepare_audio(work, given.seconds, given.utterances), Processor(), shape_of(name)
    needed = needed_targets(LOSSES, shape, teacher.config)
    key = CacheKey.of("noise", processor, "random", needed, "fp16", 0)
    write_cache(work / "cache", key, teacher, manifest, processor, batch_size=1)
    batch = next(evaluation_batches(manifest, processor, given.utterances)).to(teacher.device)
    teachers = {"uncached": teacher, "cached": TeacherCache(work / "cache", teacher.config, needed)}
    times: dict[str, list[StepTime]] = {how: [] for how in teachers}
    objectives = {
        how: Objective(LOSSES, BigfootForCTC(shape), source).to(teacher.device).train()
        for how, source in teachers.items()
    }
    optimizers = {how: torch.optim.AdamW(objective.parameters(), 1e-5) for how, objective in objectives.items()}
    for _ in range(given.rounds + 1):
        for how, objective in objectives.items():
            times[how].append(measure_step(objective, optimizers[how], batch))
    cached, uncached = (times[how][1:] for how in ("cached", "uncached"))
    wall, cpu = (
        ([getattr(step, clock) for step in cached], [getattr(step, clock) for step in uncached])
        for clock in StepTime._fields
    )
    print(f"{name:<14} {statistics.median(wall[1]):9.3f} s {statistics.median(wall[0]):9.3f} s   "
          f"{describe_ratios(*wall)}   {describe_ratios(*cpu)}", flush=True)  # fmt: skip
    return statistics.median(one / other for one, other in zip(*wall, strict=True))


def main() -> int:
    """Measure and print; 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", nargs="+", choices=["presets", *PRESETS], default=list(SHAPES), help="presets")
    parser.add_argument("--seconds", type=float, default=10.0, help="of an utterance")
    parser.add_argument("--utterances", type=int, default=1, help="in the batch")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that does not")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    teacher = BigfootForCTC(BigfootConfig()).to(device)
    where = torch.cuda.get_device_name() if device == "cuda" else f"{given.threads} thread(s) of {platform.machine()}"
    print(f"{where}, torch {torch.__version__}, {given.utterances} x {given.seconds:g} s, {given.rounds} rounds")
    print(f"{'student':<14} {'uncached':>11} {'cached':>11}   ratio [quartiles], target {TARGET}   of processor time")
    ratios = []
    for name in PRESETS if "presets" in given.student else given.student:
        with tempfile.TemporaryDirectory() as work:
            ratios.append(measure_student(name, teacher, Path(work), given))
    return int(max(ratios) > TARGET)


if __name__ == "__main__":
    sys.exit(main())
