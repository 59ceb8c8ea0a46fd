"""Corpora in shards: the same utterances as in place, streamed in order, taken up in the middle of a shard."""

import hashlib
import io
import json
import os
import pickle
import signal
import tarfile
import uuid
from itertools import islice
from pathlib import Path

import lhotse
import numpy as np
import pytest
import torch

from bigfoot.data.batches import Position, iterate_utterances, training_batches
from bigfoot.data.corpora import find_changes, prepare_data
from bigfoot.data.cuts import path_of, read_cuts
from bigfoot.data.settings import AugmentConfig, DataConfig
from bigfoot.data.shards import ahead, readers
from bigfoot.data.shards.address import Address, parse_address
from bigfoot.data.shards.parts import find_parts
from bigfoot.data.shards.readers import TarReader, read_address
from bigfoot.data.shards.write import write_shar
from bigfoot.errors import DataError, OutputError
from bigfoot.text.tokenizers import Processor, build_char_tokenizer
from tests.refusals import refused
from tests.storage.servers import serve_s3

PROCESSOR = Processor(build_char_tokenizer(["ABCDEFGHIJKLMNOPQRSTUVWXYZ"]))
AUGMENT = AugmentConfig(speed=[0.9, 1.1], noise_probability=0.5)
COUNT, SHARD = 37, 8


def settings(corpus, root, **changes):
    batches = {"batch_seconds": 9.0, "num_buckets": 3, "shard_buffer": 24, "shard_lanes": 2}
    splits = {"train_splits": ["train"], "dev_splits": ["dev"]}
    return DataConfig(corpus=corpus, root=str(root), **(batches | splits | changes))


def rows(prepared, split):
    """Id, text, speaker and the audio file's content of every utterance."""
    for cut in read_cuts(prepared.manifests[split]):
        supervision, path = cut.supervisions[0], cut.recording.sources[0].source
        with open(path, "rb") as file:
            yield cut.id, supervision.text, supervision.speaker, file.read()


def write_webdataset(prepared, root):
    for split in ("train", "dev"):
        every = list(rows(prepared, split))
        for number, start in enumerate(range(0, len(every), SHARD)):
            path = root / f"{split}-{number:06d}.tar"
            with tarfile.open(path, "w") as tar:
                for name, text, speaker, content in every[start : start + SHARD]:
                    facts = json.dumps({"text": text, "speaker": speaker}).encode()
                    for end, each in (("flac", content), ("json", facts)):
                        info = tarfile.TarInfo(f"{name}.{end}")
                        info.size = len(each)
                        tar.addfile(info, io.BytesIO(each))


def write_parquet(prepared, root):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (root / "data").mkdir()
    for split in ("train", "dev"):
        every = [
            {"id": name, "text": text, "speaker": speaker, "audio": {"bytes": content, "path": None}}
            for name, text, speaker, content in rows(prepared, split)
        ]
        for number, start in enumerate(range(0, len(every), SHARD)):
            table = arrow.Table.from_pylist(every[start : start + SHARD])
            parquet.write_table(table, root / "data" / f"{split}-{number:05d}-of-00005.parquet", row_group_size=3)


WRITERS = {
    "shar": lambda prepared, root: write_shar(prepared, root, SHARD), "webdataset": write_webdataset,
    "datasets_streaming": write_parquet,
}  # fmt: skip


@pytest.fixture(scope="module", params=WRITERS)
def sharded(request, digits, tmp_path_factory):
    """A corpus in shards: its name, root and manifests."""
    root = tmp_path_factory.mktemp(request.param)
    WRITERS[request.param](digits, root)
    return request.param, root, prepare_data(settings(request.param, root), 3, root / "out")


@pytest.fixture(scope="module")
def shar(digits, tmp_path_factory):
    root = tmp_path_factory.mktemp("shar")
    write_shar(digits, root, SHARD)
    return root, prepare_data(settings("shar", root), 3, root / "out")


FIRST = Position()


def take(count, prepared, config, start=FIRST, **ranks):
    return list(islice(training_batches(prepared.manifests["train"], PROCESSOR, config, 11, start, **ranks), count))


def digest(batch):
    facts = [batch.position, batch.ids, batch.texts, batch.speakers]
    tensors = [batch.input_values.numpy().tobytes(), batch.labels.numpy().tobytes()]
    return hashlib.sha256(pickle.dumps(facts) + b"".join(tensors)).hexdigest()


