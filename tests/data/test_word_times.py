"""Times of words: from a table's column to samples of labels, whatever the speed."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, lists, text, tuples

from bigfoot.audio.files import write_audio
from bigfoot.data.batches import collate, training_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.data.cuts import read_cuts, write_relabelled
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.data.word_times import WORD_TIMES, format_word_times, parse_word_times, place_labels
from bigfoot.errors import DataError

PIECES = [" ", *"ABCDE"]
WORDS = lists(text("ABCDE", min_size=1, max_size=5), min_size=1, max_size=6)


@given(WORDS, lists(tuples(floats(0.01, 1), floats(0, 1)), min_size=6, max_size=6))
def test_labels_share_the_time_of_their_word(words, lengths):
    spans, now = [], 0.0
    for _, (length, gap) in zip(words, lengths, strict=False):
        spans.append((now + gap, now + gap + length))
        now = spans[-1][1]
    ids = [PIECES.index(character) for character in " ".join(words)]
    found = place_labels(ids, PIECES, spans)
    assert len(found) == len(ids)
    place = 0
    for index, (word, (start, end)) in enumerate(zip(words, spans, strict=True)):
        count = len(word) + (index < len(words) - 1)
        own = found[place : place + count]
        assert own[0][0] == start and own[-1][1] == pytest.approx(end)
        assert all(after[0] == pytest.approx(before[1]) for before, after in pairwise(own))
        assert [b - a for a, b in own] == pytest.approx([(end - start) / count] * count)
        place += count
    cell = parse_word_times(format_word_times(spans))
    assert [bound for span in cell for bound in span] == pytest.approx([b for span in spans for b in span], abs=6e-4)


def test_pieces_that_start_with_a_space_start_words():
    assert place_labels([0, 1, 2], [" A", "B", " C"], [(0.0, 2.0), (3.0, 4.0)]) == [(0, 1), (1, 2), (3, 4)]


@pytest.mark.parametrize("cell", ["0.5", "1-0.5", "0.1-0.4 0.3-0.5", "a-b", "0-inf", "nan-1"])
def test_odd_cells_are_refused(cell):
    with pytest.raises(DataError):
        parse_word_times(cell)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("timed")
    for name in "ab":
        write_audio(folder / f"{name}.wav", np.random.default_rng(1).uniform(-0.1, 0.1, 16_000).astype(np.float32))
    lines = ["path\ttext\tword_times", "a.wav\tONE TWO\t0.1-0.4 0.5-0.9", "b.wav\tTEN\t"]
    (folder / "t.tsv").write_text("\n".join(lines) + "\n")
    config = DataConfig(corpus="table", root=str(folder), train_splits=["t.tsv"], dev_splits=["t.tsv"])
    return prepare_data(config, 0, folder / "prepared")


@pytest.mark.parametrize("speed", [1.0, 0.5, 2.0])
def test_times_of_a_table_follow_the_speed(prepared, processor, speed):
    config = DataConfig(num_buckets=1, augment=AugmentConfig(speed=[speed, speed]))
    batch = next(training_batches(prepared.manifests["train"], processor, config, 0))
    assert sorted(batch.texts) == ["ONE TWO", "TEN"] and batch.label_times is not None
    timed, other = (batch.label_times[batch.texts.index(words)] for words in ("ONE TWO", "TEN"))
    assert other.isnan().all() and timed.shape == (7, 2)
    bounds = [(0.1 + 0.075 * i, 0.1 + 0.075 * (i + 1)) for i in range(4)]
    bounds += [(0.5 + 0.4 / 3 * i, 0.5 + 0.4 / 3 * (i + 1)) for i in range(3)]
    expected = [16_000 / speed * bound for pair in bounds for bound in pair]
    assert timed.flatten().tolist() == pytest.approx(expected, rel=1e-4)
    moved = batch.to("cpu").label_times
    assert moved is not None and moved.shape == batch.label_times.shape


def test_times_of_other_words_name_the_utterance(processor):
    from bigfoot.data.batches import LoadedUtterance

    item = LoadedUtterance("u7", "s", "ONE TWO", np.zeros(800, np.float32), attributes={"word_times": "0-0.02"})
    with pytest.raises(DataError) as error:
        collate([item], processor)
    assert str(error.value).startswith("u7: ")
    assert math.isfinite(len(item.samples))


def test_times_are_of_the_words_that_were_given(prepared, tmp_path):
    texts = {cut.id: cut.supervisions[0].text for cut in read_cuts(prepared.manifests["train"])}
    for change in (str, lambda text: f"{text} AND"):
        given = {name: change(text) for name, text in texts.items()}
        write_relabelled(prepared.manifests["train"], given, tmp_path / "new.jsonl.gz")
        customs = [cut.supervisions[0].custom for cut in read_cuts(tmp_path / "new.jsonl.gz")]
        timed = [WORD_TIMES in (custom or {}).get("labels", {}) for custom in customs]
        assert sorted(timed) == [False, given == texts]
