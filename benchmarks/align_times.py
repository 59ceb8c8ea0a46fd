"""How far ``bigfoot align`` is from espeak-ng's own times, by voices not trained on; and an hour of audio.

    python benchmarks/align_times.py student.onnx

The lag is measured on the voices of training (``bigfoot align --calibrate``). All strings count, those too that the
model transcribes with an error.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from word_times import describe, load_engine, speak_strings

from bigfoot.alignment.aligner import Aligner
from bigfoot.alignment.calibrate import SpokenText, calibrate
from bigfoot.alignment.lag import Lag
from bigfoot.measure.speed import name_processor
from bigfoot.runtime.engine import Engine
from bigfoot.types import SAMPLE_RATE, Seconds


def align_strings(engine: Engine, lag: Lag | None, strings: list[SpokenText]) -> str:
    """Errors of the starts and ends of all words."""
    aligner = Aligner(engine, lag=lag)
    found = [aligner.align(string.samples, string.text).words for string in strings]
    return describe([[(w.start, w.end) for w in words] for words in found], [string.times for string in strings])


def time_long(engine: Engine, lag: Lag, strings: list[SpokenText], seconds: Seconds) -> str:
    """Time of one long recording, and the errors of its words; strings differ in noise, which steps where they meet."""
    parts, text, times, length = list[np.ndarray](), list[str](), list[tuple[Seconds, Seconds]](), 0
    inner = list[bool]()
    while length < seconds * SAMPLE_RATE:
        string = strings[len(parts) % len(strings)]
        inner += [True] * (len(string.times) - 1) + [False]
        times += [(start + length / SAMPLE_RATE, end + length / SAMPLE_RATE) for start, end in string.times]
        parts.append(string.samples)
        text.append(string.text)
        length += len(string.samples)
    samples = np.concatenate(parts)
    start, processor = time.perf_counter(), time.process_time()
    words = Aligner(engine, lag=lag).align(samples, " ".join(text)).words
    took, used = time.perf_counter() - start, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found, expected, within = np.array([(word.start, word.end) for word in words]), np.array(times), np.array(inner)
    errors = f"{describe([found], [expected])}; within strings {describe([found[within]], [expected[within]])}"
    spent = f"{took:.1f} s, {used:.1f} s of processor time, {peak:.0f} MB"
    return f"{length / SAMPLE_RATE:.0f} s, {len(words)} words: {spent}; {errors}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny_teacher", help="whose vocabulary has the digits in words")
    parser.add_argument("--strings", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=3600.0, help="of the long recording")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    engine = load_engine(arguments.model, arguments.threads)
    strings = list(speak_strings(arguments.strings, 0, "test"))
    found = calibrate(Aligner(engine))
    print(f"{len(strings)} strings, {sum(len(string.times) for string in strings)} words; {name_processor()}")
    print("loudness alone", align_strings(engine, None, strings))
    print("calibrated    ", align_strings(engine, found.lag, strings))
    print("long          ", time_long(engine, found.lag, strings, arguments.seconds))


if __name__ == "__main__":
    main()
