import gzip
import json
import struct
import weakref
from pathlib import Path

import lhotse
import numpy as np
import pytest
import soundfile

from bigfoot.audio.files import read_audio
from bigfoot.data import cuts
from bigfoot.data.corpora import load_prepared, prepare_data, resolve_root
from bigfoot.data.cuts import write_hypotheses, write_relabelled
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import synthesize_string
from bigfoot.errors import DataError
from tests.refusals import names, refused

LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


def read_cuts(prepared, split):
    return list(lhotse.CutSet.from_jsonl_lazy(prepared.manifests[split]))


@pytest.fixture(scope="module")
def spoken():
    """One real (synthesized) utterance."""
    return synthesize_string(0, "dev", 1, 2, 3).samples


def make_tree(root, spoken, split="train-x", speakers=("19", "26"), count=2):
    for speaker in speakers:
        chapter = root / split / speaker / "7"
        chapter.mkdir(parents=True)
        names = [f"{speaker}-7-{index:04d}" for index in range(count)]
        for name in names:
            soundfile.write(chapter / f"{name}.flac", spoken, 16000)
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(f"{name} NORTHANGER ABBEY\n" for name in names))
    return root


def break_file(kind, folder, spoken):
    path = folder / ("bad.flac" if kind == "cut flac" else "bad.wav")
    if kind == "missing":
        return path
    soundfile.write(path, spoken[:0] if kind == "no frames" else spoken, 16000)
    content = bytearray(path.read_bytes())
    if kind == "zero bytes":
        content = b""
    elif kind == "text":
        content = b"this is a transcript, not a sound"
    elif kind.startswith("cut"):
        content = content[: len(content) // 2]
    elif kind.endswith("Hz"):
        content[24:28] = struct.pack("<I", 1 if kind == "1 Hz" else 1_000_000)
    path.write_bytes(content)
    if kind == "NaN":
        soundfile.write(path, np.where(np.arange(len(spoken)) == 9, np.nan, spoken), 16000, subtype="FLOAT")
    return path


# Synthetic digits.


@pytest.mark.slow
def test_synthetic_digits_are_written_and_listed(digits):
    assert digits.num_utterances == {"train": 37, "dev": 5, "test": 4}
    assert digits.skipped == []
    for split, count in digits.num_utterances.items():
        cuts = read_cuts(digits, split)
        assert len({cut.id for cut in cuts}) == count
        assert digits.hours[split] == pytest.approx(sum(cut.duration for cut in cuts) / 3600)
        for cut in cuts[:5]:
            samples = read_audio(cut.recording.sources[0].source)
            assert len(samples) == cut.num_samples == round(cut.duration * 16000)
            (supervision,) = cut.supervisions
            index = int(cut.id.rpartition("-")[2])
            expected = synthesize_string(3, split, index, 1, 4)
            assert (supervision.text, supervision.speaker) == (expected.text, expected.speaker)
            np.testing.assert_allclose(samples, expected.samples.clip(-1, 1), atol=1 / 32768)


def test_prepared_data_comes_back_and_nothing_is_half_written(digits):
    assert load_prepared(digits.folder) == digits
    assert not list(digits.folder.rglob(".part*"))
    with pytest.raises(DataError):
        load_prepared(digits.folder / "audio")


@pytest.mark.slow
def test_same_seed_same_manifest(digits, tmp_path):
    again = prepare_data(DataConfig(num_train=37, num_dev=0, num_test=0, max_digits=4), seed=3, folder=tmp_path)
    assert [cut.id for cut in read_cuts(again, "train")] == [cut.id for cut in read_cuts(digits, "train")]
    assert "dev" not in again.manifests
    name = "audio/train/synthetic-train-000005.flac"
    assert (again.folder / name).read_bytes() == (digits.folder / name).read_bytes()


def test_transcripts_take_the_vocabulary_s_case(tmp_path):
    lower = frozenset("abcdefghijklmnopqrstuvwxyz ")
    prepared = prepare_data(DataConfig(num_train=0, num_dev=0, num_test=2), 0, tmp_path, characters=lower)
    assert all(cut.supervisions[0].text.islower() for cut in read_cuts(prepared, "test"))


# Published corpora.


@pytest.mark.slow
def test_fsdd(real_data, tmp_path):
    config = DataConfig(corpus="fsdd", root=str(real_data / "fsdd"), num_train=6, num_dev=2, num_test=2)
    prepared = prepare_data(config, seed=1, folder=tmp_path, characters=LETTERS)
    assert prepared.num_utterances == {"train": 6, "dev": 2, "test": 2}
    assert {cut.supervisions[0].speaker for cut in read_cuts(prepared, "train")} <= {
        "george", "jackson", "lucas", "nicolas", "theo", "yweweler",
    }  # fmt: skip


def test_no_speaker_of_fsdd_is_in_two_splits(tmp_path, spoken):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for speaker in ("ann", "bob", "eve"):
        for index in (0, 5, 8):  # of test, dev and train
            soundfile.write(folder / f"7_{speaker}_{index}.wav", spoken[:8000], 8000)
    config = DataConfig(corpus="fsdd", root=str(tmp_path), num_train=6, num_dev=6, num_test=6, unseen_speakers=["eve"])
    prepared = prepare_data(config, 0, tmp_path / "out")
    speakers = {
        split: {cut.supervisions[0].speaker for cut in read_cuts(prepared, split)} for split in ("train", "dev", "test")
    }
    assert speakers == {"train": {"ann", "bob"}, "dev": {"ann", "bob"}, "test": {"eve"}}
    for wrong in (["eve", "zoe"], ["ann", "bob", "eve"]):
        config.unseen_speakers = wrong
        with refused(DataError, "data.unseen_speakers"):
            prepare_data(config, 0, tmp_path / "out")


def test_fsdd_leaves_a_bad_recording_out(tmp_path, spoken):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for name in ("7_jackson_32", "1_theo_9", "copy_of_me"):
        soundfile.write(folder / f"{name}.wav", spoken[:8000], 8000)
    (folder / "2_theo_10.wav").write_bytes(b"")
    config = DataConfig(corpus="fsdd", root=str(tmp_path), num_train=3, num_dev=0, num_test=0)
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert [(item.id, item.split) for item in prepared.skipped] == [("2_theo_10", "train")]
    assert "empty" in prepared.skipped[0].reason
    config.on_bad_audio = "raise"
    with refused(DataError, "2_theo_10"):
        prepare_data(config, 0, tmp_path / "out")


@pytest.mark.slow
def test_librispeech_as_published(real_data, tmp_path):
    config = DataConfig(corpus="librispeech", root=str(real_data), dev_splits=["dev-mini"], test_splits=["dev-mini"])
    prepared = prepare_data(config, 0, tmp_path, characters=LETTERS)
    assert prepared.num_utterances == {"dev": 60, "test": 60}
    assert prepared.hours["dev"] == pytest.approx(0.19, abs=0.01)
    assert prepared.skipped == []
    cuts = read_cuts(prepared, "dev")
    assert [cut.id for cut in cuts] == sorted((cut.id for cut in cuts), key=lambda name: name.split("-")[0])
    assert len({cut.supervisions[0].speaker for cut in cuts}) == 60
    assert (prepared.folder / "cuts_dev.jsonl.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert set(prepared.manifests) == {"dev", "test"}


@pytest.mark.slow
def test_tables_as_published(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("BIGFOOT_DATA", str(real_data))
    config = DataConfig(corpus="table", test_splits=["librispeech-extra/train.tsv"], verify_audio=False)
    prepared = prepare_data(config, 0, tmp_path, characters=LETTERS)
    assert prepared.num_utterances == {"test": 277}
    assert prepared.hours["test"] == pytest.approx(0.89, abs=0.01)
    first = read_cuts(prepared, "test")[0]
    assert (first.id, first.supervisions[0].speaker) == ("19-198-0000", "19")
    assert first.supervisions[0].text == "NORTHANGER ABBEY"
    assert first.duration == pytest.approx(1.965, abs=0.001)


# LibriSpeech's format.


def test_librispeech_switches_and_held_out_speakers(tmp_path, spoken):
    root = make_tree(tmp_path / "LibriSpeech", spoken, "train-clean-100", speakers=("19", "26", "27"))
    make_tree(root, spoken, "train-y", speakers=("30",))
    config = DataConfig(
        corpus="librispeech", root=str(tmp_path), train_clean_100=True, train_splits=["train-y"], hold_out_speakers=2
    )
    prepared = prepare_data(config, 5, tmp_path / "out", characters=LETTERS)
    speakers = {split: {c.supervisions[0].speaker for c in read_cuts(prepared, split)} for split in ("train", "dev")}
    assert len(speakers["dev"]) == 2 and speakers["train"] | speakers["dev"] == {"19", "26", "27", "30"}
    assert not speakers["train"] & speakers["dev"]
    again = prepare_data(config, 5, tmp_path / "out2", characters=LETTERS)
    assert [c.id for c in read_cuts(again, "dev")] == [c.id for c in read_cuts(prepared, "dev")]
    config.hold_out_speakers = 4
    with refused(DataError, "hold_out_speakers", "4"):
        prepare_data(config, 5, tmp_path / "out")


def test_librispeech_names_audio_without_transcript_and_transcripts_without_audio(tmp_path, spoken):
    root = make_tree(tmp_path, spoken)
    chapter = root / "train-x" / "19" / "7"
    (chapter / "19-7-0001.flac").rename(chapter / "19-7-0009.flac")
    with (chapter / "19-7.trans.txt").open("a") as file:
        file.write("19-7-0002\n\n")
    config = DataConfig(corpus="librispeech", root=str(root), train_splits=["train-x"])
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert prepared.num_utterances == {"train": 3}
    reasons = {item.id: item.reason for item in prepared.skipped}
    assert set(reasons) == {"19-7-0001", "19-7-0002", "19-7-0009"}
    assert len(set(reasons.values())) == 3


def test_missing_things_say_what_is_there(tmp_path, spoken, monkeypatch):
    monkeypatch.delenv("BIGFOOT_DATA", raising=False)
    with refused(DataError, "BIGFOOT_DATA"):
        resolve_root(DataConfig(corpus="librispeech"))
    with refused(DataError, "data.root"):
        resolve_root(DataConfig(corpus="librispeech", root=str(tmp_path / "nowhere")))
    root = make_tree(tmp_path / "corpus", spoken)
    with refused(DataError, "dev-clean", "train-x"):
        prepare_data(DataConfig(corpus="librispeech", root=str(root), dev_splits=["dev-clean"]), 0, tmp_path / "out")
    with pytest.raises(DataError):
        prepare_data(DataConfig(corpus="librispeech", root=str(root)), 0, tmp_path / "out")
    (root / "empty").mkdir()
    with pytest.raises(DataError):
        prepare_data(DataConfig(corpus="librispeech", root=str(root), test_splits=["empty"]), 0, tmp_path / "out")
    with pytest.raises(DataError):
        prepare_data(DataConfig(corpus="fsdd", root=str(root)), 0, tmp_path / "out")


def test_usual_names_under_bigfoot_data(tmp_path, monkeypatch):
    (tmp_path / "LibriSpeech").mkdir()
    monkeypatch.setenv("BIGFOOT_DATA", str(tmp_path))
    assert resolve_root(DataConfig(corpus="librispeech")) == tmp_path / "LibriSpeech"
    assert resolve_root(DataConfig(corpus="librispeech", root=str(tmp_path))) == tmp_path / "LibriSpeech"
    assert resolve_root(DataConfig(corpus="table")) == tmp_path
    with refused(DataError, "fsdd"):
        resolve_root(DataConfig(corpus="fsdd"))


# Tables.


@pytest.mark.parametrize("suffix", ["tsv", "csv", "jsonl"])
def test_table_formats(tmp_path, spoken, suffix):
    for name in ("a", "b"):
        soundfile.write(tmp_path / f"{name}.wav", spoken, 16000)
    table = tmp_path / f"t.{suffix}"
    table.write_text(
        {
            "tsv": 'path\tsentence\textra\tspeaker\na.wav\tSay "hi\tx\t007\nb.wav\tB\ty\t8\n',
            "csv": '\ufeffpath,text,speaker\na.wav,"Say ""hi",007\nb.wav,B,8\n',
            "jsonl": '{"path": "a.wav", "transcript": "Say \\"hi", "speaker": "007"}\n\n'
            '{"path": "b.wav", "text": "B", "speaker": 8}\n',
        }[suffix],
        encoding="utf-8",
    )
    prepared = prepare_data(DataConfig(corpus="table", test_splits=[str(table)]), 0, tmp_path / "out")
    cuts = read_cuts(prepared, "test")
    assert [cut.supervisions[0].text for cut in cuts] == ['Say "hi', "B"]
    assert [cut.supervisions[0].speaker for cut in cuts] == ["007", "8"]
    assert len({cut.id for cut in cuts}) == 2


@pytest.mark.parametrize("on_bad", ["skip", "raise"])
@pytest.mark.parametrize(("suffix", "bad"), [("tsv", "a.wav\n"), ("csv", "a.wav,B,C,D\n"), ("jsonl", "{nope\n")])
def test_broken_lines_are_named(tmp_path, spoken, suffix, bad, on_bad):
    soundfile.write(tmp_path / "a.wav", spoken, 16000)
    good = {"tsv": "path\ttext\na.wav\tA\n", "csv": "path,text\na.wav,A\n", "jsonl": '{"path": "a.wav", "text": "A"}\n'}
    table = tmp_path / f"t.{suffix}"
    table.write_text(good[suffix] + bad)
    config = DataConfig(corpus="table", root=str(tmp_path), train_splits=[table.name], on_bad_audio=on_bad)
    line = 2 if suffix == "jsonl" else 3
    if on_bad == "raise":
        with refused(DataError, f"{table.name}:{line}"):
            prepare_data(config, 0, tmp_path / "out")
    else:
        (skipped,) = prepare_data(config, 0, tmp_path / "out").skipped
        assert skipped.id == f"{table.name}:{line}"


def test_tables_that_cannot_be_used(tmp_path):
    def prepare(name, content=None):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        prepare_data(DataConfig(corpus="table", root=str(tmp_path), test_splits=[name]), 0, tmp_path / "out")

    for name, content, *named in (
        ("a.tsv", b"file\ttext\n", "path", "text", "file"),
        ("b.tsv", b"", "b.tsv"),
        ("c.xlsx", b"", ".tsv", ".csv", ".jsonl"),
        ("d.csv", b"path,text\na.wav,\xe9t\xe9\n", "d.csv"),
        ("e.tsv", b"path\ttext\n", "test"),
        ("nowhere.tsv", None, "nowhere.tsv"),
    ):
        with refused(DataError, *named):
            prepare(name, content)


def test_an_id_that_stands_twice_is_left_out(tmp_path, spoken):
    soundfile.write(tmp_path / "a.wav", spoken, 16000)
    (tmp_path / "t.csv").write_text("path,text\na.wav,A\na.wav,A\n")
    prepared = prepare_data(DataConfig(corpus="table", train_splits=[str(tmp_path / "t.csv")]), 0, tmp_path / "out")
    assert prepared.num_utterances == {"train": 1} and "twice" in prepared.skipped[0].reason


def test_rates_and_channels_keep_their_lengths(tmp_path, spoken):
    soundfile.write(tmp_path / "a.wav", np.stack([spoken[:12345]] * 2, axis=1), 44100)
    soundfile.write(tmp_path / "b.ogg", spoken[:9999], 8000)
    (tmp_path / "t.csv").write_text("path,text\na.wav,A\nb.ogg,B\n")
    prepared = prepare_data(DataConfig(corpus="table", test_splits=[str(tmp_path / "t.csv")]), 0, tmp_path / "out")
    cuts = read_cuts(prepared, "test")
    assert [cut.duration for cut in cuts] == pytest.approx([12345 / 44100, 9999 / 8000])
    assert [cut.sampling_rate for cut in cuts] == [44100, 8000]
    lhotse.qa.validate(lhotse.CutSet.from_cuts(cuts))
    for cut in cuts:
        assert len(read_audio(cut.recording.sources[0].source)) == pytest.approx(cut.duration * 16000, abs=1)


# What is bad.


@pytest.mark.parametrize("on_bad", ["skip", "raise"])
@pytest.mark.parametrize(
    "kind", ["missing", "zero bytes", "text", "cut wav", "cut flac", "no frames", "1 Hz", "1e6 Hz", "NaN"]
)
def test_bad_audio_is_left_out_or_stops(tmp_path, spoken, kind, on_bad):
    bad = break_file(kind, tmp_path, spoken)
    soundfile.write(tmp_path / "good.wav", spoken, 16000)
    (tmp_path / "t.csv").write_text(f"path,text\n{bad.name},A\ngood.wav,B\n")
    config = DataConfig(corpus="table", train_splits=[str(tmp_path / "t.csv")], on_bad_audio=on_bad)
    if on_bad == "raise":
        with refused(DataError, bad.name):
            prepare_data(config, 0, tmp_path / "out")
        return
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert prepared.num_utterances == {"train": 1}
    assert [item.path for item in prepared.skipped] == [str(bad)]
    assert load_prepared(tmp_path / "out").skipped == prepared.skipped
    # Without decoding, only what the header tells can be found.
    config.verify_audio = False
    headers_only = prepare_data(config, 0, tmp_path / "out")
    assert headers_only.num_utterances["train"] == (2 if kind in ("cut flac", "NaN") else 1)


@pytest.mark.parametrize("on_bad", ["skip", "raise"])
@pytest.mark.parametrize(("text", "named"), [("", "/a"), ("3 DOGS", "3"), ("CAF\u00c9", "\u00c9")])
def test_bad_transcripts(tmp_path, spoken, text, named, on_bad):
    soundfile.write(tmp_path / "a.wav", spoken, 16000)
    soundfile.write(tmp_path / "b.wav", spoken, 16000)
    rows = [{"path": "a.wav", "text": text}, {"path": "b.wav", "text": "it\u2019s"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = DataConfig(corpus="table", test_splits=[str(tmp_path / "t.jsonl")], on_bad_audio=on_bad)
    if on_bad == "raise":
        with refused(DataError, named):
            prepare_data(config, 0, tmp_path / "out", characters=LETTERS)
        return
    prepared = prepare_data(config, 0, tmp_path / "out", characters=LETTERS)
    assert [cut.supervisions[0].text for cut in read_cuts(prepared, "test")] == ["IT'S"]
    assert [Path(item.path).name for item in prepared.skipped] == ["a.wav"]
    assert text == "" or names(prepared.skipped[0].reason, named)


def test_without_transcripts_only_test_needs_ones_that_can_be_tokenized(tmp_path, spoken):
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", spoken, 16000)
    (tmp_path / "t.tsv").write_text("path\ttext\na.wav\t\nb.wav\tCAF\u00c9\nc.wav\tIT\n")
    splits = {f"{split}_splits": [str(tmp_path / "t.tsv")] for split in ("train", "dev", "test")}
    prepared = prepare_data(DataConfig(corpus="table", transcripts="none", **splits), 0, tmp_path / "out", LETTERS)
    assert prepared.num_utterances == {"train": 3, "dev": 3, "test": 2}
    assert [(item.split, Path(item.path).name) for item in prepared.skipped] == [("test", "b.wav")]
    assert [cut.supervisions[0].text for cut in read_cuts(prepared, "test")] == ["", "IT"]


def test_a_relabelled_manifest_differs_in_its_texts_alone(digits, tmp_path):
    before = read_cuts(digits, "train")
    texts = {cut.id: f"NEW {index}" for index, cut in enumerate(before) if index % 2}
    write_relabelled(digits.manifests["train"], texts, tmp_path / "new.jsonl.gz")
    after = list(lhotse.CutSet.from_jsonl_lazy(tmp_path / "new.jsonl.gz"))
    assert [cut.supervisions[0].text for cut in after] == [texts.get(cut.id, "") for cut in before]
    for old, new in zip(before, after, strict=True):
        old.supervisions[0].text = new.supervisions[0].text
        old.custom = new.custom  # where audio lies beside the manifest
        assert old == new


@pytest.mark.parametrize("write", [write_relabelled, write_hypotheses])
def test_a_manifest_is_written_while_it_is_read(digits, tmp_path, monkeypatch, write):
    """At no time is more of it in memory than the cut at hand and the next."""
    seen, most, read = [], [], cuts.read_cuts

    def watched(path):
        for cut in read(path):
            seen.append(weakref.ref(cut))
            most.append(sum(each() is not None for each in seen))
            yield cut

    monkeypatch.setattr(cuts, "read_cuts", watched)
    write(digits.manifests["train"], {}, tmp_path / "new.jsonl.gz")
    assert len(most) == len(read_cuts(digits, "train")) > 3 and max(most) <= 3


def test_nothing_usable_shows_why(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "t.csv").write_text("path,text\na.wav,A\n")
    config = DataConfig(corpus="table", train_splits=[str(tmp_path / "t.csv")])
    with refused(DataError, "1", "a.wav", "0 bytes"):
        prepare_data(config, 0, tmp_path / "out")


def test_too_long_only_matters_in_training_and_never_raises(tmp_path, spoken):
    soundfile.write(tmp_path / "long.wav", np.tile(spoken, 20)[: 16000 * 6], 16000)
    soundfile.write(tmp_path / "short.wav", spoken[:800], 16000)
    soundfile.write(tmp_path / "good.wav", spoken[:16000], 16000)
    table = tmp_path / "t.csv"
    table.write_text("path,text\nlong.wav,A\nshort.wav,A\ngood.wav,A\n")
    config = DataConfig(
        corpus="table", train_splits=[str(table)], test_splits=[str(table)], max_seconds=5.0, on_bad_audio="raise"
    )
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert prepared.num_utterances == {"train": 1, "test": 2}
    expected = [("train", "long", "6.0 s"), ("train", "short", "0.050 s"), ("test", "short", "0.050 s")]
    for item, (split, stem, length) in zip(prepared.skipped, expected, strict=True):
        assert (item.split, Path(item.path).stem) == (split, stem) and names(item.reason, length)
    assert names(prepared.skipped[0].reason, "data.max_seconds = 5") and names(prepared.skipped[1].reason, "0.1 s")


def test_manifest_is_plain_lhotse(digits):
    with gzip.open(digits.manifests["test"], "rt") as file:
        assert json.loads(file.readline())["type"] == "MonoCut"
    assert {cut.recording.sources[0].type for cut in read_cuts(digits, "test")} == {"file"}
