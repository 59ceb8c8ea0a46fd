"""Rows that name a stretch of a file get that stretch, everywhere."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio.files import AudioHeader, read_audio
from bigfoot.data.batches import evaluation_batches, read_utterances, sample_batches, training_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.data.stretches import Stretch, read_stretch
from bigfoot.data.synthetic import synthesize_string
from bigfoot.errors import DataError
from bigfoot.text.tokenizers import Processor

PARTS = (1.25, 0.8, 1.6)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Folder with a file of three utterances, at another rate than the model's, and where each begins."""
    folder = tmp_path_factory.mktemp("long")
    voices = [synthesize_string(4, "dev", index, 4, 5).samples for index in range(3)]
    waves = [voice[: round(16000 * seconds)] for voice, seconds in zip(voices, PARTS, strict=True)]
    soundfile.write(folder / "long.flac", np.concatenate(waves), 16000)
    return folder, [0.0, PARTS[0], PARTS[0] + PARTS[1]]


def rows(starts, kind):
    for start, seconds, text in zip(starts, PARTS, ("ONE", "TWO", "THREE"), strict=True):
        times = {
            "offset": {"offset": start, "duration": seconds},
            "start": {"start": f"{start:.2f}", "end": f"{start + seconds:.2f}"},
            "all": {"start_time": start, "end_time": start + seconds, "duration": seconds},
        }[kind]
        yield {"audio_filepath": "long.flac", "text": text} | times


@pytest.mark.parametrize("kind", ["offset", "start", "all"])
@pytest.mark.parametrize("suffix", ["jsonl", "tsv"])
def test_every_reader_of_manifests_reads_the_stretch(long, tmp_path, kind, suffix):
    folder, starts = long
    found = list(rows(starts, kind))
    columns = list(found[0])
    (folder / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    lines = ["\t".join(columns), *("\t".join(str(row[column]) for column in columns) for row in found)]
    (folder / "t.tsv").write_text("\n".join(lines))
    table = f"t.{suffix}"
    config = DataConfig(corpus="table", root=str(folder), train_splits=[table], test_splits=[table])
    prepared = prepare_data(config, 0, tmp_path)
    assert prepared.num_utterances == {"train": 3, "test": 3} and prepared.skipped == []
    assert prepared.hours["test"] * 3600 == pytest.approx(sum(PARTS))
    whole = read_audio(folder / "long.flac")
    expected = {}
    for start, seconds, text in zip(starts, PARTS, ("ONE", "TWO", "THREE"), strict=True):
        expected[text] = whole[round(16000 * start) : round(16000 * (start + seconds))]
    processor, manifest = Processor(do_normalize=False), prepared.manifests["test"]
    batches = [
        *evaluation_batches(manifest, processor, 2),
        *evaluation_batches(manifest, processor, 2, longest=40),
        *sample_batches(manifest, processor, 9, 2),
        next(training_batches(prepared.manifests["train"], processor, config, 0)),
    ]
    rows_of = [zip(batch.texts, batch.input_values, batch.input_lengths, strict=True) for batch in batches]
    read = [(text, row[:size].numpy()) for found in rows_of for text, row, size in found]
    read += [(item.text, item.samples) for item in read_utterances(manifest)]
    assert len(read) == 15
    for text, samples in read:
        np.testing.assert_array_equal(samples, expected[text])


def test_a_length_alone_that_is_the_files_is_no_stretch(long, tmp_path):
    folder, _ = long
    total = sum(PARTS)
    for number, length in enumerate((total, round(total, 1), round(total), round(1000 * total), round(16000 * total))):
        (folder / "t.jsonl").write_text(json.dumps({"path": "long.flac", "text": "A", "duration": length}))
        prepared = prepare_data(DataConfig(corpus="table", root=str(folder), test_splits=["t.jsonl"]), 0, tmp_path)
        assert prepared.hours["test"] * 3600 == pytest.approx(total), number
    (folder / "t.jsonl").write_text(json.dumps({"path": "long.flac", "text": "A", "duration": 1.5}))
    prepared = prepare_data(DataConfig(corpus="table", root=str(folder), test_splits=["t.jsonl"]), 0, tmp_path)
    assert prepared.hours["test"] * 3600 == pytest.approx(1.5)


@pytest.mark.parametrize(
    "times",
    [
        {"offset": 1, "duration": 99}, {"offset": 99}, {"duration": 99.5}, {"start": 2, "end": 1}, {"offset": "x"},
        {"offset": -1}, {"offset": "nan"}, {"duration": 0}, {"start": 0, "end": 2, "duration": 1}, {"offset": [1]},
        {"offset": 0.5, "duration": 0.01},
    ],
)  # fmt: skip
def test_stretches_that_are_not_there_are_left_out_by_name(long, tmp_path, times):
    folder, _ = long
    good = {"path": "long.flac", "text": "A", "id": "good"}
    lines = [json.dumps(good), json.dumps(good | times | {"id": "bad"})]
    (folder / "t.jsonl").write_text("\n".join(lines))
    prepared = prepare_data(DataConfig(corpus="table", root=str(folder), test_splits=["t.jsonl"]), 0, tmp_path)
    assert prepared.num_utterances == {"test": 1} and [item.id for item in prepared.skipped] == ["bad"]


VALUES = st.none() | st.text() | st.floats() | st.integers()


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(["offset", "start", "end", "duration"]), VALUES))
def test_any_times_are_a_stretch_within_the_file_or_an_error(row):
    header = AudioHeader(16000, 1, 32000)
    try:
        stretch = read_stretch(row)
        start, seconds = (0.0, 2.0) if stretch is None else stretch.place(header)
    except DataError:
        return
    assert start >= 0 and seconds > 0 and start + seconds <= header.seconds + 1e-9


def test_a_start_alone_goes_to_the_end():
    assert Stretch(0.5).place(AudioHeader(16000, 1, 32000)) == (0.5, 1.5)


def test_a_cell_of_spaces_is_no_time():
    assert read_stretch({"start": " ", "end": "\t", "duration": ""}) is None
    assert read_stretch({"start": " 1.5 ", "end": " "}) == Stretch(1.5)
