"""What the manifests were made of is compared at every start: what changed is noticed, what did not costs nothing."""

import gzip
import logging
import os
import shutil

import numpy as np
import pytest

from bigfoot.audio.files import write_audio
from bigfoot.data.batches import read_transcripts, read_utterances
from bigfoot.data.cuts import path_of, read_cuts
from bigfoot.data.manifests import load_prepared
from bigfoot.errors import DataError, OutputError
from bigfoot.pipeline.facts import SKIPPED
from bigfoot.pipeline.inputs import digest_noise, digest_training_data, prepare_inputs, refuse_misplaced
from bigfoot.pipeline.settings import load_config
from tests.refusals import refused

SPLITS = ("train", "dev", "test")


def noise(path, seed, count=4000):
    write_audio(path, np.random.default_rng(seed).normal(size=count).astype(np.float32) * 0.1)


@pytest.fixture
def corpus(tmp_path):
    """A folder with ``train``, ``dev`` and ``test``, each with recordings, their texts beside them, and a table."""
    for at, split in enumerate(SPLITS):
        (tmp_path / "corpus" / split).mkdir(parents=True)
        rows = ["path\ttext"]
        for number in range(3):
            name = f"{split}/{number}.wav"
            noise(tmp_path / "corpus" / name, 10 * at + number)
            (tmp_path / "corpus" / name).with_suffix(".txt").write_text(f"WORD {number}")
            rows.append(f"{name}\tWORD {number}")
        (tmp_path / "corpus" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "corpus"


@pytest.fixture
def prepare(corpus, tmp_path, caplog):
    """Prepare the corpus in ``tmp_path / "run"``: the data, and whether all was found as it was."""

    def run(kind="table", *more, run="run", splits=SPLITS):
        suffix = ".tsv" if kind == "table" else ""
        names = [f"data.{split}_splits=[{split}{suffix}]" for split in SPLITS]
        config = load_config(None, [f"data.corpus={kind}", f"data.root={corpus}", *names, *more])
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="bigfoot"):
            data = prepare_inputs(config, tmp_path / run, None, splits)
        return data, any(SKIPPED in record.getMessage() for record in caplog.records)

    (tmp_path / "run").mkdir()
    return run


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_what_is_as_it_was_is_found(kind, prepare, corpus):
    first, found = prepare(kind)
    assert not found and set(first.contents) == set(SPLITS)
    assert prepare(kind) == (first, True)
    for path in [*corpus.rglob("*.wav"), *corpus.rglob("*.txt"), *corpus.glob("*.tsv")]:
        os.utime(path, (1_000_000_000, 1_000_000_000))
    table = corpus / "train.tsv"
    table.write_bytes(table.read_bytes().replace(b"\n", b"\r\n"))
    assert prepare(kind) == (first, True), "touched, and saved again with other line ends"


def rename(path):
    path.rename(path.with_name("renamed.wav"))
    path.with_suffix(".txt").rename(path.with_name("renamed.txt"))


def same_times(path):
    before = path.stat()
    noise(path, 99)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "shorter audio": ("both", lambda split: noise(split / "1.wav", 99, 3000)),
    "other audio": ("both", lambda split: noise(split / "1.wav", 99)),
    "other audio with the old size and times": ("both", lambda split: same_times(split / "1.wav")),
    "a damaged file": ("both", lambda split: (split / "1.wav").write_bytes(b"RIFF")),
    "a file that is gone": ("both", lambda split: (split / "1.wav").unlink()),
    "a transcript": ("folder", lambda split: (split / "1.txt").write_text("OTHER")),
    "a new file": ("folder", lambda split: (noise(split / "new.wav", 99), (split / "new.txt").write_text("NEW"))),
    "another name": ("folder", lambda split: rename(split / "1.wav")),
    "fewer rows": ("table", lambda split: cut_rows(split.with_suffix(".tsv"))),
    "another text": ("table", lambda split: replace_in(split.with_suffix(".tsv"), "WORD 1", "WORD ONE")),
    "another order": ("table", lambda split: reverse_rows(split.with_suffix(".tsv"))),
}


def cut_rows(table):
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))


def reverse_rows(table):
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]) + "\n")


def replace_in(file, old, new):
    file.write_text(file.read_text().replace(old, new))


