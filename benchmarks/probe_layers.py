"""Linear probes over folds of speakers: what layers tell of the labels of a task, alone and beside log-mel energies.

    bigfoot train-task --config tasks/speechocean762_gender.yaml --until student
    cd runs/tasks/speechocean762_gender
    python benchmarks/probe_layers.py data gender age --model student/model

All utterances of the run are scored once, by a model that has not seen their speaker. A word of labels is a class
(macro F1 of logistic regression), a number is one (concordance of ridge regression). The row of ``log-mel`` alone is
fitted as the floors of a task are, the others with the inverse penalty ``--strength``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bigfoot.data.batches import evaluation_batches
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models.tasks.energies import PooledEnergies
from bigfoot.models.tasks.pooling.statistics import StatisticsPooling
from bigfoot.tasks.metrics import concordance

_FOLDS, _BANDS = 5, 40
_FLOOR_STRENGTHS = {"class": 1.0, "number": 0.1}


@torch.no_grad()
def pool(loaded: LoadedModel, manifests: list[Path]) -> tuple[np.ndarray, np.ndarray, list[str], list[dict[str, str]]]:
    """Pool log-mel energies, (N, 2 C), and the frames of every layer, (N, L+1, 2 D); with speakers and labels."""
    pooling, energies = StatisticsPooling(loaded.model.config.hidden_size), PooledEnergies(_BANDS)
    beside, found, speakers, labels = [], [], list[str](), list[dict[str, str]]()
    for manifest in manifests:
        for batch in evaluation_batches(manifest, loaded.processor, 8, doing=f"encoding {manifest.name}"):
            output = loaded.model.speech_encoder(batch.input_values, batch.attention_mask, output_hidden_states=True)
            states = [pooling(state, output.frame_mask).vectors for state in output.hidden_states]
            found.append(torch.stack(states, 1).numpy())
            beside.append(energies(batch.input_values, batch.attention_mask).numpy())
            speakers += batch.speakers
            labels += [dict(attributes) for attributes in batch.attributes]
    return np.concatenate(beside), np.concatenate(found), speakers, labels


def probe(features: np.ndarray, truth: list[str], speakers: list[str], strength: float | None) -> float:
    """Score linear models of all folds together; the strength of floors where none is given."""
    try:
        numbers = np.array(truth, dtype=float)
    except ValueError:
        classes = LogisticRegression(C=strength or _FLOOR_STRENGTHS["class"], max_iter=200)
        return float(f1_score(truth, _answer(features, np.array(truth), speakers, classes), average="macro"))
    ridge = Ridge(1 / (strength or _FLOOR_STRENGTHS["number"]))
    return concordance(numbers, _answer(features, numbers, speakers, ridge))


def _answer(
    features: np.ndarray, truth: np.ndarray, speakers: list[str], model: LogisticRegression | Ridge
) -> np.ndarray:
    answers = np.empty_like(truth)
    for train, test in GroupKFold(_FOLDS, shuffle=True, random_state=0).split(features, truth, speakers):
        fitted = make_pipeline(StandardScaler(), model).fit(features[train], truth[train])
        answers[test] = fitted.predict(features[test])
    return answers


def main() -> None:
    """Print a row a layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of a run's manifests")
    parser.add_argument("labels", nargs="+", help="columns of labels")
    parser.add_argument("--model", default="tiny_teacher")
    parser.add_argument("--strength", type=float, default=0.01, help="inverse penalty on features of unit variance")
    chosen = parser.parse_args()
    manifests = [chosen.data / f"cuts_{split}.jsonl.gz" for split in ("train", "dev", "test")]
    energies, layers, speakers, labels = pool(load_model(chosen.model), manifests)
    rows = {"log-mel": (energies, None)}
    for layer in range(layers.shape[1]):
        rows[f"layer {layer}"] = layers[:, layer], chosen.strength
        rows[f"log-mel + layer {layer}"] = np.concatenate([energies, layers[:, layer]], 1), chosen.strength
    rows["log-mel + mean of layers"] = np.concatenate([energies, layers.mean(1)], 1), chosen.strength
    print("| features | " + " | ".join(chosen.labels) + " |\n|:--|" + "--:|" * len(chosen.labels))
    for name, (features, strength) in rows.items():
        scores = []
        for label in chosen.labels:
            kept = [index for index, each in enumerate(labels) if each.get(label)]
            truth, whose = [labels[index][label] for index in kept], [speakers[index] for index in kept]
            scores.append(f"{probe(features[kept], truth, whose, strength):.3f}")
        print(f"| {name} | " + " | ".join(scores) + " |", flush=True)


if __name__ == "__main__":
    main()
