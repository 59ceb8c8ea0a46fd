"""Class-balanced sampling: rare classes come up as often as the most frequent one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from bigfoot.data.augment import stable_seed
from bigfoot.data.cuts import LABELS_FIELD, read_cuts, write_manifest
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.models.tasks.targets import read_targets


def count_repeats(ids: Sequence[str], labels: Sequence[str | None], seed: int) -> list[int]:
    """Count how often each utterance is in an epoch in which all classes are equally frequent.

    Args:
        ids: of utterances.
        labels: their classes; None where not known.
        seed: of the choice among utterances of a class, where its repeats do not come out even.

    Returns:
        1 or more for each; utterances without a class are in it once. It does not depend on the order of utterances.

    Examples:
        >>> count_repeats(["a", "b", "c", "d"], ["yes", "no", "no", None], seed=0)
        [2, 1, 1, 1]
    """
    counts = Counter(label for label in labels if label is not None)
    most = max(counts.values(), default=0)
    repeats: dict[str, int] = {}
    for label, count in counts.items():
        whole, rest = divmod(most, count)
        members = [name for name, found in zip(ids, labels, strict=True) if found == label]
        members.sort(key=lambda name: (stable_seed(seed, "balance", name), name))
        repeats |= {name: whole + (place < rest) for place, name in enumerate(members)}
    return [repeats.get(name, 1) for name in ids]


def write_balanced(manifest: Path, destination: Path, shape: TaskShape, seed: int) -> str:
    """Write a manifest in which all classes, or ratings, are equally frequent.

    Args:
        manifest: of train.
        destination: ending in ``.jsonl.gz``.
        shape: of the head, which tells the class of an utterance.
        seed: see ``count_repeats``.

    Returns:
        What was repeated, a sentence.
    """
    cuts = list(read_cuts(manifest))
    attributes: list[Mapping[str, str]] = [(cut.supervisions[0].custom or {}).get(LABELS_FIELD, {}) for cut in cuts]
    targets = read_targets(shape, attributes)[:, 0].tolist()
    labels = [None if math.isnan(target) else shape.labels[int(target)] for target in targets]
    repeats = count_repeats([cut.id for cut in cuts], labels, seed)
    written = []
    for cut, times in zip(cuts, repeats, strict=True):
        # Augmentation and masks are drawn by name, so that repeats differ in them.
        written += [cut if not again else cut.with_id(f"{cut.id}_repeat{again}") for again in range(times)]
    write_manifest(written, destination)
    counts = ", ".join(f"{label} {count}" for label, count in sorted(Counter(filter(None, labels)).items()))
    return f"classes are sampled equally often, {len(written):,} utterances an epoch of {len(cuts):,} ({counts})"
