"""A few utterances of a corpus are chosen by their lengths, and only they are read."""

from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio import recording
from bigfoot.data.batches import evaluation_batches, evaluation_order
from bigfoot.data.spread import alternate, choose, read_spread
from bigfoot.text.tokenizers import Processor


@given(st.lists(st.integers(), unique=True), st.integers(1, 9))
def test_chosen_ones_keep_their_order_and_include_both_ends(items, limit):
    found = choose(items, limit)
    assert len(found) == len(set(found)) == min(limit, len(items))
    assert found == [item for item in items if item in found]
    assert found[:1] == items[:1] and (limit == 1 or found[-1:] == items[-1:])
    assert sorted(alternate(found)) == sorted(found)
    assert alternate(found)[:2] == found[:1] + found[1:][-1:]


def test_only_what_is_chosen_is_read(small_digits, monkeypatch):
    manifest, processor, read = small_digits.manifests["test"], Processor(), []
    load = recording.Recording.load
    monkeypatch.setattr(recording.Recording, "load", lambda self: read.append(self.name) or load(self))
    found = read_spread(manifest, processor, 3, longest=40.0)
    names = [name for name, _ in evaluation_order(manifest)]
    assert [batch.ids for batch in found] == [[names[0]], [names[-1]], [names[(len(names) - 1) // 2]]]
    assert len(read) == 3


def test_long_recordings_come_in_pieces(small_digits):
    manifest, processor = small_digits.manifests["test"], Processor()
    whole = list(evaluation_batches(manifest, processor, 1, longest=1.0))
    found = read_spread(manifest, processor, 1000, longest=1.0)
    by_name = {(batch.ids[0], batch.input_values.shape[1], float(batch.input_values.sum())) for batch in whole}
    assert {(b.ids[0], b.input_values.shape[1], float(b.input_values.sum())) for b in found} <= by_name
    assert len(evaluation_order(manifest)) < len(found) <= len(whole)
    assert max(batch.input_values.shape[1] for batch in found) <= 16_000
