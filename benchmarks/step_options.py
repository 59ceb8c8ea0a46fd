"""What the options of a training step do to its time and its memory, each beside the step without them.

    python benchmarks/step_options.py --shape base --seconds 10 --utterances 16 --precision bf16

One trainer after the other takes the same steps: with activations computed again, with compiled layers, with one
feature encoder for both models, with gates, with the teacher's answers from a cache, with attention by a mask, and with
workers. Losses stand beside the times: those of options that change no result are the first's. At the end it is asked
how much audio fits (``data.batch_seconds: auto``). On a processor times are of the processor.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from train_step import build_objective, prepare_audio, read_clock

from bigfoot.data.settings import DataConfig
from bigfoot.distill import HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
from bigfoot.distill.objective import Objective, needed_targets
from bigfoot.models.kernels import plain_kernels
from bigfoot.text.tokenizers import Processor
from bigfoot.training.batch_room import find_batch_seconds
from bigfoot.training.distilling import GatesConfig
from bigfoot.training.gated import GatedObjective
from bigfoot.training.hooks import FrozenFeatureEncoder, TrainingHook
from bigfoot.training.loop import Trainer
from bigfoot.training.run import TrainingRun
from bigfoot.training.settings import TrainConfig

LOSSES = LossesConfig(logit_kl=LogitKLLoss(1.0), hidden=HiddenLoss(1.0))


@dataclass
class Option:
    """A way to take a step.

    Args:
        settings: of the training.
        build: makes an objective of the plain one.
        hooks: of the training.
        context: around every step.
        workers: that read audio.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    build: Callable[[Objective], Objective] = lambda objective: objective
    hooks: tuple[TrainingHook, ...] = ()
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    workers: int = 0


def share_features(objective: Objective) -> Objective:
    """Give the student the teacher's feature encoder."""
    student, teacher = (model.speech_encoder.feature_encoder for model in (objective.student, objective.teachers[0]))
    student.load_state_dict(teacher.state_dict())
    return objective


def add_gates(objective: Objective) -> Objective:
    """Put gates on the student, which is as deep as the teacher, as DPHuBERT's is."""
    teacher = objective.teachers[0]
    student = copy.deepcopy(teacher).requires_grad_(True).train()
    return GatedObjective(GatesConfig(losses=LOSSES), student, teacher, seed=1)


def read_cache(folder: Path, manifest: Path) -> Callable[[Objective], Objective]:
    """Take the teacher's answers from a folder."""

    def build(objective: Objective) -> Objective:
        teacher, processor = objective.teachers[0], Processor()
        needed = needed_targets(LOSSES, objective.student.config, teacher.config)
        key = CacheKey.of("noise", processor, "random", needed, "fp16", 0)
        write_cache(folder, key, teacher, manifest, processor, batch_size=1)
        return Objective(LOSSES, objective.student, TeacherCache(folder, teacher.config, needed))

    return build


def measure(option: Option, given: argparse.Namespace, manifests: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Take steps; their times, losses and memory."""
    data = DataConfig(
        batch_seconds=given.seconds * given.utterances, num_buckets=2, num_workers=option.workers or given.workers
    )
    config = TrainConfig(max_steps=10**6, warmup_steps=1, eval_every=10**6, log_every=1, checkpoint_every=10**6,
                         **{"compile": "off"} | option.settings)  # fmt: skip
    run = TrainingRun("step", config, data, Processor(), manifests, folder, seed=1, precision=given.precision,
                      hooks=list(option.hooks))  # fmt: skip
    trainer = Trainer(option.build(build_objective(given.shape)), run)
    trainer.step_model.train()
    device = trainer.accelerator.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    stream, times, losses, audio = trainer._stream(), [], [], 0.0
    for number in range(given.rounds + given.warm):
        start = read_clock(device)
        with option.context():
            losses.append(trainer._step(stream)["loss"])
        if number >= given.warm:
            times.append(read_clock(device) - start)
            audio += trainer.pace.audio
        trainer.pace.take()
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return {"step": times, "losses": losses, "audio_seconds": audio, "peak_memory": peak}


def find_room(given: argparse.Namespace, manifests: dict[str, Path], folder: Path) -> float:
    """Ask how much audio fits."""
    run = TrainingRun("step", TrainConfig(), DataConfig(batch_seconds="auto", num_buckets=2), Processor(), manifests,
                      folder, seed=1, precision=given.precision)  # fmt: skip
    trainer = Trainer(build_objective(given.shape), run)
    return find_batch_seconds(trainer.objective, run, trainer.accelerator)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["base", "tiny"], default="tiny", help="of the teacher")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest utterance")
    parser.add_argument("--utterances", type=int, default=2, help="of that length in a batch")
    parser.add_argument("--rounds", type=int, default=5, help="that count")
    parser.add_argument("--warm", type=int, default=3, help="rounds before them")
    parser.add_argument("--workers", type=int, default=0, help="processes that read audio, in every option")
    parser.add_argument("--precision", default="auto", help="of the training")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--only", nargs="+", help="options by name")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    logging.getLogger("bigfoot").setLevel(logging.ERROR)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        manifests = prepare_audio(work, given.seconds, given.utterances)
        options = {
            "plain": Option(),
            "masked_attention": Option(context=plain_kernels),
            "workers": Option(workers=1),
            "checkpoint_activations": Option({"checkpoint_activations": True}),
            "compile": Option({"compile": "on"}),
            "shared_features": Option(build=share_features, hooks=(FrozenFeatureEncoder(10**6),)),
            "gated": Option(build=add_gates),
            "cached": Option(build=read_cache(work / "cache", manifests["train"])),
        }
        for label, option in options.items():
            if given.only and label not in given.only:
                continue
            found[label] = measure(option, given, manifests, work / label)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            step, first = statistics.median(found[label]["step"]), found.get("plain", found[label])
            rate = found[label]["audio_seconds"] / sum(found[label]["step"])
            ratio = step / statistics.median(first["step"])
            memory = found[label]["peak_memory"]
            loss, held = found[label]["losses"][0], f"  {memory / 1e9:.2f} GB" if memory else ""
            print(f"{label:<24} {1000 * step:9.1f} ms  {ratio:6.3f}  {rate:9.0f} s of audio/s  loss {loss:.6f}{held}",
                  flush=True)  # fmt: skip
        if not given.only:
            found["batch_seconds"] = find_room(given, manifests, work / "room")
            print(f"batch_seconds auto: {found['batch_seconds']:g}")
    if given.json:
        kept = vars(given) | {"json": str(given.json), "torch": torch.__version__, "options": found}
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