@pytest.mark.slow
def test_shards_hold_what_the_corpus_holds(sharded, digits):
    _, _, prepared = sharded
    for split in ("train", "dev"):
        ours = list(iterate_utterances(prepared.manifests[split]))
        plain = list(iterate_utterances(digits.manifests[split]))
        found = [(one.id.rpartition("/")[2], one.text, one.speaker) for one in ours]
        assert found == [(one.id, one.text, one.speaker) for one in plain]
        assert all(np.array_equal(one.samples, two.samples) for one, two in zip(ours, plain, strict=True))
        assert prepared.hours[split] == pytest.approx(digits.hours[split])
    assert [part.count for part in find_parts(prepared.manifests["train"])] == [8, 8, 8, 8, 5]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_is_taken_up_in_the_middle_of_a_shard(sharded, num_workers):
    corpus, root, prepared = sharded
    config = settings(corpus, root, augment=AUGMENT)
    whole = take(22, prepared, config)
    epoch = [batch for batch in whole if batch.position.epoch == 0]
    names = sorted(name for batch in epoch for name in batch.ids)
    assert len(names) == len(set(names)) == COUNT and whole[-1].position.epoch >= 1
    config.num_workers = num_workers
    for consumed in (1, 4, len(epoch) - 1, len(epoch)):
        again = take(5, prepared, config, whole[consumed - 1].position)
        assert [digest(batch) for batch in again] == [digest(batch) for batch in whole[consumed : consumed + 5]]


@pytest.mark.slow
def test_a_killed_stream_goes_on_to_the_same_bits(shar):
    root, prepared = shar
    config = settings("shar", root)
    expected = [(batch.position, digest(batch)) for batch in take(9, prepared, config)]
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        for number, batch in enumerate(training_batches(prepared.manifests["train"], PROCESSOR, config, 11)):
            os.write(writing, pickle.dumps((batch.position, digest(batch))))
            if number == 3:
                os.kill(os.getpid(), signal.SIGKILL)
    os.close(writing)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with open(reading, "rb") as pipe:
        found = [pickle.load(pipe) for _ in range(4)]
    rest = take(5, prepared, config, found[-1][0])
    assert found + [(batch.position, digest(batch)) for batch in rest] == expected


@pytest.mark.slow
def test_shards_are_read_forwards_once_and_what_is_done_is_not_read(shar, monkeypatch):
    root, prepared = shar
    config, read = settings("shar", root), []

    class Noted(TarReader):
        def read(self, address):
            read.append(address)
            return super().read(address)

    monkeypatch.setattr("bigfoot.data.shards.sampling.OrderedAudio", lambda: ahead.OrderedAudio(Noted))
    monkeypatch.setattr(ahead, "read_address", None)
    batches = [batch for batch in take(30, prepared, config) if batch.position.epoch == 0]
    first = read[:COUNT]
    assert len(set(first)) == COUNT
    for shard in {address.shard for address in first}:
        starts = [address.start for address in first if address.shard == shard]
        assert starts == sorted(starts)
    read.clear()
    take(len(batches) - 6, prepared, config, batches[5].position)
    assert len(set(read)) == sum(len(batch) for batch in batches[6:])


@pytest.mark.slow
def test_processes_take_turns_in_one_stream_and_have_shards_of_their_own(shar, monkeypatch):
    root, prepared = shar
    config, read = settings("shar", root), []
    alone = take(24, prepared, config)

    class Noted(TarReader):
        def read(self, address):
            read.append(address)
            return super().read(address)

    monkeypatch.setattr("bigfoot.data.shards.sampling.OrderedAudio", lambda: ahead.OrderedAudio(Noted))
    shards = []
    for world_size in (2, 3):
        for rank in range(world_size):
            read.clear()
            found = take(6, prepared, config, rank=rank, world_size=world_size)
            own, last = (alone[first : 6 * world_size : world_size] for first in (rank, world_size - 1))
            assert [digest(batch) for batch in found] == [digest(batch) for batch in own]
            assert [batch.through for batch in found] == [batch.position for batch in last]
            shards.append({address.shard for address in read[:8]})
    assert not shards[0] & shards[1]
    again = take(4, prepared, config, alone[6].position, rank=1, world_size=3)
    assert [digest(batch) for batch in again] == [digest(batch) for batch in alone[8:20:3]]


