"""Score linear heads over folds of all speakers: what the encoder adds to log-mel energies.

    python benchmarks/task_features.py runs/tasks/speechocean762_gender gender age

A test split of 31 speakers is too small to compare features by. Here every utterance of a run is scored by a head that
has not seen its speaker: five folds by speaker, all answers pooled, intervals by bootstrap over speakers. Penalties are
chosen by the loss within the four folds of training, each held out in turn, and so are, in one row, the features. The
last row chooses none: it is the mean of the scores of three heads, of a fine spectrum beside the last convolution, of
both beside prosody, and of the floor's log-mel energies beside prosody.
The floor is that of the recipe, with its fixed penalty. A column of words is a class, one of numbers a regression.
Each head is scored twice: utterance by utterance, and on the mean scores of all utterances of a speaker.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import numpy as np
    import torch
    from sklearn.metrics import f1_score

    from bigfoot.data.batches import evaluation_batches
    from bigfoot.data.splits import SplitItem, assign_splits, fold_shares
    from bigfoot.formats.folder import LoadedModel, load_model
    from bigfoot.models.tasks.energies import PooledEnergies
    from bigfoot.models.tasks.pooling.statistics import StatisticsPooling
    from bigfoot.models.tasks.shape import TaskShape
    from bigfoot.runtime.task_answers import compute_scores
    from bigfoot.tasks.answers import Answers, task_facts, utterance_losses
    from bigfoot.tasks.metrics import concordance
    from bigfoot.tasks.probe import STRENGTHS, fit_linear
    from bigfoot.tasks.text.settings import SpeechConfig
    from bigfoot.tasks.text.streams import SpeechStreams

FOLDS, BANDS, SAMPLES = 5, 40, 1000
FLOOR, FLOOR_STRENGTHS = "log-mel", {"single_label": 1.0, "regression": 0.1}
FINE_BANDS, FINE_WINDOW = 80, 1024
"""Harmonics of a voice stand apart in windows of 64 ms."""
RECOMMENDED = {"single_label": "mean of the last three", "regression": "features of the above chosen too"}
"""Rows that were not chosen by the folds that score them: the first was fixed before, the second is chosen within."""
HEADS = ("fine spectrum and last convolution", "the same and prosody", f"{FLOOR} and prosody")
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Corpus:
    """Pooled utterances.

    Args:
        ids: N names.
        speakers: N.
        labels: N, of each the columns.
        features: (N, P) each, by name.
    """

    ids: list[str]
    speakers: list[str]
    labels: list[dict[str, str]]
    features: dict[str, np.ndarray]


class Prosody(torch.nn.Module):
    """Pitch and harmonicity where there is a voice, in means, deviations and quantiles."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = SpeechStreams(SpeechConfig(prosody=True), None, None)

    def forward(self, input_values: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
        """From (B, N) to (B, P)."""
        frames = self.streams(input_values, mask)["prosody"]
        return np.stack(
            [self._summarize(*each) for each in zip(frames.features.numpy(), frames.frame_mask.numpy(), strict=True)]
        )

    @staticmethod
    def _summarize(frames: np.ndarray, real: np.ndarray) -> np.ndarray:
        voiced = frames[real & (frames[:, 1] > 0)]
        if len(voiced) < 2:
            return np.zeros(5 + len(QUANTILES))
        pitch, harmonicity = voiced[:, 0], voiced[:, 3]
        share = len(voiced) / real.sum()
        moments = [share, pitch.mean(), pitch.std(), harmonicity.mean(), harmonicity.std()]
        return np.array([*moments, *np.quantile(pitch, QUANTILES)])


@torch.no_grad()
def pool(loaded: LoadedModel, manifests: Sequence[Path]) -> Corpus:
    """Pool an utterance's log-mel energies, prosody, last convolution, and mean of all hidden states, in one pass."""
    model, taken = loaded.model.speech_encoder, list[torch.Tensor]()
    model.feature_projection.register_forward_pre_hook(lambda _, given: taken.append(given[0]))
    energies, fine = PooledEnergies(BANDS), PooledEnergies(FINE_BANDS, FINE_WINDOW)
    prosody, found = Prosody(), Corpus([], [], [], {})
    parts: dict[str, list[np.ndarray]] = {}
    for manifest in manifests:
        for batch in evaluation_batches(manifest, loaded.processor, 8, doing=f"encoding {manifest.name}"):
            taken.clear()
            output = model(batch.input_values, batch.attention_mask, output_hidden_states=True)
            mask = torch.arange(batch.input_values.shape[1]) < batch.input_lengths[:, None]
            frames = {"last convolution": taken[0], "layers": torch.stack(output.hidden_states).mean(0)}
            pooled = {name: StatisticsPooling(each.shape[-1])(each, output.frame_mask).vectors.numpy()
                      for name, each in frames.items()}  # fmt: skip
            pooled[FLOOR] = energies(batch.input_values, batch.attention_mask).numpy()
            pooled |= {
                "fine spectrum": fine(batch.input_values, mask).numpy(),
                "prosody": prosody(batch.input_values, mask),
            }
            for name, rows in pooled.items():
                parts.setdefault(name, []).append(rows)
            found.ids.extend(batch.ids)
            found.speakers.extend(batch.speakers)
            found.labels.extend(dict(attributes) for attributes in batch.attributes)
    found.features.update(combine({name: np.concatenate(rows).astype(np.float64) for name, rows in parts.items()}))
    return found


def combine(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the features of each head by name, the floor's first."""
    found = {name: parts[name] for name in (FLOOR, "last convolution", "layers")}
    for name in ("layers", "last convolution"):
        found[f"{FLOOR} and {name}"] = np.hstack([parts[FLOOR], parts[name]])
    fine = np.hstack([parts["fine spectrum"], parts["last convolution"]])
    return found | dict(zip(HEADS, (fine, np.hstack([fine, parts["prosody"]]),
                                    np.hstack([parts[FLOOR], parts["prosody"]])), strict=True))  # fmt: skip


def read_targets(corpus: Corpus, column: str) -> tuple[TaskShape, np.ndarray]:
    """Return the task of a column, and (N, 1) targets."""
    texts = [each[column] for each in corpus.labels]
    try:
        numbers = np.array(texts, dtype=float)
    except ValueError:
        classes = sorted(set(texts))
        return TaskShape("single_label", classes), np.array([[classes.index(text)] for text in texts], dtype=float)
    shape = TaskShape("regression", [column], center=[float(numbers.mean())], scale=[float(numbers.std())])
    return shape, numbers[:, None]


class Folds:
    """Heads that were fitted without some of the folds.

    Args:
        corpus: pooled utterances.
        column: of the label.
        seed: of the folds.
    """

    def __init__(self, corpus: Corpus, column: str, seed: int) -> None:
        self.corpus = corpus
        self.shape, self.targets = read_targets(corpus, column)
        labels = [each[column] if self.shape.kind == "single_label" else "" for each in corpus.labels]
        items = [SplitItem(*each) for each in zip(corpus.ids, corpus.speakers, labels, strict=True)]
        found = assign_splits(items, fold_shares(FOLDS), seed)
        self.fold = np.array([int(found[speaker]) for speaker in corpus.speakers])

    def fit(self, name: str, strength: float, without: Sequence[int]) -> np.ndarray:
        """Return (N, K) logits of a head that was fitted without some folds."""
        features, kept = self.corpus.features[name], ~np.isin(self.fold, without)
        weight, bias = fit_linear(self.shape, features[kept], self.targets[kept], strength)
        return np.asarray(features @ weight.T + bias)

    def answers(self, logits: np.ndarray) -> Answers:
        """Return logits as the answers to all utterances."""
        facts, corpus = task_facts(self.shape), self.corpus
        return Answers(corpus.ids, corpus.speakers, self.targets, compute_scores(logits, facts), facts, logits)

    def pool(self, names: Sequence[str], strengths: Sequence[float]) -> Answers:
        """Answer each fold by the features and the penalty with the lowest loss within the others."""
        choices = list(itertools.product(names, strengths))
        inner = {choice: self._inner_losses(*choice) if len(choices) > 1 else np.zeros(FOLDS) for choice in choices}
        chosen = [min(choices, key=lambda choice: inner[choice][fold]) for fold in range(FOLDS)]
        whole = {(choice, fold): self.fit(*choice, [fold]) for fold, choice in enumerate(chosen)}
        return self.answers(np.select([(self.fold == fold)[:, None] for fold in range(FOLDS)], [*whole.values()]))

    @cache  # noqa: B019 - one object a column, for the whole program
    def _inner_losses(self, name: str, strength: float) -> np.ndarray:
        """Return for each fold the mean loss within the others, each of those answered by a head of the rest."""
        sums, counts = np.zeros(FOLDS), np.zeros(FOLDS)
        for pair in itertools.combinations(range(FOLDS), 2):
            losses = utterance_losses(self.answers(self.fit(name, strength, pair)))
            for outer, held in (pair, pair[::-1]):
                sums[outer] += losses[self.fold == held].sum()
                counts[outer] += (self.fold == held).sum()
        return np.asarray(sums / counts)


def measure(answers: Answers, rows: np.ndarray) -> float:
    """Return the metric of the answers to some utterances."""
    truth, scores = answers.targets[rows, 0], answers.scores[rows]
    if answers.facts.kind == "regression":
        return concordance(truth, scores[:, 0])
    return float(f1_score(truth, scores.argmax(-1), average="macro"))


def resample(answers: Sequence[Answers]) -> np.ndarray:
    """Return (SAMPLES, M) metrics of M models, each time of as many speakers as there are, drawn with replacement."""
    speakers = np.array(answers[0].speakers)
    rows_of = [np.flatnonzero(speakers == speaker) for speaker in sorted(set(answers[0].speakers))]
    rng, found = np.random.default_rng(0), []
    for _ in range(SAMPLES):
        rows = np.concatenate([rows_of[unit] for unit in rng.integers(len(rows_of), size=len(rows_of))])
        found.append([measure(each, rows) for each in answers])
    return np.array(found)


def tabulate(corpus: Corpus, column: str, seed: int) -> list[str]:
    """Return the rows of a column's table, the floor first."""
    folds = Folds(corpus, column, seed)
    kind, names = folds.shape.kind, [name for name in corpus.features if name not in HEADS]
    answers = {f"floor: {FLOOR}, fixed penalty": folds.pool([FLOOR], [FLOOR_STRENGTHS[kind]])}
    answers |= {name: folds.pool([name], STRENGTHS) for name in names}
    answers["features of the above chosen too"] = folds.pool(names, STRENGTHS)
    answers |= {name: folds.pool([name], STRENGTHS) for name in HEADS}
    scores = np.mean([answers[name].scores for name in HEADS], axis=0)
    answers["mean of the last three"] = replace(answers[HEADS[0]], scores=scores)
    pooled = [each.pool_speakers() for each in answers.values()]
    columns = [compare([*answers.values()]), compare(pooled)]
    metric = "concordance" if kind == "regression" else "macro F1"
    scored = " | ".join(f"{metric} by {unit} [95 %] | gain on the floor [95 %]" for unit in ("utterance", "speaker"))
    rows = [f"| {column} | {scored} |", "|:--|--:|--:|--:|--:|"]
    rows += [f"| {name} | {' | '.join(cells)} |" for name, *cells in zip(answers, *columns, strict=True)]
    words = "Recommended: {}. A gain is shown where its interval is above 0; the best row of the table is no result."
    return [*rows, "", words.format(RECOMMENDED[kind])]


def compare(answers: Sequence[Answers]) -> list[str]:
    """Return the metric of each model and its gain on the first, as two cells."""
    values = [measure(each, np.arange(len(each.ids))) for each in answers]
    drawn, cells = resample(answers), list[str]()
    for place, value in enumerate(values):
        low, high = np.quantile(drawn[:, place], [0.025, 0.975])
        least, most = np.quantile(drawn[:, place] - drawn[:, 0], [0.025, 0.975])
        gain = f"{value - values[0]:+.3f} [{least:+.3f}, {most:+.3f}]" if place else ""
        cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}] | {gain}")
    return cells


def main() -> None:
    """Encode once, and print a table a column."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run, with its data and the model of its step student")
    parser.add_argument("columns", nargs="+", help="labels")
    parser.add_argument("--seed", type=int, default=7, help="of the folds")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    manifests = [given.run / "data" / f"cuts_{split}.jsonl.gz" for split in ("train", "dev", "test")]
    corpus = pool(load_model(given.run / "student" / "model"), manifests)
    for column in given.columns:
        print("\n".join(["", *tabulate(corpus, column, given.seed)]), flush=True)


if __name__ == "__main__":
    with plain_errors():
        main()
