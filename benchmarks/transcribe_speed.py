"""What many files gain by being given together, how long the first text takes, and what long ones cost, exported.

    bigfoot export runs/demo/finetune/model student.onnx
    python benchmarks/transcribe_speed.py student.onnx --threads 2 --rounds 7
    python benchmarks/transcribe_speed.py student.onnx --long

Utterances of 1 to 20 s of synthetic speech (the extra [synthetic]) are transcribed one by one in a loop, then all by
one call; in turn, round by round, so that a machine that slows down takes from both. The texts must be the same. The
first text is that of a new process, ``python -m bigfoot transcribe MODEL a.wav``, from its start to its end.

``--long`` instead joins strings of digits to three minutes, transcribed at once and in chunks, for their WER, and has a
minute and an hour transcribed by processes of their own, for the most memory that they held (Linux).
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

import jiwer
import numpy as np

from bigfoot.audio.files import normalize_waveform, write_audio
from bigfoot.data.synthetic import synthesize_split, synthesize_string
from bigfoot.runtime.batching import plan_batches
from bigfoot.runtime.transcriber import BATCH_SECONDS, Transcriber
from bigfoot.types import SAMPLE_RATE, Samples, Seconds

SHORTEST, LONGEST = 1.0, 20.0
MINUTE = 60 * SAMPLE_RATE
LISTEN = """
import sys
from bigfoot import Transcriber
Transcriber(sys.argv[1], threads=1).transcribe([sys.argv[2]])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


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


def compare_chunks(model: str) -> None:
    """WER of three minutes at once and in chunks."""
    strings, samples, words = iter(synthesize_split(7, "test", 200, 1, 8)), 0, []
    waves: list[Samples] = []
    while samples < 3 * MINUTE:
        string = next(strings)
        waves.append(normalize_waveform(string.samples))
        words.append(string.text)
        samples += len(string.samples)
    reference, wave = " ".join(words), np.concatenate(waves)
    rates = {}
    for name, seconds in (("at once", 1000.0), ("in chunks of 30 s", 30.0)):
        text = Transcriber(model, 1, chunk_seconds=seconds).transcribe([wave])[0].text
        rates[name] = jiwer.wer(reference, text)
    shown = ", ".join(f"{name} {rate:.2%}" for name, rate in rates.items())
    print(f"WER of {samples / SAMPLE_RATE:.0f} s, {len(reference.split())} words: {shown}")


def compare_memory(model: str) -> None:
    """Peak memory of a process that transcribes a minute, and of one that transcribes an hour."""
    speech = np.concatenate([synthesize_string(0, "test", index).samples for index in range(60)])
    minute = np.resize(speech, MINUTE)
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, 60):
            path = Path(folder) / f"{minutes}.wav"
            write_audio(path, np.tile(minute, minutes))
            done = subprocess.run(
                [sys.executable, "-c", LISTEN, model, path], check=True, capture_output=True, text=True
            )
            peaks[minutes] = int(done.stdout) / 1024
    more = peaks[60] / peaks[1] - 1
    print(f"most memory: a minute {peaks[1]:.0f} MiB, an hour {peaks[60]:.0f} MiB ({more:+.1%})")


def main() -> None:
    """Measure and print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an .onnx or .xml file of bigfoot export")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, 2 or more")
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--long", action="store_true", help="long recordings instead: WER in chunks, and memory")
    arguments = parser.parse_args()
    if arguments.long:
        compare_chunks(arguments.model)
        compare_memory(arguments.model)
        return
    first_text(arguments.model, arguments.rounds)
    compare(arguments.model, arguments.threads, arguments.rounds, arguments.utterances)


if __name__ == "__main__":
    main()
