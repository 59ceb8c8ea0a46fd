"""What many files gain by being given together, and how long the first text takes, with an exported model.

    bigfoot export runs/demo/finetune/model student.onnx
    python benchmarks/transcribe_speed.py student.onnx --threads 2 --rounds 7

Utterances of 1 to 20 s of synthetic speech (the extra [synthetic]) are transcribed one by one in a loop, then all by
one call; in turn, round by round, so that a machine that slows down takes from both. The texts must be the same. The
first text is that of a new process, ``python -m bigfoot transcribe MODEL a.wav``, from its start to its end.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bigfoot.audio_io import write_audio
from bigfoot.data.synthetic import synthesize_string
from bigfoot.runtime.batching import plan_batches
from bigfoot.runtime.transcriber import BATCH_SECONDS, Transcriber
from bigfoot.types import SAMPLE_RATE, Samples, Seconds

SHORTEST, LONGEST = 1.0, 20.0


def speak_utterances(count: int, seed: int = 0) -> list[Samples]:
    """Utterances whose lengths are spread evenly between the shortest and the longest."""
    rng = np.random.default_rng(seed)
    speech = np.concatenate([synthesize_string(seed, "test", index).samples for index in range(60)])
    sizes = (rng.uniform(SHORTEST, LONGEST, count) * SAMPLE_RATE).astype(int)
    return [speech[start : start + size] for size in sizes for start in [rng.integers(len(speech) - size)]]


def measure(function: Callable[[], object]) -> Seconds:
    """Wall time of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def padding_waste(waves: list[Samples]) -> float:
    """Share of what is computed that is padding, 0 to 1."""
    lengths = [len(wave) for wave in waves]
    batches = plan_batches(lengths, round(BATCH_SECONDS * SAMPLE_RATE))
    return 1 - sum(lengths) / sum(len(batch) * max(lengths[index] for index in batch) for batch in batches)


def compare(model: str, threads: int, rounds: int, count: int) -> None:
    """One by one against all in one call."""
    transcriber, waves = Transcriber(model, threads), speak_utterances(count)
    together = [result.text for result in transcriber.transcribe(waves)]
    alone = [transcriber.transcribe([wave])[0].text for wave in waves]
    differing = sum(one != other for one, other in zip(alone, together, strict=True))
    ratios, seconds = [], []
    for _ in range(rounds):
        loop = measure(lambda: [transcriber.transcribe([wave]) for wave in waves])
        seconds.append(measure(lambda: transcriber.transcribe(waves)))
        ratios.append(loop / seconds[-1])
    low, _, high = statistics.quantiles(ratios, n=4)
    audio = sum(map(len, waves)) / SAMPLE_RATE
    rate = audio / statistics.median(seconds)
    print(f"{count} utterances, {audio:.0f} s, {threads} threads, {rounds} rounds, padding {padding_waste(waves):.1%}")
    spread = f"{statistics.median(ratios):.2f}x [{low:.2f}, {high:.2f}]"
    print(f"together {spread} as fast as one by one; {differing} texts differ")
    print(f"{rate:.0f} s of audio a second")


def first_text(model: str, runs: int) -> None:
    """A new process, as a user starts it; the first, which reads files that later ones find in memory, is left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        write_audio(path, synthesize_string(0, "test", 3).samples)
        command = [sys.executable, "-m", "bigfoot", "transcribe", model, str(path)]
        times = [
            measure(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)) for _ in range(runs + 1)
        ]
    median = statistics.median(times[1:])
    print(f"first text after {median:.2f} s [{min(times[1:]):.2f}, {max(times[1:]):.2f}] of {runs} runs, target 1.5 s")


def main() -> None:
    """Measure and print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an .onnx file of bigfoot export")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, 2 or more")
    parser.add_argument("--utterances", type=int, default=64)
    arguments = parser.parse_args()
    first_text(arguments.model, arguments.rounds)
    compare(arguments.model, arguments.threads, arguments.rounds, arguments.utterances)


if __name__ == "__main__":
    main()
