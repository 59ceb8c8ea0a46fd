import random
from itertools import islice

import numpy as np
import pytest
import torch
from lhotse import CutSet

from bigfoot.audio.files import read_audio
from bigfoot.data.batches import (
    LoadedUtterance,
    Position,
    collate,
    evaluation_batches,
    read_utterances,
    training_batches,
)
from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.errors import DataError
from bigfoot.runtime.lanes import count_processors
from bigfoot.text.tokenizers import Processor, build_char_tokenizer
from tests.refusals import names

PROCESSOR = Processor(build_char_tokenizer(["ABCDEFGHIJKLMNOPQRSTUVWXYZ"]))
AUGMENT = AugmentConfig(speed=[0.9, 1.1], gain_db=[-6, 6], noise_probability=0.5)


def config(**changes):
    return DataConfig(**{"batch_seconds": 12.0, "num_buckets": 3, **changes})


def take(count, *args, **kwargs):
    return list(islice(training_batches(*args, **kwargs), count))


def assert_same(one, two):
    assert (one.position, one.ids, one.texts, one.speakers) == (two.position, two.ids, two.texts, two.speakers)
    assert torch.equal(one.input_values, two.input_values)
    assert torch.equal(one.attention_mask, two.attention_mask)
    assert torch.equal(one.labels, two.labels)


@pytest.fixture(scope="module")
def stream(digits):
    """An uninterrupted stream over more than two epochs."""
    batches = take(30, digits.manifests["train"], PROCESSOR, config(augment=AUGMENT), seed=11)
    assert batches[-1].position.epoch >= 2
    return batches


def by_epoch(batches):
    epochs = {}
    for batch in batches:
        epochs.setdefault(batch.position.epoch, []).append(batch)
    return epochs


@pytest.mark.slow
def test_every_epoch_holds_every_utterance_once_in_another_order(stream):
    epochs = by_epoch(stream)
    ids = [[name for batch in epochs[epoch] for name in batch.ids] for epoch in (0, 1)]
    assert all(len(names) == len(set(names)) == 37 for names in ids)
    assert ids[0] != ids[1]
    assert [batch.position.batch for batch in epochs[0]] == list(range(1, len(epochs[0]) + 1))


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_stream_is_the_tail_of_an_uninterrupted_one(digits, stream, num_workers):
    last_of_epoch = len(by_epoch(stream)[0])
    for consumed in (0, 1, last_of_epoch - 1, last_of_epoch, last_of_epoch + 1):
        start = stream[consumed - 1].position if consumed else Position()
        tail = stream[consumed : consumed + 6 if consumed else None]
        resumed = take(
            len(tail),
            digits.manifests["train"],
            PROCESSOR,
            config(augment=AUGMENT, num_workers=num_workers),
            seed=11,
            start=start,
        )
        for one, two in zip(tail, resumed, strict=True):
            assert_same(one, two)


@pytest.mark.slow
def test_skipping_reads_no_audio(digits, stream, monkeypatch):
    read = []
    monkeypatch.setattr(
        "bigfoot.data.batch.read_audio", lambda path, **kw: read.append(path) or read_audio(path, **kw)
    )
    (batch,) = take(1, digits.manifests["train"], PROCESSOR, config(augment=AUGMENT), seed=11, start=stream[3].position)
    assert len(read) == len(batch)


@pytest.mark.slow
def test_more_workers_than_processors_warn_of_nothing(digits, recwarn):
    take(1, digits.manifests["train"], PROCESSOR, config(num_workers=count_processors() + 1), 1)
    assert not [each for each in recwarn if "DataLoader" in str(each.message)]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_global_generators_are_left_alone(digits, num_workers):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    take(3, digits.manifests["train"], PROCESSOR, config(augment=AUGMENT, num_workers=num_workers), seed=1)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()
    assert before[2] == random.getstate()


def test_seed_decides_order_and_augmentation(digits, stream):
    other = take(1, digits.manifests["train"], PROCESSOR, config(augment=AUGMENT), seed=12)[0]
    assert other.ids != stream[0].ids
    plain = take(1, digits.manifests["train"], PROCESSOR, config(), seed=11)[0]
    assert plain.ids == stream[0].ids
    assert plain.input_values.shape != stream[0].input_values.shape


def test_batches_keep_their_seconds_padding_included(digits):
    batches = take(20, digits.manifests["train"], PROCESSOR, config(), seed=2)
    longest = max(batch.input_values.shape[1] for batch in batches) / 16000
    assert all(batch.input_values.numel() / 16000 <= 12.0 + longest for batch in batches)
    full = [batch for batch in batches if len(batch) > 1]
    padding = 1 - sum(int(b.attention_mask.sum()) for b in full) / sum(b.attention_mask.numel() for b in full)
    assert padding < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_take_turns_in_one_stream_whatever_their_number(digits, stream, world_size):
    """Over epochs' ends, which no number of batches here divides; ``through`` is where all go on from."""
    each = len(stream) // world_size
    arguments = digits.manifests["train"], PROCESSOR, config(augment=AUGMENT), 11
    ranks = [take(each, *arguments, rank=rank, world_size=world_size) for rank in range(world_size)]
    for index, batch in enumerate(batch for together in zip(*ranks, strict=True) for batch in together):
        assert_same(batch, stream[index])
        assert batch.through == stream[index - index % world_size + world_size - 1].position
    half = each // 2
    (first, *_) = take(1, *arguments, start=ranks[0][half - 1].through)
    assert_same(first, stream[half * world_size])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_corpora(tmp_path, count):
    prepared = prepare_data(DataConfig(num_train=count, num_dev=0, num_test=0, max_digits=2), 0, tmp_path)
    epochs = by_epoch(take(9, prepared.manifests["train"], PROCESSOR, config(num_buckets=8), seed=0))
    assert sorted(name for batch in epochs[0] for name in batch.ids) == [
        f"synthetic-train-{index:06d}" for index in range(count)
    ]
    assert len(epochs) >= 3
    for rank in (0, 1):
        assert len(take(2, prepared.manifests["train"], PROCESSOR, config(), seed=0, rank=rank, world_size=2)) == 2


