"""Folders of Hugging Face's datasets, as save_to_disk and its hub lay them out."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile

from bigfoot.data.corpora import find_changes, prepare_data
from bigfoot.data.cuts import read_cuts
from bigfoot.data.settings import DataConfig
from bigfoot.errors import DataError, MissingExtraError
from tests.refusals import refused

FEATURES = {
    "clip": {"_type": "Audio", "sampling_rate": 16000},
    "mood": {"_type": "ClassLabel", "names": ["calm", "angry"]},
    "who": {"_type": "Value", "dtype": "string"},
}


def sound(number):
    """A FLAC file of its own length, in memory."""
    written = io.BytesIO()
    soundfile.write(written, np.random.default_rng(number).standard_normal(3200 + number) / 9, 16000, format="FLAC")
    return written.getvalue()


def make_table(arrow, broken=False):
    clips = [{"bytes": sound(number), "path": None} for number in range(4)]
    clips[3] = {"bytes": None, "path": "outside.wav"}
    if broken:
        clips[1] = {"bytes": b"RIFF", "path": "b.wav"}
        clips[2] = {"bytes": None, "path": None}
    table = arrow.table({"clip": clips, "mood": [0, 1, -1, 1], "who": ["ann", "bob", "ann", "bob"]})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})


@pytest.fixture
def arrow():
    pytest.importorskip("pyarrow.parquet")
    import pyarrow

    return pyarrow


def save(arrow, root, table, layout):
    (root / "train").mkdir(parents=True)
    soundfile.write(root / "outside.wav", np.full(3300, 0.1), 16000)
    if layout == "parquet":
        (root / "data").mkdir()
        arrow.parquet.write_table(table, root / "data" / "train-00000-of-00001.parquet")
        return
    names = [f"data-0000{number}-of-00002.arrow" for number in range(2)]
    for name, part in zip(names, (table.slice(0, 2), table.slice(2)), strict=True):
        with arrow.ipc.new_stream(str(root / "train" / name), table.schema) as writer:
            writer.write_table(part, max_chunksize=1)
    (root / "train/state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))


def configure(root):
    columns = {"speaker": "who"}
    return DataConfig(
        corpus="datasets", root=str(root), train_splits=["train"], transcripts="none", columns=columns, labels=["mood"]
    )


@pytest.mark.parametrize("layout", ["arrow", "parquet"])
def test_both_layouts_give_the_same_utterances(layout, arrow, tmp_path):
    save(arrow, tmp_path / "set", make_table(arrow), layout)
    config = configure(tmp_path / "set")
    prepared = prepare_data(config, 0, tmp_path / "run")
    cuts = sorted(read_cuts(prepared.manifests["train"]), key=lambda cut: cut.id)
    assert [cut.recording.num_samples for cut in cuts] == [3200, 3201, 3202, 3300]
    assert [cut.supervisions[0].speaker for cut in cuts] == ["ann", "bob", "ann", "bob"]
    labels = [(cut.supervisions[0].custom or {}).get("labels", {}).get("mood") for cut in cuts]
    assert labels == ["calm", "angry", None, "angry"]
    assert find_changes(config, 0, prepared, None, ["train"]) == []
    shutil.rmtree(tmp_path / "set")
    changed = make_table(arrow).set_column(1, "mood", [[1, 1, 1, 1]])
    save(arrow, tmp_path / "set", changed.replace_schema_metadata(make_table(arrow).schema.metadata), layout)
    assert len(find_changes(config, 0, prepared, None, ["train"])) == 1


def test_what_is_damaged_is_refused_or_costs_one_line(arrow, tmp_path):
    root = tmp_path / "set"
    save(arrow, root, make_table(arrow, broken=True), "arrow")
    prepared = prepare_data(configure(root), 0, tmp_path / "run")
    assert prepared.num_utterances == {"train": 2} and len(prepared.skipped) == 2
    with refused(DataError, "dev", "train"):
        prepare_data(DataConfig(corpus="datasets", root=str(root), dev_splits=["dev"]), 0, tmp_path / "other")
    state = root / "train/state.json"
    content = json.loads(state.read_text())
    state.write_text(json.dumps(content | {"_indices_files": [{"filename": "i.arrow"}]}))
    with refused(DataError, root / "train"):
        prepare_data(configure(root), 0, tmp_path / "other")
    state.write_text(json.dumps(content))
    first = root / "train" / content["_data_files"][0]["filename"]
    first.write_bytes(first.read_bytes()[:700])
    with refused(DataError, first):
        prepare_data(configure(root), 0, tmp_path / "other")
    first.unlink()
    with refused(DataError, first):
        prepare_data(configure(root), 0, tmp_path / "other")


def test_without_pyarrow_the_install_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused(MissingExtraError, "pyarrow", "[datasets]"):
        prepare_data(configure(tmp_path), 0, tmp_path / "run")
