"""A folder's embeddings are the model's own, whatever happened on the way."""

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open

from bigfoot.audio.files import read_audio
from bigfoot.data.synthetic import synthesize_split
from bigfoot.embedding import embed as module
from bigfoot.embedding.embed import EmbedRequest, embed_folder
from bigfoot.embedding.store import digests_of, open_store
from bigfoot.errors import DataError, OutputError
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.storage.ownership import MayReplace
from tests.codes import refusing
from tests.refusals import names, refused

RATE = 16_000


def read(output):
    """Tensors by key and the lines of the index."""
    with safe_open(output, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        metadata = file.metadata()
    rows = [json.loads(line) for line in output.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]
    return tensors, rows, metadata


@pytest.fixture(scope="module")
def teacher():
    return load_model("tiny_teacher")


@pytest.fixture(scope="module")
def strings():
    return list(synthesize_split(0, "test", 12, 2, 4))


@pytest.fixture
def corpus(tmp_path, strings):
    """Two short recordings of different rates, one long one, and what is missing or broken."""
    audio, texts = tmp_path / "audio", tmp_path / "texts"
    for folder in (audio / "deep", texts / "deep"):
        folder.mkdir(parents=True)
    soundfile.write(audio / "a.wav", strings[0].samples, RATE)
    soundfile.write(audio / "deep" / "b.flac", np.stack([strings[1].samples] * 2, 1), 22_050)
    soundfile.write(audio / "blink.wav", strings[0].samples[:80], RATE)
    soundfile.write(audio / "talk.wav", np.concatenate([one.samples for one in strings]), RATE)
    (audio / "broken.wav").write_bytes(b"RIFF of nothing")
    (texts / "a.txt").write_text(f"{strings[0].text}\n")
    (texts / "talk.txt").write_text("\n".join(one.text for one in strings).lower())
    (texts / "deep" / "lone.txt").write_text("ONE")
    return audio, texts


def request(corpus, tmp_path, **changes):
    settings = {"transcripts_dir": corpus[1], "longest": 5.0, "pool": "none"} | changes
    return EmbedRequest(corpus[0], tmp_path / "out.safetensors", **settings)


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize(("layer", "pool"), [("last", "none"), ("3", "mean"), ("all", "none"), ("all", "mean")])
@torch.no_grad()
def test_embeddings_are_the_model_s_hidden_states(teacher, corpus, tmp_path, layer, pool):
    messages = []
    summary = embed_folder(teacher, request(corpus, tmp_path, layer=layer, pool=pool, longest=40.0), messages.append)
    tensors, rows, metadata = read(tmp_path / "out.safetensors")
    assert sorted(tensors) == ["a.wav", "deep/b.flac", "talk.wav"] == sorted(row["key"] for row in rows if "key" in row)
    for name, tensor in tensors.items():
        wave = read_audio(corpus[0] / name)
        values = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None]
        states = torch.stack(teacher.model(values, output_hidden_states=True).hidden_states)[:, 0]
        wanted = states if layer == "all" else states[3 if layer == "3" else -1]
        torch.testing.assert_close(tensor, wanted if pool == "none" else wanted.mean(-2), atol=1e-5, rtol=1e-5)
    assert (summary.tensors, summary.recordings, summary.failed) == (3, 3, 2)
    assert metadata["layer"] == layer and metadata["pool"] == pool
    assert [line.partition(":")[0] for line in messages] == ["blink.wav", "broken.wav"]
    assert [row["name"] for row in rows if "problem" in row] == ["blink.wav", "broken.wav"]
    assert summary.folders.lone_audio == ["blink.wav", "broken.wav", "deep/b.flac"]
    assert list(summary.notes())[2:] == ["deep/b.flac: no transcript", "deep/lone.txt: no recording"]


