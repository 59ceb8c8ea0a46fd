"""Figures of a corpus against counts by hand."""

import statistics

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.data.corpora import prepare_data
from bigfoot.data.describe import SplitFacts, describe_corpus
from bigfoot.data.distributions import describe_label, spread_of
from bigfoot.data.settings import DataConfig
from bigfoot.report.corpus_labels import tabulate_labels
from tests.refusals import names


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_spread_is_that_of_the_standard_library(values):
    spread = spread_of(values)
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    expected = [min(values), lower, median, upper, max(values), statistics.fmean(values)]
    found = [spread.minimum, spread.lower_quartile, spread.median, spread.upper_quartile, spread.maximum, spread.mean]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_few_words_in_a_column_of_numbers_are_none_of_them():
    numbers = [str(20 + index) for index in range(27)]
    facts = describe_label([*numbers, "n/a", "?", None, "n/a"])
    assert (facts.spread.minimum, facts.spread.maximum) == (20, 46)
    assert (facts.words, facts.num_missing) == ({"n/a": 2, "?": 1}, 1)
    assert describe_label([*numbers[:26], "n/a", "?", "n/a"]).spread is None
    assert (describe_label([None]).spread, describe_label(["calm"]).spread) == (None, None)
    split = SplitFacts("train", 30, 1, 0, 0.1, [], [], [], [], {}, {}, {}, labels={"age": facts})
    rows = tabulate_labels([split]).cells
    assert [row[2:4] for row in rows] == [["20.0 to 46.0, median 33.0", "27"], ["n/a", "2"], ["?", "1"]]


def test_spread_of_one_and_of_none():
    assert spread_of([3]).lower_quartile == 3.0
    assert spread_of([]) is None


def test_a_corpus_counted_by_hand(tmp_path):
    rng = np.random.default_rng(0)

    def write(name, seconds, rate, channels=1):
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal((round(seconds * rate), channels)), rate)

    write("a.wav", 2.0, 16000)
    write("b.wav", 1.0, 8000, 2)
    write("c.flac", 4.0, 16000)
    write("d.wav", 0.05, 16000)
    (tmp_path / "train.tsv").write_text(
        "path\ttext\tspeaker\na.wav\tab  ab\tann\nb.wav\tcab\tbob\nc.flac\ta\tann\nd.wav\ta\tann\ne.wav\ta\tann\n"
    )
    (tmp_path / "test.tsv").write_text("path\ttext\na.wav\tax\n")
    config = DataConfig(corpus="table", root=str(tmp_path), train_splits=["train.tsv"], test_splits=["test.tsv"])
    facts = describe_corpus(prepare_data(config, 0, tmp_path / "out"), "mine")
    train, test = facts.splits
    assert (facts.name, train.split, test.split) == ("mine", "train", "test")
    assert (train.num_utterances, train.num_speakers, train.num_without_text) == (3, 2, 0)
    assert train.hours == pytest.approx(7 / 3600)
    assert sorted(train.seconds) == [1.0, 2.0, 4.0]
    assert sorted(train.num_characters) == [1, 3, 5] and sorted(train.num_words) == [1, 1, 2]
    assert sorted(train.characters_per_second) == [0.25, 2.5, 3.0]
    assert train.characters == {"a": 4, "b": 3, "c": 1, " ": 1} and next(iter(train.characters)) == "a"
    assert train.sample_rates == {8000: 1, 16000: 2} and train.channels == {1: 2, 2: 1}
    assert test.characters == {"a": 1, "x": 1}
    short, missing = sorted(item.reason for item in facts.skipped)
    assert names(short, "0.050 s", "0.1 s") and names(missing, "file")
