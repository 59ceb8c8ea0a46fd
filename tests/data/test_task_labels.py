"""Labels of tasks: columns of any name, carried to the batch; a changed label is a changed corpus."""

import json

import numpy as np
import pytest
import soundfile

from bigfoot.config import find_problems
from bigfoot.data.batches import evaluation_batches, training_batches
from bigfoot.data.corpora import find_changes, prepare_data
from bigfoot.data.fsdd import list_recordings
from bigfoot.data.listings import list_speechocean762
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import synthesize_string
from bigfoot.errors import DataError
from bigfoot.text.tokenizers import Processor
from tests.refusals import refused

ROWS = [
    ("a.wav", "ann", "happy", "3"), ("b.wav", "bob", "sad", ""), ("c.wav", "cleo", "", "5.5"),
    ("d.wav", "dan", "sad", "1"),
]  # fmt: skip
HEADER = ("file", "caller", "emotion_label", "stars")
COLUMNS = {"path": "file", "speaker": "caller", "mood": "emotion_label"}


@pytest.fixture
def folder(tmp_path):
    for number, (name, *_) in enumerate(ROWS):
        soundfile.write(tmp_path / name, 0.1 * np.sin(np.arange(4000 + 900 * number) / 7), 16_000)
    return tmp_path


def write_table(folder, suffix, rows=ROWS):
    table = folder / f"calls.{suffix}"
    if suffix == "jsonl":
        lines = [json.dumps({key: value for key, value in zip(HEADER, row, strict=True) if value}) for row in rows]
    else:
        lines = [("," if suffix == "csv" else "\t").join(row) for row in (HEADER, *rows)]
    table.write_text("\n".join(lines) + "\n")
    return table


def config_of(folder, table, **changes):
    fields = {"corpus": "table", "root": str(folder), "train_splits": [table.name], "columns": COLUMNS,
              "labels": ["mood", "stars"], "transcripts": "none"}  # fmt: skip
    return DataConfig(**(fields | changes))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_columns_of_any_name_come_to_the_batch(suffix, folder, tmp_path):
    config = config_of(folder, write_table(folder, suffix), batch_seconds=2, num_buckets=1)
    assert not list(find_problems(config))
    prepared = prepare_data(config, 0, tmp_path / "out")
    found = {}
    for batch in evaluation_batches(prepared.manifests["train"], Processor(), 2):
        found |= dict(zip(batch.speakers, batch.attributes, strict=True))
    assert found == {
        "ann": {"mood": "happy", "stars": "3"}, "bob": {"mood": "sad"}, "cleo": {"stars": "5.5"},
        "dan": {"mood": "sad", "stars": "1"},
    }  # fmt: skip
    batch = next(training_batches(prepared.manifests["train"], Processor(), config, 0))
    assert [found[speaker] for speaker in batch.speakers] == batch.attributes == batch.to("cpu").attributes


def test_a_changed_label_is_noticed_and_another_column_is_not(folder, tmp_path):
    table = write_table(folder, "csv")
    config = config_of(folder, table)
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert find_changes(config, 0, prepared, None, ["train"]) == []
    write_table(folder, "csv", [(*ROWS[0][:2], "sad", "3"), *ROWS[1:]])
    assert find_changes(config, 0, prepared, None, ["train"])
    again = prepare_data(config, 0, tmp_path / "again")
    assert again.contents["train"] != prepared.contents["train"]
    without = config_of(folder, table, labels=["stars"], columns={"path": "file", "speaker": "caller"})
    first = prepare_data(without, 0, tmp_path / "first")
    write_table(folder, "csv")
    assert find_changes(without, 0, first, None, ["train"]) == []


def test_columns_and_labels_that_are_not_there(folder, tmp_path):
    table = write_table(folder, "csv")
    for changes in ({"columns": COLUMNS | {"mood": "emotion"}}, {"labels": ["mood", "age"]}):
        with pytest.raises(DataError):
            prepare_data(config_of(folder, table, **changes), 0, tmp_path / "out")
    with pytest.raises(DataError):
        prepare_data(DataConfig(num_train=1, num_dev=0, num_test=0, labels=["age"]), 0, tmp_path / "made")
    assert [p.key for p in find_problems(config_of(folder, table, columns={"wave": "file"}))] == ["columns"]
    config = config_of(folder, table)
    config.split.stratify = "age"
    assert [p.code for p in find_problems(config)] == ["unknown_word", "not_read"]
    config.split.by = "speaker"
    assert [(p.key, p.code) for p in find_problems(config)] == [("split.stratify", "unknown_word")]


def test_a_table_is_split_by_speaker(folder, tmp_path):
    config = config_of(folder, write_table(folder, "csv"))
    config.split.by, config.split.dev, config.split.test = "speaker", 0.25, 0.25
    prepared = prepare_data(config, 1, tmp_path / "out")
    assert prepared.num_utterances == {"train": 2, "dev": 1, "test": 1}
    # Which part of the corpus has a label does not matter where all are split anew; a given split needs it.
    (folder / "more.csv").write_text("file,caller,emotion_label,stars\nd.wav,eve,,2\n")
    config.dev_splits = ["more.csv"]
    assert sum(prepare_data(config, 1, tmp_path / "both").num_utterances.values()) == 5
    config.split.by = "given"
    with refused(DataError, "dev", "mood"):
        prepare_data(config, 1, tmp_path / "given")


def test_labels_of_corpora(tmp_path):
    (tmp_path / "recordings").mkdir()
    for name in ("7_jackson_32", "3_theo_0"):
        soundfile.write(tmp_path / "recordings" / f"{name}.wav", np.zeros(800), 8000)
    listed = {item.id: item.labels for item in list_recordings(tmp_path, "all")}
    assert listed["7_jackson_32"] == {"digit": "7", "speaker": "jackson"}
    assert listed["3_theo_0"] == {"digit": "3", "speaker": "theo"}
    with pytest.raises(DataError):
        list_recordings(tmp_path, "valid")
    (tmp_path / "train.tsv").write_text("path\tspeaker\ttext\na.wav\t0001\tA\nb.wav\t0002\tB\n")
    (tmp_path / "speakers.tsv").write_text("speaker\tage\tgender\n0001\t6\tm\n")
    assert [item.labels for item in list_speechocean762(tmp_path, "train")] == [{"age": "6", "gender": "m"}, {}]
    published = tmp_path / "published"
    (published / "test").mkdir(parents=True)
    for name, text in (("wav.scp", "u1 WAVE/u1.WAV"), ("text", "u1 HI"), ("utt2spk", "u1 0003"), ("spk2age", "0003 9"),
                       ("spk2gender", "0003 f")):  # fmt: skip
        (published / "test" / name).write_text(text + "\n")
    assert [item.labels for item in list_speechocean762(published, "test")] == [{"age": "9", "gender": "f"}]
    made = synthesize_string(0, "test", 3)
    assert made.labels["sex"] in made.labels["traits"] or made.labels["sex"] == "male"
    assert set(made.labels) == {"sex", "accent", "speed", "traits"}