@pytest.mark.slow
def test_the_last_layer_of_models_that_normalize_first_is_the_heads_input(build_model, processor, corpus, tmp_path):
    loaded = LoadedModel(build_model("large-lv60"), processor)
    embed_folder(loaded, request(corpus, tmp_path, transcripts_dir=None), lambda _: None)
    tensor = read(tmp_path / "out.safetensors")[0]["a.wav"]
    wave = read_audio(corpus[0] / "a.wav")
    values = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None]
    torch.testing.assert_close(tensor, loaded.model(values).last_hidden_state[0], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_long_recording_is_cut_with_its_text_and_its_frames_are_joined_again(teacher, corpus, tmp_path, strings):
    embed_folder(teacher, request(corpus, tmp_path), lambda _: None)
    tensors, rows, _ = read(tmp_path / "out.safetensors")
    pieces = [row for row in rows if row["name"] == "talk.wav"]
    assert len(pieces) >= 4 and [row["key"] for row in pieces] == [f"talk.wav#{n + 1}" for n in range(len(pieces))]
    joined = torch.cat([tensors[row["key"]] for row in pieces])
    wave = read_audio(corpus[0] / "talk.wav")
    values = torch.from_numpy((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None]
    with torch.no_grad():
        whole = teacher.model(values).last_hidden_state[0]
    assert joined.shape == whole.shape
    # A frame of a piece has less context: close to what the whole gives, and to no other frame's place.
    near = torch.nn.functional.cosine_similarity(joined, whole).mean()
    assert near > 0.9 > torch.nn.functional.cosine_similarity(joined[5:], whole[:-5]).mean() + 0.1
    frames = 0
    for row, after in zip(pieces, [*pieces[1:], {"start": len(wave) / RATE}], strict=True):
        assert row["first_frame"] == frames == round(row["start"] / row["frame_seconds"])
        assert row["end"] == pytest.approx(after["start"]) and row["shape"] == list(tensors[row["key"]].shape)
        frames += row["shape"][0]
    # Every word once, and in the piece in which it was spoken.
    assert " ".join(row["text"] for row in pieces).upper().split() == " ".join(one.text for one in strings).split()
    assert all(0.3 < row["text_confidence"] <= 1 for row in pieces)
    ends = np.cumsum([len(one.samples) for one in strings]) / RATE
    wrong = 0
    for row in pieces:
        inside = [one.text for one, end in zip(strings, ends, strict=True)
                  if row["start"] <= end - len(one.samples) / RATE and end <= row["end"]]  # fmt: skip
        wrong += " ".join(inside) not in row["text"].upper()
    assert wrong == 0


def test_without_a_head_long_recordings_go_without_text(build_model, processor, corpus, tmp_path):
    messages = []
    loaded = LoadedModel(build_model("base", ctc_head=False), processor)
    embed_folder(loaded, request(corpus, tmp_path, pool="mean"), messages.append)
    rows = {row.get("key"): row for row in read(tmp_path / "out.safetensors")[1]}
    assert rows["talk.wav#1"]["text"] is None and rows["a.wav"]["text"] is not None
    assert names(messages[-1], "talk.wav", "CTC")


@pytest.mark.slow
def test_a_text_that_is_too_long_for_its_recording(teacher, corpus, tmp_path):
    messages = []
    (corpus[1] / "talk.txt").write_text("SEVEN " * 2000)
    embed_folder(teacher, request(corpus, tmp_path, pool="mean"), messages.append)
    assert names(messages[-1], "talk.wav")
    rows = [row for row in read(tmp_path / "out.safetensors")[1] if row["name"] == "talk.wav"]
    assert rows[-1]["text"] is None and "SEVEN" in rows[0]["text"]


class Stop(Exception):
    pass


def stop_after(pieces):
    left = iter(range(pieces))

    def tell(_seconds):
        if next(left, None) is None:
            raise Stop

    return tell


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("pieces", [0, 1, 3, 5])
def test_what_was_begun_is_finished_to_the_bit(teacher, corpus, tmp_path, monkeypatch, pieces):
    wanted = request(corpus, tmp_path, layer="2")
    embed_folder(teacher, wanted, lambda _: None)
    output, index = tmp_path / "out.safetensors", tmp_path / "out.jsonl"
    bits, lines = output.read_bytes(), index.read_bytes()
    output.unlink()
    index.unlink()
    with pytest.raises(Stop):
        embed_folder(teacher, wanted, lambda _: None, stop_after(pieces))
    assert not output.exists() and not index.exists()
    # A kill leaves half of what was being written.
    for name, half in (("tensors.bin", b"\1\2\3"), ("index.jsonl", b'{"key": "tal')):
        with (tmp_path / "out.safetensors.part" / name).open("ab") as file:
            file.write(half)
    encoded = []
    monkeypatch.setattr(module, "encode", lambda *given, encode=module.encode: encoded.append(given) or encode(*given))
    reported = []
    summary = embed_folder(teacher, wanted, lambda _: None, reported.append)
    lengths = (soundfile.info(corpus[0] / name).duration for name in ("a.wav", "deep/b.flac", "talk.wav"))
    assert sum(reported) == pytest.approx(sum(lengths), abs=0.01)
    assert output.read_bytes() == bits and index.read_bytes() == lines
    assert summary.tensors == len(encoded) + pieces + 1 and summary.failed == 2
    # Digests are remembered of recordings that are some seconds old, so not on every machine.
    left = {path.name for path in tmp_path.iterdir()} - {digests_of(output).name}
    assert left == {"audio", "out.jsonl", "out.safetensors", "texts"}


@pytest.mark.slow
def test_given_again_nothing_is_done_and_another_request_begins_anew(teacher, corpus, tmp_path, monkeypatch):
    wanted = request(corpus, tmp_path, pool="mean")
    first = embed_folder(teacher, wanted, lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode", None)
        again = embed_folder(teacher, wanted, lambda _: None)
    assert again.was_there and (again.tensors, again.failed) == (first.tensors, first.failed)
    assert "already there" in again.describe(wanted.output)
    with pytest.raises(Stop):
        embed_folder(teacher, request(corpus, tmp_path, pool="mean", layer="0"), lambda _: None, stop_after(0))
    messages = []
    other = embed_folder(teacher, request(corpus, tmp_path, pool="mean", layer="1"), messages.append)
    assert not other.was_there
    assert read(wanted.output)[2]["layer"] == "1"


def change_in_place(path, position, replaced):
    """Other content of the same size, and the times of before."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[position : position + len(replaced)] = replaced
    path.write_bytes(bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "replaced"), [("audio/a.wav", b"\x11\x22" * 3000), ("texts/a.txt", b"OH OH")])
def test_another_content_of_the_same_size_and_time_is_noticed(teacher, corpus, tmp_path, name, replaced):
    wanted = request(corpus, tmp_path, pool="mean")
    embed_folder(teacher, wanted, lambda _: None)
    before = read(wanted.output)
    change_in_place(tmp_path / name, 0 if name.endswith("txt") else 2000, replaced)
    assert not embed_folder(teacher, wanted, lambda _: None).was_there
    after = read(wanted.output)
    assert (before[1] != after[1]) == name.endswith("txt")
    assert torch.equal(before[0]["a.wav"], after[0]["a.wav"]) == name.endswith("txt")


@pytest.mark.slow
def test_files_that_were_only_touched_are_not_embedded_again(teacher, corpus, tmp_path):
    wanted = request(corpus, tmp_path, pool="mean")
    embed_folder(teacher, wanted, lambda _: None)
    for path in [*(tmp_path / "audio").rglob("*.*"), *(tmp_path / "texts").rglob("*.*")]:
        os.utime(path, (10**9, 10**9))
    assert embed_folder(teacher, wanted, lambda _: None).was_there


KILLED = """
import os, signal, sys
from pathlib import Path
from bigfoot.embedding.embed import EmbedRequest, embed_folder
from bigfoot.formats.folder import load_model
left = int(sys.argv[3])
def tell(seconds):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
base = Path(sys.argv[1])
wanted = EmbedRequest(base / "audio", Path(sys.argv[2]), base / "texts", "last", "none", 5.0)
embed_folder(load_model("tiny_teacher"), wanted, print, tell)
"""


@pytest.mark.slow
def test_a_killed_command_given_again_gives_the_same_file(launch, bigfoot, corpus, tmp_path):
    output = tmp_path / "killed.safetensors"
    assert launch.run("-c", KILLED, tmp_path, output, 3).returncode == -signal.SIGKILL
    options = ("--audio_dir", corpus[0], "--transcripts_dir", corpus[1], "--pool", "none", "--chunk_seconds", 5)
    assert (tmp_path / "killed.safetensors.part").is_dir()
    for place in (output, tmp_path / "whole.safetensors"):
        code, _, errors = bigfoot("embed", "tiny_teacher", *options, "--output_file", place)
        assert code == 1 and names(errors, "deep/lone.txt")
    assert output.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"layer": "13"}, ("--layer", "unknown_word")),
        ({"layer": "-1"}, ("--layer", "unknown_word")),
        ({"pool": "max"}, ("--pool", "unknown_word")),
        ({"longest": 1.0}, ("--chunk-seconds", "out_of_range")),
        ({"output": Path("out.npz")}, ("--output-file", "other_suffix")),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(teacher, corpus, tmp_path, changes, expected):
    wanted = request(corpus, tmp_path)
    with refusing(expected):
        embed_folder(teacher, replace(wanted, **changes), lambda _: None)


def test_more_than_a_header_can_name_is_refused_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("bigfoot.embedding.store._LONGEST_HEADER", 300)
    store, _, _ = open_store(tmp_path / "out.safetensors", {})
    for number in range(5):
        store.add({"key": str(number), "piece": 0, "pieces": 1, "text": None}, np.zeros(3, np.float32))
    with pytest.raises(DataError):
        store.finish({})
    assert [path.name for path in tmp_path.iterdir()] == ["out.safetensors.part"]


@pytest.mark.parametrize("name", ["out.safetensors", "out.jsonl", "out.safetensors.part/notes.txt"])
def test_what_is_not_ours_is_not_written_over(teacher, corpus, tmp_path, name):
    wanted = request(corpus, tmp_path, pool="mean")
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text('{"mine": 1}\n')
    with refused(OutputError, name.split("/")[0]):
        embed_folder(teacher, wanted, lambda _: None, stop_after(0))
    assert foreign.read_text() == '{"mine": 1}\n'
    assert not [path for path in tmp_path.iterdir() if ".bigfoot" in path.name]


@pytest.mark.slow
def test_the_models_own_weights_are_not_written_over(teacher, corpus, tmp_path):
    folder = tmp_path / "model"
    save_model(teacher.model, teacher.processor, folder)
    before = (folder / "model.safetensors").read_bytes()
    wanted = replace(request(corpus, tmp_path), output=folder / "model.safetensors", may=MayReplace(force=True))
    with pytest.raises(OutputError):
        embed_folder(load_model(folder), wanted, lambda _: None)
    assert (folder / "model.safetensors").read_bytes() == before


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("cut", [-1, -1000, 100])
def test_a_file_that_was_cut_is_made_again(teacher, corpus, tmp_path, cut):
    wanted = request(corpus, tmp_path, pool="mean")
    embed_folder(teacher, wanted, lambda _: None)
    whole = wanted.output.read_bytes()
    wanted.output.write_bytes(whole[:cut])
    assert not embed_folder(teacher, wanted, lambda _: None).was_there
    assert wanted.output.read_bytes() == whole


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize(("name", "at"), [("out.safetensors", -5), ("out.safetensors", 900), ("out.jsonl", -9)])
def test_a_flipped_bit_is_found_and_the_file_made_again(teacher, corpus, tmp_path, name, at):
    wanted = request(corpus, tmp_path, pool="mean")
    embed_folder(teacher, wanted, lambda _: None)
    whole = (tmp_path / name).read_bytes()
    spoiled, reported = bytearray(whole), []
    spoiled[at] ^= 1
    (tmp_path / name).write_bytes(spoiled)
    assert not embed_folder(teacher, wanted, reported.append).was_there
    assert (tmp_path / name).read_bytes() == whole
    assert embed_folder(teacher, wanted, lambda _: None).was_there


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("damage", ["a line of noise", "binary request", "no numbers"])
def test_what_was_begun_and_is_damaged_costs_what_came_after(teacher, corpus, tmp_path, damage):
    wanted = request(corpus, tmp_path, pool="mean")
    embed_folder(teacher, wanted, lambda _: None)
    whole = wanted.output.read_bytes()
    wanted.output.unlink()
    with pytest.raises(Stop):
        embed_folder(teacher, wanted, lambda _: None, stop_after(2))
    begun = tmp_path / "out.safetensors.part"
    if damage == "a line of noise":
        first, second = (begun / "index.jsonl").read_bytes().splitlines(keepends=True)[:2]
        (begun / "index.jsonl").write_bytes(first + b"\xff[}\n" + second)
    elif damage == "binary request":
        (begun / "request.json").write_bytes(b"\xff\xfe\0")
    else:
        (begun / "tensors.bin").unlink()
    embed_folder(teacher, wanted, lambda _: None)
    assert wanted.output.read_bytes() == whole


@pytest.mark.slow
def test_a_second_writer_is_refused(teacher, corpus, tmp_path):
    wanted = request(corpus, tmp_path, pool="mean")
    refused = []

    def tell(_):
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()

    def try_it():
        try:
            embed_folder(teacher, wanted, lambda _: None)
        except OutputError as error:
            refused.append(error)

    embed_folder(teacher, wanted, lambda _: None, tell)
    assert refused and str(os.getpid()) in str(refused[0])
    assert embed_folder(teacher, wanted, lambda _: None).was_there
