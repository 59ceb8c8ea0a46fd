"""Balanced epochs: every class as often as the most frequent, in any order of rows, and by the seed."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bigfoot.data.cuts import LABELS_FIELD, read_cuts, write_manifest
from bigfoot.models.tasks.shape import TaskShape
from bigfoot.tasks.labels import read_attributes
from bigfoot.tasks.sampling import count_repeats, write_balanced


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30), st.integers(0, 99), st.randoms())
def test_classes_are_equally_frequent(labels, seed, random):
    ids = [f"u{index}" for index in range(len(labels))]
    repeats = dict(zip(ids, count_repeats(ids, labels, seed), strict=True))
    totals = Counter()
    for name, label in zip(ids, labels, strict=True):
        totals[label] += repeats[name]
    known = {label: count for label, count in totals.items() if label is not None}
    assert set(known.values()) <= {max(Counter(filter(None, labels)).values(), default=0)}
    assert totals[None] == labels.count(None) and all(count >= 1 for count in repeats.values())
    order = list(range(len(ids)))
    random.shuffle(order)
    again = count_repeats([ids[i] for i in order], [labels[i] for i in order], seed)
    assert {ids[i]: count for i, count in zip(order, again, strict=True)} == repeats


def test_a_balanced_manifest_repeats_under_names_of_its_own(voices, tmp_path):
    traits = sorted({labels["traits"] for labels in read_attributes(voices["dev"])})
    shape = TaskShape("single_label", traits, "traits")
    found = write_balanced(voices["dev"], tmp_path / "balanced.jsonl.gz", shape, seed=3)
    cuts = list(read_cuts(tmp_path / "balanced.jsonl.gz"))
    counts = Counter(labels["traits"] for labels in read_attributes(tmp_path / "balanced.jsonl.gz"))
    assert len(set(counts.values())) == 1 and len({cut.id for cut in cuts}) == len(cuts)
    assert {cut.id.partition("_repeat")[0] for cut in cuts} == {cut.id for cut in read_cuts(voices["dev"])}
    assert f"{len(cuts)} utterances" in found


def test_numbers_are_balanced_by_the_rating_that_they_are_cut_into(voices, tmp_path):
    cuts = list(read_cuts(voices["dev"]))[:4]
    for cut, age in zip(cuts, ("5", "30", "40.5", "old"), strict=True):
        cut.supervisions[0].custom = {LABELS_FIELD: {"age": age}}
    write_manifest(cuts, tmp_path / "dev.jsonl.gz")
    shape = TaskShape("ordinal", ["young", "grown"], "age", edges=[18])
    write_balanced(tmp_path / "dev.jsonl.gz", tmp_path / "balanced.jsonl.gz", shape, seed=3)
    found = Counter(labels["age"] for labels in read_attributes(tmp_path / "balanced.jsonl.gz"))
    assert found == {"5": 2, "30": 1, "40.5": 1, "old": 1}
