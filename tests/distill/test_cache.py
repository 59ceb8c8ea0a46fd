"""The teacher's answers read from disk are the teacher's answers."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from bigfoot.data.batches import training_batches
from bigfoot.data.settings import DataConfig
from bigfoot.distill import ConvFeaturesLoss, CTCLoss, GramLoss, HeadsLoss, HiddenLoss, LossesConfig, ValueRelationLoss
from bigfoot.distill import cache as cache_module
from bigfoot.distill.cache import CacheKey, TeacherCache, write_cache
from bigfoot.distill.objective import Objective, needed_targets
from bigfoot.errors import DataError
from bigfoot.storage.places import temporary
from tests.refusals import names, refused

LOSSES = LossesConfig(
    hidden=HiddenLoss(1.0), conv_features=ConvFeaturesLoss(1.0), heads=HeadsLoss(1.0),
    gram=GramLoss(1.0), value_relation=ValueRelationLoss(1.0), ctc=CTCLoss(1.0),
)  # fmt: skip


@pytest.fixture
def manifest(small_digits):
    return small_digits.manifests["train"]


@pytest.fixture
def write(teacher, student, small_digits, processor, tmp_path, monkeypatch):
    """Write into ``tmp_path / "cache"``, in shards of a few utterances: ``write(losses, dtype="fp16", top_k=0)``."""
    monkeypatch.setattr(cache_module, "_SHARD_BYTES", 100_000)

    def run(losses=LOSSES, dtype="fp16", top_k=0, digest="t", split="train"):
        needed, manifest = needed_targets(losses, student.config, teacher.config), small_digits.manifests[split]
        key = CacheKey.of(small_digits.audio[split], processor, digest, needed, dtype, top_k)
        write_cache(tmp_path / "cache", key, teacher, manifest, processor, 4)
        return TeacherCache(tmp_path / "cache", teacher.config, needed)

    return run


@pytest.fixture
def stream(manifest, processor):
    batches = training_batches(manifest, processor, DataConfig(batch_seconds=6.0, num_buckets=2), seed=3)
    return [next(batches) for _ in range(4)]


def losses_of(objective, stream):
    torch.manual_seed(0)
    return [{name: float(term.mean().detach()) for name, term in objective(batch, {}).items()} for batch in stream]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rounding"), [("fp16", 1e-3), ("int8", 0.03)])
def test_losses_are_those_of_the_teacher_at_work(student, teacher, write, stream, dtype, rounding):
    torch.manual_seed(0)
    live = Objective(LOSSES, student, teacher)
    torch.manual_seed(0)
    cached = Objective(LOSSES, student, write(dtype=dtype))
    passes = []
    teacher.speech_encoder.register_forward_pre_hook(lambda *_: passes.append(1))
    found = losses_of(cached, stream)
    assert passes == [], "the teacher is not at work"
    for here, there in zip(found, losses_of(live, stream), strict=True):
        assert here.keys() == there.keys() and len(here) == 7
        for name, value in there.items():
            assert here[name] == pytest.approx(value, rel=rounding, abs=1e-5), name


@pytest.mark.slow
def test_the_likeliest_tokens_alone(student, teacher, write, stream):
    found = losses_of(Objective(LossesConfig(), student, write(LossesConfig(), top_k=20)), stream)
    expected = losses_of(Objective(LossesConfig(), student, teacher), stream)
    for here, there in zip(found, expected, strict=True):
        assert here["logit_kl"] == pytest.approx(there["logit_kl"], abs=0.02)


@pytest.mark.slow
def test_its_size_is_logged_before_and_true_after(write, tmp_path, caplog):
    caplog.set_level(logging.INFO, "bigfoot")
    write()
    (message,) = [record.message for record in caplog.records if " MB" in record.message]
    assert names(message, "24")
    written = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.safetensors"))
    # Names and probes of a corpus so small weigh more than they will.
    assert float(message.split("distill: ")[1].split(" MB")[0]) * 1e6 == pytest.approx(written, rel=0.2)
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) > 3
    caplog.clear()
    write()
    (message,) = [record.message for record in caplog.records]
    assert names(message, "distill", "24 utterances") and " MB" not in message


def test_a_disk_that_is_too_small(write, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with refused(DataError, "cache_dtype=int8"):
        write()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_a_killed_writing_goes_on_where_it_stopped(write, tmp_path, monkeypatch):
    folder, ours, written = tmp_path / "cache", cache_module.write_shard, []
    write()
    whole = contents(folder)
    for path in folder.iterdir():
        path.unlink()

    def killed(at, number, *rest):
        if number == 2:
            temporary(at / "shard_00002.safetensors", "new").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(number)
        ours(at, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            write()
    assert written == [0, 1]
    monkeypatch.setattr(cache_module, "write_shard", lambda *given: (written.append(given[1]), ours(*given)))
    write()
    assert written == list(range(len(list(folder.glob("*.safetensors")))))
    # Other batches than in one go: the last bits of a few numbers may round the other way.
    assert contents(folder).keys() == whole.keys()


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_shard_is_refused_and_written_again_when_it_is_removed(write, tmp_path, damage):
    write()
    shard = tmp_path / "cache" / "shard_00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    {"cut": lambda: shard.write_bytes(content[:-100]), "flipped": lambda: shard.write_bytes(content),
     "gone": shard.unlink}[damage]()  # fmt: skip
    with refused(DataError, "shard_00001.safetensors", "shard_00001.json"):
        write()
    shard.with_suffix(".json").unlink()
    write()
    assert shard.stat().st_size == len(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cache.json", "shard_00000.json"])
@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": 7, "key": {}}', "\x00"])
def test_garbage_in_the_place_of_its_papers(write, tmp_path, name, content):
    write()
    (tmp_path / "cache" / name).write_text(content)
    with refused(DataError, name):
        write()


@pytest.mark.grid
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": "other"}, "teacher"),
        ({"dtype": "int8"}, "cache_dtype fp16"),
        ({"top_k": 3}, "cache_top_k 0"),
        ({"losses": replace(LOSSES, hidden=HiddenLoss(1.0, matches=[[0, 0]]), gram=GramLoss())}, ""),
    ],
)
def test_of_other_settings(write, changes, reason):
    """What needs less than it holds is served."""
    write()
    if not reason:
        write(**changes)
        return
    with refused(DataError, reason):
        write(**changes)


def test_what_needs_more_than_it_holds_is_refused(write, small_digits):
    write(LossesConfig(hidden=HiddenLoss(1.0, matches=[[2, 4]])))
    with refused(DataError, "attention_values [1, 3]", "conv_features", "hidden_states [0, 1, 2, 3]"):
        write()


def test_of_another_corpus(write):
    write()
    with pytest.raises(DataError):
        write(split="dev")


def test_a_folder_of_something_else(write, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError):
        write()
    assert contents(tmp_path / "cache") == {"thesis.txt": b"mine"}


def test_a_file_in_its_place(write, tmp_path):
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(DataError):
        write()


@pytest.mark.slow
def test_audio_that_is_not_what_it_was(student, write, stream):
    objective = Objective(LOSSES, student, write())
    louder = replace(stream[0], input_values=1.1 * stream[0].input_values)
    for batch, named in (
        (louder, stream[0].ids[0]),
        (replace(stream[0], ids=["nobody"] * len(stream[0])), "nobody"),
    ):
        with refused(DataError, named):
            objective(batch, {})
    # The last bits may differ.
    objective(replace(stream[0], input_values=stream[0].input_values * (1 + 1e-6)), {})


@pytest.mark.slow
def test_an_utterance_that_is_given_twice(student, write, stream):
    objective = Objective(LOSSES, student, write())
    twice = replace(stream[0], ids=[f"{name}_dup1" for name in stream[0].ids])
    assert losses_of(objective, [twice]) == losses_of(objective, stream[:1])


def test_only_what_is_needed_is_stored(write, tmp_path):
    write(LossesConfig(hidden=HiddenLoss(1.0, matches=[[2, 4]])))
    key = json.loads((tmp_path / "cache" / "cache.json").read_text())["key"]
    assert key["targets"] == {"hidden_states": [4], "logits": [0]}
