"""Corpora on disk, each as a miniature in its true layout."""

import shutil

import pytest
import soundfile

from bigfoot.audio.folders import find_audio
from bigfoot.data.corpora import prepare_data
from bigfoot.data.cuts import read_cuts
from bigfoot.data.listings import list_folder, list_speechocean762
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import synthesize_string
from bigfoot.data.tables import list_table
from bigfoot.errors import DataError
from bigfoot.pipeline.settings import load_config
from tests.refusals import names, refused

LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")


@pytest.fixture(scope="module")
def spoken():
    return synthesize_string(0, "dev", 1, 2, 3).samples


def facts(listed):
    return {item.id: (item.text, item.speaker, item.problem) for item in listed}


# Audio beside its text.


@pytest.fixture
def tree(tmp_path, spoken):
    """Two speakers in train, one of them in another folder's depth; a file of every kind that such a folder holds."""
    for name in ("train/anna/1.flac", "train/anna/2.WAV", "train/x/bert/1.mp3", "test/carl/1.opus"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {"format": "OGG", "subtype": "OPUS"} if name.endswith("opus") else {}
        soundfile.write(tmp_path / name, spoken, 16000, **kind)
    (tmp_path / "train/anna/1.txt").write_text("\ufeffone\n two\n", encoding="utf-8")
    (tmp_path / "train/anna/2.TXT").write_text("two")
    (tmp_path / "train/x/bert/1.txt").write_text("three")
    (tmp_path / "test/carl/1.txt").write_text("four")
    for name in ("train/README.txt", "train/anna/._1.flac", "train/.git/a.wav", "train/anna/notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"no audio")
    return tmp_path


def test_folder_takes_text_beside_audio_and_folders_for_speakers(tree):
    assert facts(list_folder(tree, "train")) == {
        "train/anna/1": ("one\n two\n", "anna", None),
        "train/anna/2": ("two", "anna", None),
        "train/x/bert/1": ("three", "bert", None),
    }
    assert set(facts(list_folder(tree, "."))) == {"test/carl/1", "train/anna/1", "train/anna/2", "train/x/bert/1"}
    assert [path.name for path in find_audio(tree / "train")] == ["1.flac", "2.WAV", "1.mp3"]


def test_folder_becomes_manifests(tree, tmp_path):
    config = DataConfig(corpus="folder", root=str(tree), train_splits=["train"], test_splits=["test"])
    config.hold_out_speakers = 1
    prepared = prepare_data(config, 0, tmp_path / "out", characters=LETTERS)
    assert sum(prepared.num_utterances[split] for split in ("train", "dev")) == 3
    assert prepared.num_utterances["test"] == 1 and prepared.skipped == []


def test_folder_names_what_is_missing_or_of_a_type_that_cannot_be_read(tree):
    (tree / "train/anna/1.txt").unlink()
    (tree / "train/anna/9.txt").write_text("no audio")
    (tree / "train/anna/3.m4a").write_bytes(b"\0\0\0 ftypM4A ")
    problems = {name: problem for name, (_, _, problem) in facts(list_folder(tree, "train")).items() if problem}
    assert set(problems) == {"train/anna/1", "train/anna/3", "train/anna/9"}
    assert names(problems["train/anna/1"], "1.txt")
    assert ".m4a" in problems["train/anna/3"] and "ffmpeg" in problems["train/anna/3"]
    optional = facts(list_folder(tree, "train", text_is_optional=True))
    assert optional["train/anna/1"] == ("", "anna", None) and optional["train/anna/2"][0] == "two"
    assert [name for name, (_, _, problem) in optional.items() if problem] == ["train/anna/3"]


def test_folder_without_any_text_has_none_to_miss(tree):
    for path in tree.rglob("*.[tT][xX][tT]"):
        path.unlink()
    assert {fact[0] for fact in facts(list_folder(tree, "train")).values()} == {""}
    assert all(fact[2] is None for fact in facts(list_folder(tree, "train")).values())


def test_two_files_of_one_name_and_links_in_a_loop(tree, tmp_path):
    shutil.copy(tree / "train/anna/2.WAV", tree / "train/anna/1.wav")
    (tree / "train/anna/again").symlink_to(tree / "train")
    config = DataConfig(corpus="folder", root=str(tree), train_splits=["train"])
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert prepared.num_utterances == {"train": 4} and not prepared.skipped
    cuts = {cut.id: cut.supervisions[0].text for cut in read_cuts(prepared.manifests["train"])}
    anna, bert = "train/anna", "train/x/bert"
    assert cuts == {f"{anna}/1.flac": "one two", f"{anna}/1.wav": "one two", f"{anna}/2": "two", f"{bert}/1": "three"}
    with pytest.raises(DataError):
        list_folder(tree, "dev")


def test_train_within_which_test_lies_is_warned_of(tree, tmp_path, caplog):
    config = DataConfig(corpus="folder", root=str(tree), train_splits=["."], test_splits=["test"])
    prepare_data(config, 0, tmp_path / "out")
    assert names(caplog.text, "1")


# speechocean762.


def test_speechocean762_as_published(tmp_path, spoken):
    """The layout of its repository: columns are parted by a tab in some of its files, by a blank in others."""
    for split, speaker in (("train", "0001"), ("test", "0003")):
        recordings = [f"{speaker}{index:05d}" for index in (11, 35)]
        (tmp_path / split).mkdir()
        for name in recordings:
            path = tmp_path / "WAVE" / f"SPEAKER{speaker}" / f"{name}.WAV"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, spoken, 16000, format="WAV")
        waves = "".join(f"{name}\tWAVE/SPEAKER{speaker}/{name}.WAV\n" for name in recordings)
        (tmp_path / split / "wav.scp").write_text(waves)
        (tmp_path / split / "text").write_text(f"{recordings[0]}\tWE CALL IT BEAR\n")
        (tmp_path / split / "utt2spk").write_text("".join(f"{name} {speaker}\n" for name in recordings))
    listed = facts(list_speechocean762(tmp_path, "train"))
    assert listed["000100011"] == ("WE CALL IT BEAR", "0001", None)
    text, speaker, problem = listed["000100035"]
    assert (text, speaker) == ("", "0001") and names(problem, "train/text")
    config = DataConfig(corpus="speechocean762", root=str(tmp_path), train_splits=["train"], test_splits=["test"])
    prepared = prepare_data(config, 0, tmp_path / "out", characters=LETTERS)
    assert prepared.num_utterances == {"train": 1, "test": 1}
    with refused(DataError, "dev.tsv", "dev/wav.scp"):
        list_speechocean762(tmp_path, "dev")


@pytest.mark.slow
def test_speechocean762_by_its_shipped_configuration(real_data, tmp_path):
    if not (real_data / "speechocean762").is_dir():
        pytest.skip(f"no speechocean762 in {real_data}")
    data = load_config("speechocean762.yaml", [f"data.root={real_data}", "data.verify_audio=false"]).data
    prepared = prepare_data(data, 7, tmp_path, characters=LETTERS)
    assert prepared.num_utterances["train"] + prepared.num_utterances["dev"] == 2200
    assert prepared.hours["test"] == pytest.approx(0.43, abs=0.01) and prepared.skipped == []


def test_a_table_keeps_the_ids_it_names_and_tells_the_others_apart(tmp_path):
    rows = ["id,path,text", ",a.wav,1", ",a.flac,2", ",a.wav,3", "x,b.wav,4", "x,b.flac,5", ",c.wav,6"]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    where = tmp_path.name
    expected = [f"{where}/a.wav", f"{where}/a.flac", f"{where}/a.wav", "x", "x", f"{where}/c"]
    assert [item.id for item in list_table(tmp_path / "t.csv")] == expected
