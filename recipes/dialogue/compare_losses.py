"""Train a shrunk speech LLM with and without its own answers from before, over several seeds.

    python recipes/dialogue/compare_losses.py runs/dialogue/speech/train_full/model [--seeds 1 2 3] [KEY=VALUE ...]

Each seed runs the steps shrink and recover of ``speech_llm/dialogue`` twice: with the next-token loss alone, and with
the token-logit loss from the uncompressed model too. The table has the loss on dev by step, and the first step at which
each reaches the loss that all of them reach in the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    from bigfoot.pipeline.facts import read_facts
    from bigfoot.pipeline.speech_llm.run import run_speech_llm

CONFIG = "speech_llm/dialogue"
WEIGHTS = {"next token": 0.0, "next token + token logits": 1.0}


def train(model: str, folder: Path, seed: int, weight: float, more: list[str]) -> dict[int, float]:
    """Shrink and train a model; return its loss on dev by step."""
    run_speech_llm(CONFIG, [
        f"start={model}", "steps=[shrink,recover]", f"run_dir={folder}", f"seed={seed}",
        f"recover.losses.token_logits={weight}", "recover.eval_every=20", *more,
    ], until="recover")  # fmt: skip
    facts = read_facts(folder / "recover")
    assert facts is not None
    return {record["step"]: record["dev_loss"] for record in facts.records if "dev_loss" in record}


def main() -> None:
    """Train all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, default=Path("runs/dialogue/losses"))
    given = parser.parse_args()
    curves = {
        (name, seed): train(given.model, given.folder / f"{index}_{seed}", seed, weight, given.changes)
        for seed in given.seeds
        for index, (name, weight) in enumerate(WEIGHTS.items())
    }
    target = max(min(curve.values()) for curve in curves.values())
    print(f"loss on dev that all reach: {target:.4f}")
    for (name, seed), curve in sorted(curves.items()):
        first = next(step for step, loss in curve.items() if loss <= target)
        losses = "  ".join(f"{step}: {loss:.3f}" for step, loss in curve.items())
        print(f"{name:<28}seed {seed}  reached at step {first:>4}   {losses}")


if __name__ == "__main__":
    with plain_errors():
        main()
