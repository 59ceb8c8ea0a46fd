"""How far word times are from espeak-ng's own, over strings of digits by voices that the teacher never trained on.

    python benchmarks/word_times.py

``tokens`` are the frames of a word's tokens, ``words`` what ``Transcriber`` returns. The reference are espeak-ng's
events: a word starts at its word event, and ends where the first pause behind its phonemes starts, or the next word.
Only strings that the model transcribes without an error count.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from bigfoot import Transcriber
from bigfoot.alignment.calibrate import SpokenText, speak_text
from bigfoot.audio.files import normalize_waveform
from bigfoot.data.synthetic import ACCENTS, VARIANTS
from bigfoot.data.utterance import digits_to_text
from bigfoot.measure.speed import name_processor
from bigfoot.runtime.engine import Engine
from bigfoot.runtime.transcriber import open_engine
from bigfoot.types import SAMPLE_RATE, Samples, Seconds

Times = list[tuple[Seconds, Seconds]] | np.ndarray


def speak_strings(count: int, seed: int, split: str) -> Iterator[SpokenText]:
    """Synthesize strings of 2 to 8 digits, half of them without any gap between words."""
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        text = digits_to_text(rng.integers(0, 10, size=rng.integers(2, 9)).tolist())
        yield speak_text(text, rng, ACCENTS, VARIANTS[split], SAMPLE_RATE, gaps=bool(index % 2))


def load_engine(model: str, threads: int) -> Engine:
    """Open an exported file, or a model folder with PyTorch."""
    if model.endswith((".onnx", ".xml")):
        return open_engine(model, threads)
    from bigfoot.evaluation.torch_engine import TorchEngine
    from bigfoot.formats.folder import load_model

    return TorchEngine(load_model(model), threads)


def time_tokens(engine: Engine, samples: Samples) -> Times:
    """Times of the frames of each word's tokens."""
    scaled = normalize_waveform(samples) if engine.facts.normalizes else samples
    ids = engine.run(scaled[None], np.array([len(scaled)])).logits[0].argmax(-1).tolist()
    time = engine.facts.frame_time
    return [(time(word.start_frame), time(word.end_frame)) for word in engine.facts.tokenizer.decode_words(ids)]


def describe(found: list[Times], expected: list[Times]) -> str:
    """Medians and 90th percentiles of the errors of starts and ends, and their bias."""
    errors = 1000 * (np.concatenate(found) - np.concatenate(expected)).T
    parts = []
    for name, error in zip(("start", "end"), errors, strict=True):
        median, most = np.quantile(np.abs(error), [0.5, 0.9])
        parts.append(f"{name}: median {median:.0f} ms, 90 % {most:.0f} ms, bias {np.median(error):+.0f} ms")
    return "   ".join(parts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny_teacher", help="whose vocabulary has the digits in words")
    parser.add_argument("--strings", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=sorted(VARIANTS), default="test", help="whose voices speak")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    engine = load_engine(arguments.model, arguments.threads)
    strings = list(speak_strings(arguments.strings, arguments.seed, arguments.split))
    results = Transcriber(engine).transcribe([string.samples for string in strings])
    right = [(s, r) for s, r in zip(strings, results, strict=True) if s.text == r.text]
    expected = [string.times for string, _ in right]
    words = sum(map(len, expected))
    print(f"{len(right)} of {len(strings)} strings without an error, {words} words; {name_processor()}")
    print("tokens", describe([time_tokens(engine, string.samples) for string, _ in right], expected))
    print("words ", describe([[(w.start, w.end) for w in result.words] for _, result in right], expected))


if __name__ == "__main__":
    main()
