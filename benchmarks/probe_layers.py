"""Linear probes: what mean and deviation of each layer's frames tell of the labels of a task, fitted by scikit-learn.

    bigfoot train-task --config tasks/speechocean762_gender.yaml --until data
    python benchmarks/probe_layers.py runs/tasks/speechocean762_gender/data gender age

A word of labels is a class (macro F1 of logistic regression), a number is one (concordance of ridge regression).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bigfoot.data.batches import evaluation_batches
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models.tasks.pooling.statistics import StatisticsPooling
from bigfoot.tasks.metrics import concordance


@torch.no_grad()
def pool_layers(loaded: LoadedModel, manifest: Path) -> tuple[np.ndarray, list[dict[str, str]]]:
    """Pool the frames of every layer: (N, L+1, 2 D), and the labels of the utterances."""
    pooling, found, labels = StatisticsPooling(loaded.model.config.hidden_size), [], []
    for batch in evaluation_batches(manifest, loaded.processor, 8, doing=f"encoding {manifest.name}"):
        output = loaded.model.speech_encoder(batch.input_values, batch.attention_mask, output_hidden_states=True)
        states = [pooling(state, output.frame_mask).vectors for state in output.hidden_states]
        found.append(torch.stack(states, 1).numpy())
        labels += [dict(attributes) for attributes in batch.attributes]
    return np.concatenate(found), labels


def probe(train: tuple[np.ndarray, list[str]], test: tuple[np.ndarray, list[str]]) -> float:
    """Fit a linear model to one layer and score it on test."""
    try:
        numbers, truth = (np.array(labels, dtype=float) for _, labels in (train, test))
    except ValueError:
        classes = LogisticRegression(C=0.01, max_iter=500, class_weight="balanced")
        model = make_pipeline(StandardScaler(), classes).fit(*train)
        return float(f1_score(test[1], model.predict(test[0]), average="macro"))
    model = make_pipeline(StandardScaler(), Ridge(100.0)).fit(train[0], numbers)
    return concordance(truth, model.predict(test[0]))


def main() -> None:
    """Print a row a layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of a run's manifests")
    parser.add_argument("labels", nargs="+", help="columns of labels")
    parser.add_argument("--model", default="tiny_teacher")
    chosen = parser.parse_args()
    loaded = load_model(chosen.model)
    splits = [pool_layers(loaded, chosen.data / f"cuts_{split}.jsonl.gz") for split in ("train", "test")]
    print("| layer | " + " | ".join(chosen.labels) + " |\n|--:|" + "--:|" * len(chosen.labels))
    for layer in range(splits[0][0].shape[1]):
        scores = []
        for label in chosen.labels:
            rows = [[i for i, each in enumerate(labels) if each.get(label)] for _, labels in splits]
            pairs = [
                (states[index, layer], [labels[i][label] for i in index])
                for (states, labels), index in zip(splits, rows, strict=True)
            ]
            scores.append(f"{probe(*pairs):.3f}")
        print(f"| {layer} | " + " | ".join(scores) + " |")


if __name__ == "__main__":
    main()
