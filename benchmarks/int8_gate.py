"""The error rates of the gate of int8 files, simulated on the logits of real files.

    BIGFOOT_DATA=/folder/of/corpora python benchmarks/int8_gate.py tiny_teacher --trials 1000

FSDD's test strings are transcribed by the model and by int8 files of it, calibrated on ever fewer of the samples
(``--percentile``), so ever worse. A trial draws recordings with their errors from these, at random with replacement:
- no rise: of a file, each recording's errors given to the model and the file in random order;
- a rise of the margin: in as large a share of recordings as makes that rise on average, the file's own errors and the
  model's; in all others as above.
Printed is the share of trials by outcome, and the words read until then.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bigfoot.compress.quantize import calibrate
from bigfoot.data.batches import LoadedUtterance, read_utterances
from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.export.audio import padded_audio
from bigfoot.export.onnx import build_onnx
from bigfoot.export.outputs import FileRunner, decode_greedily, outputs_of_model
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.measure.error_rate import count_errors
from bigfoot.measure.sequential import judge_counts

PERCENTILES = (100.0, 99.9, 99.0, 97.0, 95.0)
Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]
"""From recordings' numbers to the errors that a file adds to them."""


def errors_of(outputs: Sequence[np.ndarray], utterances: Sequence[LoadedUtterance], loaded: LoadedModel) -> np.ndarray:
    """Errors of each utterance."""
    texts = [decode_greedily(logits, loaded.processor.tokenizer) for logits in outputs]
    return np.array([counts.errors for counts in count_errors([item.text for item in utterances], texts)])


def measure_files(
    loaded: LoadedModel, dev: Sequence[LoadedUtterance], test: Sequence[LoadedUtterance]
) -> dict[float, np.ndarray]:
    """Errors that the int8 file of each percentile adds to the model's."""
    before = errors_of([outputs_of_model(loaded, item) for item in test], test, loaded)
    added = {}
    for percentile in PERCENTILES:
        plan = calibrate(loaded.model, padded_audio(dev, loaded.processor), percentile)
        runner = FileRunner(loaded, build_onnx(loaded, plan))
        added[percentile] = errors_of([runner.run([item])[0] for item in test], test, loaded) - before
    return added


def in_random_order(added: np.ndarray) -> Draw:
    """No rise: it is as likely that the errors are added as that they are taken away."""
    return lambda rng, numbers: added[numbers] * rng.choice([-1, 1], len(numbers))


def at_the_margin(added: np.ndarray, words: np.ndarray, margin: float) -> Draw | None:
    """A rise of the margin; None where the file's is smaller."""
    rise = added.sum() / words.sum()
    if rise < margin:
        return None
    none = in_random_order(added)

    def draw(rng: np.random.Generator, numbers: np.ndarray) -> np.ndarray:
        return np.where(rng.random(len(numbers)) < margin / rise, added[numbers], none(rng, numbers))

    return draw


def print_row(name: str, draw: Draw, words: np.ndarray, recordings: int, trials: int, margin: float) -> None:
    """Simulate, and print a row of Markdown."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(trials):
        numbers = rng.integers(len(words), size=recordings)
        found.append(judge_counts(draw(rng, numbers), words[numbers], margin))
    shares = [sum(one.outcome == outcome for one in found) / trials for outcome in ("accepted", "refused", "undecided")]
    low, middle, high = np.percentile([one.words for one in found], [5, 50, 95])
    print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} | {middle:.0f} ({low:.0f} to {high:.0f}) |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny_teacher")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--recordings", type=int, default=4000, help="of a trial, at most")
    parser.add_argument("--margin", type=float, default=0.005)
    arguments = parser.parse_args()
    loaded = load_model(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        config = DataConfig(corpus="fsdd", num_train=4, num_dev=32, num_test=260)
        manifests = prepare_data(config, seed=1, folder=Path(folder)).manifests
        dev, test = ([*read_utterances(manifests[split])] for split in ("dev", "test"))
    words = np.array([len(item.text.split()) for item in test])
    sizes = (arguments.recordings, arguments.trials, arguments.margin)
    print(f"{len(test)} strings, {words.sum()} words; {arguments.trials} trials; {platform.machine()}\n")
    print("| file | accepted | refused | undecided | words, median (5 % to 95 %) |\n|:--|--:|--:|--:|--:|")
    for percentile, added in measure_files(loaded, dev, test).items():
        name = f"percentile {percentile:g} (WER {100 * added.sum() / words.sum():+.2f} points)"
        print_row(f"{name}: as it is", lambda _, numbers, own=added: own[numbers], words, *sizes)
        print_row(f"{name}: no rise", in_random_order(added), words, *sizes)
        if draw := at_the_margin(added, words, arguments.margin):
            print_row(f"{name}: a rise of {100 * arguments.margin:g} points", draw, words, *sizes)


if __name__ == "__main__":
    main()
