"""What the cache and batches are worth when ``MiniGPT`` writes, measured side by side in interleaved rounds.

    python benchmarks/decoding.py

``cached`` computes each token once; ``anew`` computes all tokens and all of the memory's keys and values in every
step. ``batch N`` is the cached decoder with N utterances at once. Texts have as many tokens as asked for: a decoder
with random weights that never ends by itself does the same work as a trained one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from bigfoot.decoding.autoregressive import Decoded, decode_autoregressive
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.models.decoders import MiniGPT


class NeverEnding(MiniGPT):
    """A decoder to which the end never is the best token."""

    def forward(self, tokens: Tensor, *rest: Tensor | None, **named: Tensor | None) -> Tensor:
        """See ``MiniGPT``."""
        logits = super().forward(tokens, *rest, **named)
        logits[..., self.end_id] = -1e9
        return logits


def build_runs(arguments: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """The contestants by name, each a whole search."""
    torch.manual_seed(0)
    model = NeverEnding(32, 0, arguments.width, arguments.layers, num_heads=8, dropout=0.0).eval()
    # No repetition loop is cut short: every text has its full length.
    config = DecodingConfig(max_tokens=arguments.tokens, max_repeats=arguments.tokens)

    def search(batch: int, use_cache: bool) -> Callable[[], None]:
        memory = torch.randn(batch, arguments.frames, arguments.width)
        return lambda: check(decode_autoregressive(model, memory, None, config, use_cache=use_cache))

    def check(found: list[Decoded]) -> None:
        assert all(len(each.best.tokens) == arguments.tokens for each in found)

    return {
        "anew, batch 1": search(1, use_cache=False),
        "cached, batch 1": search(1, use_cache=True),
        f"cached, batch {arguments.batch}": search(arguments.batch, use_cache=True),
    }


def measure(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every run, one after the other in each round, so that a busy machine is busy for all."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("width", 512), ("layers", 6), ("frames", 500), ("tokens", 100), ("batch", 8), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seconds = measure(build_runs(arguments), arguments.rounds)
    anew, cached, batched = seconds.values()
    for name, found in seconds.items():
        print(f"{name:16} {statistics.median(found):7.3f} s  [{min(found):.3f}, {max(found):.3f}]")
    cache = statistics.median(a / b for a, b in zip(anew, cached, strict=True))
    batch = statistics.median(arguments.batch * a / b for a, b in zip(cached, batched, strict=True))
    print(f"cache: {cache:.1f} times as fast as computing anew")
    print(f"batch {arguments.batch}: {batch:.2f} times as many utterances a second as batch 1")


if __name__ == "__main__":
    main()