def test_lhotse_reads_what_was_written_and_bigfoot_what_lhotse_writes(shar, digits, tmp_path):
    root, _ = shar
    ours = {cut.id: cut for cut in lhotse.CutSet.from_shar(in_dir=root / "dev")}
    plain = {item.id: item for item in iterate_utterances(digits.manifests["dev"])}
    assert ours.keys() == plain.keys()
    for name, cut in ours.items():
        np.testing.assert_allclose(cut.load_audio()[0], plain[name].samples, atol=1e-6)
        assert cut.supervisions[0].text == plain[name].text
    (tmp_path / "dev").mkdir()
    cuts = lhotse.CutSet.from_cuts(read_cuts(digits.manifests["dev"]))
    cuts.to_shar(tmp_path / "dev", fields={"recording": "wav"}, shard_size=2)
    again = prepare_data(settings("shar", tmp_path, train_splits=[]), 0, tmp_path / "out")
    for item in iterate_utterances(again.manifests["dev"]):
        np.testing.assert_allclose(item.samples, plain[item.id].samples, atol=1e-4)


@pytest.mark.slow
def test_written_shards_are_skipped_and_other_data_is_refused(shar, digits, tmp_path):
    write_shar(digits, tmp_path / "a", SHARD)
    kept = tmp_path / "a/train/recording.000001.tar"
    content, before = kept.read_bytes(), kept.stat().st_mtime_ns
    (tmp_path / "a/train/cuts.000002.jsonl.gz").unlink()  # killed behind the audio of a shard
    assert write_shar(digits, tmp_path / "a", SHARD) == {"train": 5, "dev": 1, "test": 1}
    assert kept.stat().st_mtime_ns == before and kept.read_bytes() == content
    assert (tmp_path / "a/train/cuts.000002.jsonl.gz").is_file()
    with refused(OutputError, tmp_path / "a"):
        write_shar(digits, tmp_path / "a", SHARD + 1)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/mine.txt").write_text("mine")
    with refused(OutputError, tmp_path / "b"):
        write_shar(digits, tmp_path / "b")


@pytest.mark.slow
def test_a_corpus_is_written_by_a_command(bigfoot, tmp_path):
    sizes = ["data.num_train=5", "data.num_dev=1", "data.num_test=1", "data.max_digits=2"]
    command = ["data", "shar", tmp_path / "out", "--config", "demo_config.yaml", *sizes, "--shard-size", 2]
    assert bigfoot(*command)[0] == 0 and bigfoot(*command)[0] == 0
    prepared = prepare_data(settings("shar", tmp_path / "out"), 0, tmp_path / "read")
    assert prepared.num_utterances == {"train": 5, "dev": 1}
    assert [part.count for part in find_parts(prepared.manifests["train"])] == [2, 2, 1]
    assert bigfoot(*command[:2], "s3://bucket/corpus", *command[3:])[0] == 2
    assert bigfoot(*command[:3], "--prepared", tmp_path / "out.data", "--shard-size", 2)[0] == 0
    assert bigfoot(*command[:3], "--prepared", tmp_path / "out.data", "--shard-size", 3)[0] == 1


def test_stretches_become_files_of_their_own(tmp_path, digits):
    whole = next(iter(read_cuts(digits.manifests["train"])))
    path = whole.recording.sources[0].source
    (tmp_path / "t.jsonl").write_text(
        json.dumps({"path": path, "text": "ONE", "offset": 0.1, "duration": 0.4, "id": "part"}) + "\n"
    )
    config = DataConfig(corpus="table", root=str(tmp_path), train_splits=["t.jsonl"])
    prepared = prepare_data(config, 0, tmp_path / "one")
    write_shar(prepared, tmp_path / "shar")
    again = prepare_data(settings("shar", tmp_path / "shar", dev_splits=[]), 0, tmp_path / "two")
    (ours,) = iterate_utterances(again.manifests["train"])
    (plain,) = iterate_utterances(prepared.manifests["train"])
    assert np.array_equal(ours.samples, plain.samples) and len(ours.samples) == 6400


