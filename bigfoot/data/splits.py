"""Splits of a corpus that has none: by speaker or by utterance, the same for the same seed on any machine.

Groups are assigned one by one, each to the split that is furthest behind in the labels that the group holds, the way of
iterative stratification (Sechidis et al., 2011). Their order is by size, then by digests of seed and name: neither the
order of rows nor Python's salted hash decides anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from bigfoot.data.augment import stable_seed
from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.split_settings import SplitConfig
from bigfoot.errors import DataError

_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class SplitItem:
    """What a split reads of an utterance.

    Args:
        id: unique.
        group: what stays together, such as the speaker.
        label: what is spread evenly; empty for no matter.
    """

    id: str
    group: str
    label: str = ""


def assign_splits(items: Sequence[SplitItem], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Assign groups to splits, with labels as even as the groups allow.

    Args:
        items: all utterances, in any order.
        shares: of the utterances by split, 0 or more; their sum counts as the whole.
        seed: decides among groups of one size.

    Returns:
        The split of each group; a split whose share is above 0 has one group at least.

    Raises:
        DataError: there are fewer groups than splits or folds.

    Examples:
        >>> items = [SplitItem(f"{who}{n}", who) for who in "abcd" for n in range(3)]
        >>> sorted(assign_splits(items, {"train": 0.5, "test": 0.5}, seed=0).values())
        ['test', 'test', 'train', 'train']
    """
    wanted = {split: Fraction(share) for split, share in shares.items() if share > 0}
    labels: dict[str, Counter[str]] = {}
    for item in items:
        labels.setdefault(item.group, Counter())[item.label] += 1
    if len(labels) < len(wanted):
        there = f"{len(labels)} ({', '.join(sorted(labels)[:3])}{', ...' if len(labels) > 3 else ''})"
        raise DataError(
            f"data.split: {len(wanted)} splits or folds need as many speakers, labels or utterances, and there are "
            f"{there}; take fewer folds, or split.by: utterance; a table's speakers are named by data.columns"
        )
    totals, whole = sum(labels.values(), Counter()), sum(wanted.values())
    room = {split: {label: count * share / whole for label, count in totals.items()} for split, share in wanted.items()}
    order = sorted(labels, key=lambda group: (-labels[group].total(), stable_seed(seed, "split", group), group))
    empty, found = dict.fromkeys(wanted), {}
    for place, group in enumerate(order):
        # The last groups go where there is none yet.
        open_splits = list(empty) if len(order) - place == len(empty) else list(wanted)
        split = _choose(open_splits, room, labels[group])
        for label, count in labels[group].items():
            room[split][label] -= count
        found[group] = split
        empty.pop(split, None)
    return found


def _choose(splits: Sequence[str], room: Mapping[str, Mapping[str, Fraction]], held: Counter[str]) -> str:
    """Return the split with the most room for a group, of equals the first."""
    return max(splits, key=lambda split: sum(count * room[split][label] for label, count in held.items()))


def fold_shares(num_folds: int) -> dict[str, float]:
    """Return shares of so many folds of one size, by their numbers.

    Examples:
        >>> fold_shares(2)
        {'0': 1.0, '1': 1.0}
    """
    return dict.fromkeys(map(str, range(num_folds)), 1.0)


def fold_role(group_fold: str, fold: int, num_folds: int) -> str:
    """Return the split of a fold's groups: one fold is test, the next one dev, the others train.

    Args:
        group_fold: number of the group's fold.
        fold: which is test.
        num_folds: how many there are, 3 or more.

    Examples:
        >>> [fold_role(str(number), 3, 4) for number in range(4)]
        ['dev', 'train', 'train', 'test']
    """
    return {fold: "test", (fold + 1) % num_folds: "dev"}.get(int(group_fold), "train")


def make_splits(listed: list[ListedUtterance], config: SplitConfig, seed: int) -> dict[str, list[ListedUtterance]]:
    """Split utterances by speaker, by a label, or by themselves.

    Args:
        listed: all utterances; their order within a split stays.
        config: by what, and how large the splits are.
        seed: decides which.

    Returns:
        The utterances of ``train``, ``dev`` and ``test``, as far as they have a share.

    Raises:
        DataError: there are fewer speakers than splits.
    """
    items = [SplitItem(item.id, _group_of(item, config), item.labels.get(config.stratify, "")) for item in listed]
    if config.folds:
        found = assign_splits(items, fold_shares(config.folds), seed)
        found = {group: fold_role(number, config.fold, config.folds) for group, number in found.items()}
    else:
        shares = {"train": 1 - config.dev - config.test, "dev": config.dev, "test": config.test}
        found = assign_splits(items, shares, seed)
    splits: dict[str, list[ListedUtterance]] = {split: [] for split in _SPLITS if split in found.values()}
    for entry, item in zip(listed, items, strict=True):
        splits[found[item.group]].append(entry)
    return splits


def _group_of(item: ListedUtterance, config: SplitConfig) -> str:
    if config.by == "label":
        return item.labels.get(config.label, item.id)  # each by itself where it is not known
    return item.speaker if config.by == "speaker" else item.id


def hold_out_speakers(
    listed: list[ListedUtterance], count: int, seed: int
) -> tuple[list[ListedUtterance], list[ListedUtterance]]:
    """Part utterances by speaker, for a corpus without a dev split of its own.

    Args:
        listed: utterances of train.
        count: speakers to take out, fewer than there are.
        seed: decides which.

    Returns:
        What stays, and what was taken out.

    Raises:
        DataError: there are not more speakers than are to be taken out.
    """
    speakers = sorted({item.speaker for item in listed})
    if count >= len(speakers):
        raise DataError(
            f"data.hold_out_speakers: {count} asked for, but train has {len(speakers)}"
            f" ({', '.join(speakers[:5])}{', ...' if len(speakers) > 5 else ''}); one at least must stay"
        )
    rng = np.random.default_rng(stable_seed(seed, "hold out"))
    held_out = set(rng.choice(speakers, size=count, replace=False).tolist())
    return [i for i in listed if i.speaker not in held_out], [i for i in listed if i.speaker in held_out]
