"""What a step of training takes with the teacher at work and with its answers read from disk, in turns.

    python benchmarks/teacher_cache.py --seconds 8 --rounds 3

Teacher and student have the full size of wav2vec2-base and random weights; the student is bigfoot's own, four layers
with grouped convolutions, and learns logits and hidden states. A step is forward, backward and AdamW's. The exit status
is 1 if the median ratio misses its target.
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

import numpy as np
import torch

from bigfoot.audio_io import write_audio
from bigfoot.config import DataConfig, HiddenLossConfig, LogitKLConfig, LossesConfig
from bigfoot.data.batches import Batch, evaluation_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
from bigfoot.distill.objective import Objective, needed_targets
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.text.tokenizers import Processor

TARGET = 0.6
Seconds = float
LOSSES = LossesConfig(logit_kl=LogitKLConfig(1.0), hidden=HiddenLossConfig(1.0))


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


def measure_step(objective: Objective, optimizer: torch.optim.Optimizer, batch: Batch) -> Seconds:
    """Wall time of one optimizer step."""
    began = time.perf_counter()
    terms = objective(batch, {})
    torch.stack([objective.weights[name] * term.mean() for name, term in terms.items()]).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> int:
    """Measure and print; 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of an utterance")
    parser.add_argument("--utterances", type=int, default=2, help="in the batch")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that does not")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    teacher = BigfootForCTC(BigfootConfig()).to(device)
    shape = BigfootConfig(num_hidden_layers=4, conv_groups=[1, *[2] * 6])
    processor = Processor()
    with tempfile.TemporaryDirectory() as work:
        manifest = prepare_audio(Path(work), given.seconds, given.utterances)
        needed, cache = needed_targets(LOSSES, shape, teacher.config), Path(work) / "cache"
        key = CacheKey.of(manifest, processor, "random", needed, "fp16", 0)
        write_cache(cache, key, teacher, manifest, processor, 1)
        batch = next(evaluation_batches(manifest, processor, given.utterances)).to(device)
        told = {"uncached": teacher, "cached": TeacherCache(cache, teacher.config, needed)}
        students = {name: BigfootForCTC(shape).to(device) for name in told}
        objectives = {name: Objective(LOSSES, students[name], told[name]).to(device).train() for name in told}
        optimizers = {name: torch.optim.AdamW(item.parameters(), 1e-5) for name, item in objectives.items()}
        times: dict[str, list[Seconds]] = {name: [] for name in told}
        for _ in range(given.rounds + 1):
            for name, objective in objectives.items():
                times[name].append(measure_step(objective, optimizers[name], batch))
    ratios = [one / other for one, other in zip(times["cached"][1:], times["uncached"][1:], strict=True)]
    where = torch.cuda.get_device_name() if device == "cuda" else f"{given.threads} thread(s) of {platform.machine()}"
    print(f"{where}, torch {torch.__version__}, {given.utterances} x {given.seconds:g} s, {given.rounds} rounds")
    for name, measured in times.items():
        print(f"{name:<10} {statistics.median(measured[1:]):8.3f} s a step, {min(measured[1:]):.3f} the fastest")
    ratio = statistics.median(ratios)
    print(f"ratio      {ratio:8.3f}  [{min(ratios):.3f}, {max(ratios):.3f}], target at most {TARGET}")
    return int(ratio > TARGET)


if __name__ == "__main__":
    sys.exit(main())
