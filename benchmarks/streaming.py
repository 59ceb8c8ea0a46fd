"""What a chunk of audio costs a model that streams, on one thread; and whether its stream says what the model says.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --model RUN/finetune/model --manifest RUN/data/cuts_test.jsonl.gz

Shapes of the base family with random weights, 320 ms a chunk, four chunks before it; each is exported and run on ONNX
Runtime. Chunks of the shapes take turns, so that other work on the machine meets all alike.

With a model and a split, each recording is streamed in random cuts, and its text compared with the model's in one pass.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bigfoot.data.batches import evaluation_batches
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.export.streaming import build_streaming
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.measure.error_rate import measure_error_rate
from bigfoot.measure.speed import name_processor
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.runtime.segments import Segment
from bigfoot.runtime.stream_engine import StreamEngine
from bigfoot.runtime.streaming import StreamingTranscriber
from bigfoot.text.tokenizers import CharTokenizer, Processor
from bigfoot.types import Seconds

GOAL = 0.030
CHUNKS = {"chunk": 16, "left": 4}
TOKENS = ("<pad>", *(chr(ord("a") + index) for index in range(26)), "|", "'", "<s>", "</s>", "<unk>")
SHAPES = {
    "base-thin, 4 layers": BigfootConfig(
        num_hidden_layers=4, hidden_size=512, num_attention_heads=8, intermediate_size=1152,
        conv_dim=[128, 128, 192, 256, 256, 256, 384], streaming=CHUNKS,
    ),
    "base, 4 layers, groups 2": BigfootConfig(num_hidden_layers=4, conv_groups=[1, *[2] * 6], streaming=CHUNKS),
    "base, 12 layers": BigfootConfig(streaming=CHUNKS),
}  # fmt: skip


def open_engines(folder: Path) -> dict[str, StreamEngine]:
    """Export every shape, and open it."""
    engines = {}
    for index, (name, shape) in enumerate(SHAPES.items()):
        loaded = LoadedModel(BigfootForCTC(shape).eval(), Processor(CharTokenizer(TOKENS)))
        build_streaming(loaded).save(folder / f"{index}.onnx")
        engines[name] = StreamEngine(folder / f"{index}.onnx", threads=1)
    return engines


def time_chunks(engines: dict[str, StreamEngine], chunks: int) -> dict[str, list[tuple[Seconds, Seconds]]]:
    """Processor time and time by the clock of each chunk; the first ones, of empty caches, are left out."""
    size = CHUNKS["chunk"] * 320
    noise = 0.1 * np.random.default_rng(0).standard_normal((chunks, 1, size)).astype(np.float32)
    states = {name: np.zeros((1, engine.stream.state), np.float32) for name, engine in engines.items()}
    found: dict[str, list[tuple[Seconds, Seconds]]] = {name: [] for name in engines}
    for samples in noise:
        for name, engine in engines.items():
            processor, clock = time.process_time(), time.perf_counter()
            _, states[name] = engine.step(samples, states[name])
            found[name].append((time.process_time() - processor, time.perf_counter() - clock))
    return {name: times[CHUNKS["left"] :] for name, times in found.items()}


def compare_texts(model: str, manifest: Path) -> str:
    """Stream a split in cuts of up to 400 ms; a line about texts and error rates."""
    loaded, cuts = load_model(model), np.random.default_rng(0)
    assert loaded.processor.tokenizer is not None
    streamed, waves = [], []
    with tempfile.TemporaryDirectory() as place:
        build_streaming(loaded).save(Path(place) / "model.onnx")
        engine = StreamEngine(Path(place) / "model.onnx", threads=1)
        for batch in evaluation_batches(manifest, replace(loaded.processor, tokenizer=None), 1):
            waves.append(batch)
            transcriber, samples, found = StreamingTranscriber(engine), batch.input_values[0].numpy(), list[Segment]()
            while len(samples):
                size = int(cuts.integers(1, 6400))
                found += transcriber.feed(samples[:size]).final
                samples = samples[size:]
            streamed.append(" ".join(segment.text for segment in [*found, *transcriber.flush().final]))
    whole = transcribe_batches(loaded.model, iter(waves), loaded.processor.tokenizer)
    equal = sum(one == other for one, other in zip(streamed, whole.hypotheses, strict=True))
    rates = [
        measure_error_rate(whole.references, texts, whole.speakers, samples=1).wer
        for texts in (streamed, whole.hypotheses)
    ]
    wer, of_model = (f"{100 * (rate or 0.0):.2f} %" for rate in rates)
    return f"{equal} of {len(streamed)} texts equal; WER of the stream {wer}, of the model in one pass {of_model}"


def main() -> None:
    """Print a table, or a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=104, help="of each shape")
    parser.add_argument("--model", help="folder of a model that streams")
    parser.add_argument("--manifest", type=Path, help="of the split to stream")
    arguments = parser.parse_args()
    if arguments.model is not None:
        print(compare_texts(arguments.model, arguments.manifest))
        return
    chunks = arguments.chunks
    with tempfile.TemporaryDirectory() as place:
        engines = open_engines(Path(place))
        times = time_chunks(engines, chunks)
    print(f"{name_processor()}, one thread, {chunks - CHUNKS['left']} chunks of 320 ms; goal {1000 * GOAL:g} ms\n")
    print("| shape | processor time of a chunk: median, 90 % | by the clock: median | state |\n|:--|--:|--:|--:|")
    for name, pairs in times.items():
        processor, clock = (1000 * np.array(each) for each in zip(*pairs, strict=True))
        middle, high = np.quantile(processor, (0.5, 0.9))
        state = 4 * engines[name].stream.state / 1e6
        print(f"| {name} | {middle:.1f} ms, {high:.1f} ms | {np.median(clock):.1f} ms | {state:.2f} MB |")


if __name__ == "__main__":
    main()
