"""Splits by speaker: never one in two, the same for any order of rows, labels as even as speakers allow."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.data.manifests import ListedUtterance
from bigfoot.data.settings import DataConfig
from bigfoot.data.split_settings import SplitConfig
from bigfoot.data.splits import SplitItem, assign_splits, fold_role, fold_shares, make_splits
from bigfoot.errors import DataError

SHARES = {"train": 0.65, "dev": 0.15, "test": 0.2}
corpora = st.lists(
    st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from(["x", "y", ""])), min_size=1, max_size=60
).filter(lambda rows: len({speaker for speaker, _ in rows}) >= 3)


def listed(rows):
    return [ListedUtterance(f"u{n}", f"{n}.wav", "", speaker, labels={"label": label} if label else {})
            for n, (speaker, label) in enumerate(rows)]  # fmt: skip


@pytest.mark.slow
@given(corpora, st.integers(0, 99), st.randoms(use_true_random=False))
def test_no_speaker_is_in_two_splits_whatever_the_order_of_rows(rows, seed, random):
    config, utterances = SplitConfig(by="speaker", stratify="label"), listed(rows)
    splits = make_splits(utterances, config, seed)
    assert set(splits) == {"train", "dev", "test"}
    assert sorted(item.id for items in splits.values() for item in items) == sorted(item.id for item in utterances)
    speakers = [{item.speaker for item in items} for items in splits.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers))
    shuffled = list(utterances)
    random.shuffle(shuffled)
    again = make_splits(shuffled, config, seed)
    assert {split: {item.id for item in items} for split, items in again.items()} == {
        split: {item.id for item in items} for split, items in splits.items()
    }


@pytest.mark.slow
@given(corpora, st.integers(3, 5), st.integers(0, 9))
def test_every_speaker_is_in_test_of_one_fold(rows, folds, seed):
    utterances = listed(rows)
    if len({item.speaker for item in utterances}) < folds:
        return
    tested = Counter()
    for fold in range(folds):
        splits = make_splits(utterances, SplitConfig(by="speaker", folds=folds, fold=fold), seed)
        assert not {i.speaker for i in splits["test"]} & {i.speaker for i in splits["train"] + splits["dev"]}
        tested.update({item.id for item in splits["test"]})
    assert set(tested.values()) == {1} and len(tested) == len(utterances)


def test_no_value_of_a_label_is_in_two_splits():
    rows = [(f"s{n % 3}", "abcdef"[n % 6] if n % 7 else "") for n in range(42)]
    splits = make_splits(listed(rows), SplitConfig(by="label", label="label"), seed=1)
    values = [{item.labels["label"] for item in items if item.labels} for items in splits.values()]
    assert set(splits) == {"train", "dev", "test"} and sum(map(len, values)) == len(set.union(*values)) == 6
    assert sum(map(len, splits.values())) == 42


@pytest.mark.parametrize(("config", "codes"), [
    (SplitConfig(by="label"), ["missing"]), (SplitConfig(by="speaker", label="digit"), ["not_read"]),
    (SplitConfig(by="label", label="digit"), []),
])  # fmt: skip
def test_the_label_is_named_where_it_splits(config, codes):
    assert [problem.code for problem in config.find_problems()] == codes


def test_known_split():
    """Digests decide, which are the same on every machine."""
    items = [SplitItem(f"{who}{n}", who) for who in "abcdefgh" for n in range(5)]
    assert assign_splits(items, {"train": 0.5, "dev": 0.25, "test": 0.25}, seed=3) == assign_splits(
        items[::-1], {"train": 0.5, "dev": 0.25, "test": 0.25}, seed=3
    )
    found = assign_splits(items, {"train": 0.5, "dev": 0.25, "test": 0.25}, seed=3)
    assert "".join(found[who][:2] for who in "abcdefgh") == "tedetrtrdetrtetr"
    assert Counter(found.values()) == {"train": 4, "dev": 2, "test": 2}
    assert found != assign_splits(items, {"train": 0.5, "dev": 0.25, "test": 0.25}, seed=4)


def test_labels_are_as_even_as_the_speakers_allow():
    rows = [(f"s{speaker}", "yes" if speaker % 4 == 0 else "no") for speaker in range(80) for _ in range(3)]
    for seed in range(5):
        splits = make_splits(listed(rows), SplitConfig(by="speaker", stratify="label"), seed)
        for split, items in splits.items():
            yes = sum(item.labels["label"] == "yes" for item in items)
            assert yes / len(items) == pytest.approx(0.25, abs=0.06)
            assert len(items) / len(rows) == pytest.approx(SHARES[split], abs=0.02)


def test_by_utterance_knows_no_speakers():
    splits = make_splits(listed([("a", "x")] * 20), SplitConfig(by="utterance"), 0)
    assert {split: len(items) for split, items in splits.items()} == {"train": 13, "dev": 3, "test": 4}


def test_too_few_speakers():
    with pytest.raises(DataError):
        make_splits(listed([("a", "x"), ("b", "y")]), SplitConfig(by="speaker"), 0)
    splits = make_splits(listed([("a", "x"), ("b", "y")]), SplitConfig(by="speaker", test=0.0), 0)
    assert set(splits) == {"train", "dev"}


def test_folds():
    assert fold_shares(3) == {"0": 1.0, "1": 1.0, "2": 1.0}
    assert [fold_role(str(fold), 2, 3) for fold in range(3)] == ["dev", "train", "test"]
    assert [problem.key for problem in replace(SplitConfig("speaker"), folds=3, fold=3).find_problems()] == ["folds"]
    assert [(problem.key, problem.code) for problem in SplitConfig(folds=3).find_problems()] == [("by", "not_read")]
    # Voices that are made for a split are not split again: three folds of them would be one split, three times.
    made = DataConfig(split=SplitConfig("speaker", folds=3))
    assert [(problem.key, problem.code) for problem in made.find_problems()] == [("split.by", "not_read")]
    assert not list(replace(made, corpus="fsdd_recordings").find_problems())
    assert [problem.key for problem in replace(SplitConfig(), dev=0.5, test=0.5).find_problems()] == ["dev"]