@pytest.mark.slow
def test_changes_and_damage_are_noticed(digits, tmp_path):
    write_shar(digits, tmp_path, SHARD)
    config = settings("shar", tmp_path)
    prepared = prepare_data(config, 3, tmp_path / "out")
    assert find_changes(config, 3, prepared, None, ["train", "dev"]) == []
    shard = tmp_path / "train/recording.000001.tar"
    content = bytearray(shard.read_bytes())
    shard.write_bytes(content[: len(content) // 2])
    assert len(find_changes(config, 3, prepared, None, ["train", "dev"])) == 1
    with refused(DataError, shard):
        prepare_data(config, 3, tmp_path / "again")
    with pytest.raises(DataError):
        take(20, prepared, config)
    content[-3000:-1000] = bytes(2000)
    last = parse_address(path_of(next(find_parts(prepared.manifests["train"])[1].read())))
    content[last.start : last.start + 200] = bytes(200)
    shard.write_bytes(content)
    skipped = prepare_data(config, 3, tmp_path / "again").skipped
    assert str(last) in {item.path for item in skipped}
    config.on_bad_audio = "raise"
    with pytest.raises(DataError):
        prepare_data(config, 3, tmp_path / "again")


@pytest.fixture(params=["memory", "s3"])
def cloud(request, monkeypatch):
    """An empty place of the cloud."""
    fsspec = pytest.importorskip("fsspec")
    if request.param == "memory":
        files = fsspec.filesystem("memory")
        # Of the class: a thread has an instance of its own.
        monkeypatch.setattr(type(files), "store", {})
        monkeypatch.setattr(type(files), "pseudo_dirs", [""])
        return "memory://speech/corpus"
    files, bucket = serve_s3(request, monkeypatch), f"bucket-{uuid.uuid4().hex}"
    files.mkdir(bucket)
    return f"s3://{bucket}/corpus"


@pytest.mark.slow
def test_shards_of_the_cloud_are_streamed_as_those_of_this_machine(cloud, shar, digits, tmp_path, monkeypatch):
    monkeypatch.setenv("BIGFOOT_CACHE", str(tmp_path / "cache"))
    root, here = shar
    assert write_shar(digits, cloud, SHARD) == write_shar(digits, cloud, SHARD) == {"train": 5, "dev": 1, "test": 1}
    config = settings("shar", cloud)
    prepared = prepare_data(config, 3, tmp_path / "out")
    assert (prepared.contents, prepared.audio) == (here.contents, here.audio)
    assert find_changes(config, 3, prepared, None, ["train", "dev"]) == []
    expected = [digest(batch) for batch in take(14, here, settings("shar", root))]
    found = take(14, prepared, config)
    assert [digest(batch) for batch in found] == expected
    assert [digest(batch) for batch in take(5, prepared, config, found[3].position)] == expected[4:9]
    config.num_workers = 1
    assert [digest(batch) for batch in take(5, prepared, config, found[3].position)] == expected[4:9]
    assert not (tmp_path / "cache").exists()  # nothing is copied
    one, two = (list(iterate_utterances(each.manifests["dev"])) for each in (prepared, here))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("where", [readers.OPEN_FILES, Path("nowhere")])
def test_audio_of_a_shard_is_a_file_for_a_while(shar, monkeypatch, where):
    """In memory or on the disk; opened twice, it is read from its start twice, and then it is gone."""
    monkeypatch.setattr(readers, "OPEN_FILES", where)
    _, prepared = shar
    path = path_of(next(iter(read_cuts(prepared.manifests["dev"]))))
    with readers.as_file(path) as file:
        assert [Path(file).read_bytes() for _ in range(2)] == [read_address(parse_address(path))] * 2
    assert not os.path.exists(file)


def test_nothing_there_is_named(tmp_path):
    with refused(DataError, tmp_path / "train"):
        prepare_data(settings("webdataset", tmp_path), 0, tmp_path / "out")
    with refused(DataError, tmp_path / "nowhere"):
        prepare_data(settings("shar", tmp_path / "nowhere"), 0, tmp_path / "out")
    assert Address.parse(tmp_path / "a.flac") is None
    with pytest.raises(DataError):
        read_address(Address(str(tmp_path / "a.tar"), 0, 1))
    assert torch.get_num_threads() == 1