KINDS = {"both": ("table", "folder"), "table": ("table",), "folder": ("folder",)}
CASES = [(name, kind) for name, (where, _) in CHANGES.items() for kind in KINDS[where]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_change_is_noticed_and_costs_its_split_alone(name, kind, prepare, corpus):
    first, _ = prepare(kind)
    CHANGES[name][1](corpus / "dev")
    # Only the report reads test, and only training reads the others.
    assert prepare(kind, splits=("train", "test"))[1]
    second, found = prepare(kind)
    assert not found
    assert [split for split in SPLITS if first.contents[split] != second.contents[split]] == ["dev"]
    assert digest_training_data(first) != digest_training_data(second)
    assert prepare(kind) == (second, True)
    fresh, _ = prepare(kind, run="fresh")
    assert fresh.contents == second.contents and fresh.audio == second.audio


def test_what_links_lead_to_is_compared(prepare, corpus, tmp_path):
    shutil.move(corpus / "train", tmp_path / "elsewhere")
    (corpus / "train").symlink_to(tmp_path / "elsewhere")
    first, _ = prepare("folder")
    noise(tmp_path / "elsewhere" / "1.wav", 99)
    second, found = prepare("folder")
    assert not found and second.contents["train"] != first.contents["train"]


@pytest.mark.slow
def test_trusted_files_are_not_read_and_the_listing_is(prepare, corpus):
    trust = "data.trust_files=true"
    first, _ = prepare("folder")
    noise(corpus / "train" / "1.wav", 99)
    assert prepare("folder", trust) == (first, True)
    (corpus / "train" / "1.txt").write_text("OTHER")
    assert not prepare("folder", trust)[1] and prepare("folder", trust)[1]
    noise(corpus / "train" / "1.wav", 98)
    assert prepare("folder", trust)[1] and not prepare("folder")[1]


DIGITS = ("data.num_train=3", "data.num_dev=2", "data.num_test=2", "data.max_digits=1")


def damage(file, how):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    {"cut": lambda: os.truncate(file, len(content) // 2), "flipped": lambda: file.write_bytes(content),
     "empty": lambda: os.truncate(file, 0), "gone": file.unlink}[how]()  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone"])
@pytest.mark.parametrize(
    "name", ["cuts_train.jsonl.gz", "prepared.json", "fingerprint", "sources.jsonl.gz",
             "audio/train/synthetic-train-000000.flac"]
)  # fmt: skip
def test_damage_costs_preparing_again_and_gives_the_same(name, how, prepare):
    first, _ = prepare("synthetic_digits", *DIGITS)
    damage(first.folder / name, how)
    second, found = prepare("synthetic_digits", *DIGITS)
    assert not found and second.contents == first.contents
    assert prepare("synthetic_digits", *DIGITS)[1]


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "gone"])
def test_lost_digests_cost_reading_alone(how, prepare, monkeypatch):
    monkeypatch.setattr("bigfoot.storage.digests._YOUNG_NS", 0)
    first, _ = prepare()
    assert (first.folder / "digests.jsonl.gz").is_file()
    damage(first.folder / "digests.jsonl.gz", how)
    assert prepare() == (first, True)


DAMAGED = [b"\x1f\x8b\x08", b"noise", gzip.compress(b"[1]\n", mtime=0), gzip.compress(b'{"id": 1}', mtime=0)]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_manifest_is_a_sentence_for_whoever_reads_it(content, prepare):
    manifest = prepare()[0].manifests["train"]
    manifest.write_bytes(content)
    with refused(DataError, manifest):
        read_transcripts(manifest)
    with refused(DataError, "cuts_train.jsonl.gz"):
        load_prepared(manifest.parent)


@pytest.mark.slow
def test_a_copy_has_its_own_audio_and_a_moved_run_goes_on(prepare, tmp_path):
    first, _ = prepare("synthetic_digits", *DIGITS)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    prepare("synthetic_digits", *DIGITS, "seed=8")
    copied, found = prepare("synthetic_digits", *DIGITS, run="copy")
    assert found and copied.contents == first.contents
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "copy").rename(tmp_path / "moved")
    moved, found = prepare("synthetic_digits", *DIGITS, run="moved")
    assert found and moved.contents == first.contents
    for manifest in moved.manifests.values():
        assert all(path_of(cut).startswith(str(tmp_path / "moved")) for cut in read_cuts(manifest))
        assert all(len(item.samples) for item in read_utterances(manifest))


def test_recordings_of_noise_are_compared(prepare, corpus, tmp_path):
    data, _ = prepare()
    noise(tmp_path / "hum" / "a.wav", 1)
    config = load_config(None, [f"data.augment.noise_folder={tmp_path / 'hum'}"])
    first = digest_noise(config, data)
    os.utime(tmp_path / "hum" / "a.wav", (1, 1))
    assert digest_noise(config, data) == first
    noise(tmp_path / "hum" / "a.wav", 2)
    second = digest_noise(config, data)
    noise(tmp_path / "hum" / "b.wav", 3)
    assert len({first, second, digest_noise(config, data)}) == 3


@pytest.mark.slow
def test_the_recordings_that_strings_are_joined_from_are_compared(tmp_path, prepare):
    for digit in range(2):
        for index in (0, 5, 8):
            noise(tmp_path / "fsdd" / "recordings" / f"{digit}_ann_{index}.wav", 10 * digit + index)
    given = ("fsdd", *DIGITS, f"data.root={tmp_path / 'fsdd'}", "data.train_splits=[]", "data.dev_splits=[]",
             "data.test_splits=[]")  # fmt: skip
    first, _ = prepare(*given)
    assert prepare(*given) == (first, True)
    noise(tmp_path / "fsdd" / "recordings" / "0_ann_8.wav", 99)
    noise(tmp_path / "fsdd" / "recordings" / "1_ann_8.wav", 98)
    second, found = prepare(*given)
    changed = [split for split in SPLITS if first.contents[split] != second.contents[split]]
    assert not found and changed == ["train"]


FILES = ["log.txt", "config.yaml", "data/prepared.json", "report/fingerprint", "distill/facts.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_a_file(name, tmp_path):
    refuse_misplaced(tmp_path, ["distill"])
    (tmp_path / name).mkdir(parents=True)
    with refused(OutputError, tmp_path / name):
        refuse_misplaced(tmp_path, ["distill"])


@pytest.mark.parametrize("name", [".", "data", "report", "tensorboard", "distill"])
def test_a_file_in_the_place_of_a_folder(name, tmp_path):
    (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / name).write_text("mine") if name != "." else (tmp_path / "run").write_text("mine")
    with refused(OutputError, tmp_path / "run" / name):
        refuse_misplaced(tmp_path / "run", ["distill"])


@pytest.mark.slow
def test_a_second_check_of_many_files_reads_none(prepare, corpus, monkeypatch):
    monkeypatch.setattr("bigfoot.storage.digests._YOUNG_NS", 0)
    for number in range(300):
        shutil.copy(corpus / "train" / "0.wav", corpus / "train" / f"n{number}.wav")
        (corpus / "train" / f"n{number}.txt").write_text("WORD")
    prepare("folder")
    monkeypatch.setattr("bigfoot.storage.digests._compute", None)
    assert prepare("folder")[1]
