"""What hot words cost a beam search, over small and large vocabularies, measured side by side in interleaved rounds.

    python benchmarks/hot_words.py

Posteriors are drawn: a text of letters and spaces, each in two frames between blanks, over noise. Half of the hot words
are of the text, so that the search is in the middle of some of them all the time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.words import WordValues
from bigfoot.text.tokenizers import CharTokenizer

Posteriors = npt.NDArray[np.float64]


def name_processor() -> str:
    """Name of the processor, where the machine says it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def draw(tokenizer: CharTokenizer, frames: int, seed: int) -> tuple[Posteriors, list[str]]:
    """Log posteriors (T, V), and the words that they say."""
    rng, size = np.random.default_rng(seed), len(tokenizer)
    tokens = np.where(rng.random(frames // 4) < 0.2, 1, rng.integers(2, size, frames // 4))
    ids = np.stack([tokens, tokens, np.zeros_like(tokens), np.zeros_like(tokens)], axis=1).ravel()
    scores = rng.standard_normal((len(ids), size)) + 9.0 * np.eye(size)[ids]
    words = tokenizer.decode(tokens.tolist()).split()
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), words


def draw_words(tokenizer: CharTokenizer, known: list[str], count: int, seed: int) -> list[str]:
    """Hot words: half of the text's, as long as there are some, and others of two to eight letters."""
    rng, letters = np.random.default_rng(seed), tokenizer.vocabulary[2:]
    found = dict.fromkeys(known[: count // 2])
    while len(found) < count:
        found["".join(rng.choice(letters, rng.integers(2, 9)))] = None
    return list(found)


def build_runs(size: int, arguments: argparse.Namespace) -> dict[int, Callable[[], None]]:
    """The contestants by their number of hot words, each a whole search."""
    tokenizer = CharTokenizer(("<pad>", "|", *(chr(0xAC00 + index) for index in range(size - 2))))
    log_probs, words = draw(tokenizer, arguments.frames, seed=size)

    def search(count: int) -> Callable[[], None]:
        hot = draw_words(tokenizer, words, count, seed=count)
        values = WordValues(hot_words=hot, hot_word_bonus=3.0) if hot else None
        beam = PrefixBeamSearch(tokenizer, arguments.beam, values)
        return lambda: check(beam.search(log_probs)[0].text.split() == words)

    return {count: search(count) for count in arguments.words}


def check(right: bool) -> None:
    """The search must find the text, or there is nothing to compare."""
    assert right, "the search found another text"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("frames", 500), ("beam", 16), ("rounds", 9)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 3000])
    parser.add_argument("--words", type=int, nargs="+", default=[0, 10, 1000])
    arguments = parser.parse_args()
    print(f"{name_processor()}; {arguments.frames} frames, beam {arguments.beam}, {arguments.rounds} rounds")
    for size in arguments.sizes:
        runs = build_runs(size, arguments)
        seconds: dict[int, list[float]] = {count: [] for count in runs}
        # The first round builds the automata, and counts too.
        for _ in range(arguments.rounds):
            for count, run in runs.items():
                began = time.process_time()
                run()
                seconds[count].append(time.process_time() - began)
        without = seconds[arguments.words[0]]
        for count, found in seconds.items():
            ratio = statistics.median(a / b for a, b in zip(found, without, strict=True))
            print(
                f"{size:5} tokens, {count:5} hot words: {statistics.median(found) * 1e3:7.1f} ms "
                f"[{min(found) * 1e3:.1f}, {max(found) * 1e3:.1f}], {ratio:.2f} times the first"
            )


if __name__ == "__main__":
    main()