def test_an_utterance_longer_than_a_batch_stands_alone(digits):
    with pytest.warns(UserWarning) as warned:
        batches = take(37, digits.manifests["train"], PROCESSOR, config(batch_seconds=0.3), seed=0)
    assert any(names(each.message, "max_duration") for each in warned)
    assert {len(batch) for batch in batches} == {1}


def test_missing_and_empty_manifests(tmp_path):
    with pytest.raises(DataError):
        training_batches(tmp_path / "no.jsonl.gz", PROCESSOR, config(), seed=0)
    with pytest.raises(DataError):
        next(evaluation_batches(tmp_path / "no.jsonl.gz", PROCESSOR, 2))
    CutSet.from_cuts([]).to_file(tmp_path / "empty.jsonl.gz")
    with pytest.raises(DataError):
        training_batches(tmp_path / "empty.jsonl.gz", PROCESSOR, config(), seed=0)


# One batch.


@pytest.mark.parametrize("do_normalize", [False, True])
def test_collates_as_transformers_feature_extractor_does(do_normalize):
    from transformers import Wav2Vec2FeatureExtractor

    rng = np.random.default_rng(0)
    waves = [(rng.standard_normal(n) * 0.1 + 0.05).astype(np.float32) for n in (16000, 9000, 401)]
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True)
    theirs = extractor(waves, sampling_rate=16000, padding=True, return_tensors="pt")
    utterances = [LoadedUtterance(str(i), "s", "AB" * i, wave) for i, wave in enumerate(waves)]
    ours = collate(utterances, Processor(PROCESSOR.tokenizer, do_normalize=do_normalize))
    torch.testing.assert_close(ours.input_values, theirs.input_values, rtol=0, atol=1e-6)
    assert torch.equal(ours.attention_mask, theirs.attention_mask.bool())
    assert ours.input_values.dtype == torch.float32 and ours.attention_mask.dtype == torch.bool
    assert ours.input_lengths.tolist() == [16000, 9000, 401]
    a, b = PROCESSOR.tokenizer.encode("AB")
    assert ours.labels.tolist() == [[-100] * 4, [a, b, -100, -100], [a, b, a, b]]
    assert ours.labels.dtype == torch.int64


def test_without_a_tokenizer_there_are_no_labels(digits):
    batch = next(evaluation_batches(digits.manifests["dev"], Processor(None), 2))
    assert batch.labels is None and batch.to("cpu").labels is None and batch.texts[0]


@pytest.mark.parametrize(("texts", "expected"), [(["", ""], [[-100], [-100]]), (["ONE", ""], [None, [-100] * 3])])
def test_an_empty_transcript_has_no_labels(texts, expected):
    spoken = [LoadedUtterance(str(row), "s", text, np.ones(500, np.float32)) for row, text in enumerate(texts)]
    labels = collate(spoken, PROCESSOR).labels.tolist()
    assert [row for row, wanted in zip(labels, expected, strict=True) if wanted] == [row for row in expected if row]
    assert texts[0] == "" or min(labels[0]) >= 0


def test_a_transcript_of_another_vocabulary_is_named():
    utterance = LoadedUtterance("x", "s", "caf\u00e9", np.ones(500, np.float32))
    with pytest.raises(DataError):
        collate([utterance], PROCESSOR)


def test_evaluation_reads_each_once_longest_first_as_it_is(digits):
    manifest = digits.manifests["dev"]
    batches = list(evaluation_batches(manifest, PROCESSOR, batch_size=2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    lengths = torch.cat([batch.input_lengths for batch in batches]).tolist()
    assert lengths == sorted(lengths, reverse=True)
    assert all(batch.position is None for batch in batches)
    read = {item.id: item for item in read_utterances(manifest)}
    assert sorted(read) == sorted(name for batch in batches for name in batch.ids)
    first = batches[0]
    item = read[first.ids[1]]
    expected = (item.samples - item.samples.mean()) / np.sqrt(item.samples.var() + 1e-7)
    np.testing.assert_allclose(first.input_values[1, : len(expected)].numpy(), expected, atol=1e-5)
    assert not first.input_values[1, len(expected) :].any()
    assert (first.texts[1], first.speakers[1]) == (item.text, item.speaker)
    assert [item.id for item in read_utterances(manifest, limit=2)] == list(read)[:2]
