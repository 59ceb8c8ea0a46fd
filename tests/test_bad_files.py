"""One file that is no audio costs one line, in every command that takes a folder or a table of audio."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors import safe_open

from bigfoot.data.synthetic import synthesize_string
from bigfoot.export.onnx import build_onnx
from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.models.reshape import with_task_head
from bigfoot.text.tokenizers import Processor

GOOD = {"a.wav", "b.flac", "long.wav"}


def write_bad(folder, samples):
    """Files that are no audio, each in a way of its own."""
    def write(name, values, **kind):
        soundfile.write(folder / name, values, 16_000, **kind)

    write("loud.wav", np.full(16_000, 3e38, np.float32), subtype="FLOAT")
    write("nan.wav", np.full(16_000, np.nan, np.float32), subtype="FLOAT")
    write("none.wav", samples[:0])
    write("cut.flac", np.tile(samples, 4))
    os.truncate(folder / "cut.flac", (folder / "cut.flac").stat().st_size // 2)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("path\ttext\n" * 40)
    (folder / "video.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    (folder / "folder.wav").mkdir()
    (folder / "link.wav").symlink_to("gone.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    os.mkfifo(folder / "pipe.wav")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Folders ``good`` and ``mixed``, and a table of each in every format."""
    root, spoken = tmp_path_factory.mktemp("corpus"), synthesize_string(0, "dev", 1, 2, 3).samples
    for kind in ("good", "mixed"):
        (root / kind).mkdir()
        soundfile.write(root / kind / "a.wav", spoken, 16_000)
        soundfile.write(root / kind / "b.flac", spoken[::-1], 16_000)
        soundfile.write(root / kind / "long.wav", np.tile(spoken, 30), 16_000)
        if kind == "mixed":
            write_bad(root / kind, spoken)
        names = sorted(path.name for path in (root / kind).iterdir())
        for name in (name for name in names if name != "folder.wav"):
            (root / kind / name).with_suffix(".txt").write_text("ONE TWO")
        rows = [[f"{kind}/{name}", "ONE TWO"] for name in names]
        for suffix, mark in ((".tsv", "\t"), (".csv", ",")):
            (root / f"{kind}{suffix}").write_text("\n".join(map(mark.join, [["path", "text"], *rows])) + "\n")
        lines = [json.dumps(dict(zip(("path", "text"), row, strict=True))) for row in rows]
        (root / f"{kind}.jsonl").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def model(build_model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    save_model(build_model("base"), processor, folder)
    return folder


def transcribe(bigfoot, model, place, out, log):
    code, printed, _ = bigfoot("transcribe", model, place, "--format", "json")
    rows = {Path(row["source"]).name: row | {"source": ""} for row in json.loads(printed)}
    return code, {name: row for name, row in rows.items() if "error" not in row}, rows


def embed(bigfoot, model, place, out, log):
    code, printed, _ = bigfoot("embed", model, "--audio_dir", place, "--output_file", out / "e.safetensors", "--json")
    account = json.loads(printed)
    with safe_open(out / "e.safetensors", "np") as file:
        tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
    names = {key.partition("#")[0] for key in tensors}
    assert account["rows_used"] == len(names) and account["rows"] == len(names) + len(account["left_out"])
    return code, tensors, names | {Path(row["name"]).name for row in account["left_out"]}


def evaluate(bigfoot, model, place, out, log):
    kind = "folder" if place.is_dir() else "table"
    data = (f"data.corpus={kind}", f"data.root={place.parent}", f"data.test_splits=[{place.name}]")
    code, printed, _ = bigfoot("evaluate", model, *data, "evaluate.bootstrap_samples=2", "--run-dir", out, "--json")
    found = json.loads(printed)
    account = found.pop("data")
    assert account["rows"] == account["rows_used"] + len(account["left_out"])
    assert account["rows_used"] == found["num_utterances"] == len(GOOD)
    assert code == 0  # What is left out of a corpus is in the account.
    return bool(account["left_out"]), found, GOOD | {Path(row["name"]).name for row in account["left_out"]}


def read_tree(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
            if path.suffix in (".onnx", ".safetensors")}  # fmt: skip


def export(bigfoot, model, place, out, log):
    code, _, _ = bigfoot("export", model, out / "m.onnx", "--check", place)
    assert code == 0
    return _logged(place, log) != GOOD, read_tree(out), _logged(place, log)


def quantize(bigfoot, model, place, out, log):
    code, _, _ = bigfoot("quantize", model, out / "q", "--precision", "int8_static", "--calibrate", place)
    assert code == 0
    return _logged(place, log) != GOOD, read_tree(out / "q"), _logged(place, log)


def _logged(place, log):
    lines = log.messages
    return GOOD | {path.name for path in place.iterdir() if any(line.startswith(f"{path}: ") for line in lines)}


def describe(bigfoot, model, place, out, log):
    data = (f"data.corpus={'folder' if place.is_dir() else 'table'}", f"data.root={place.parent}")
    given = ("describe", "--out", out, "--config", "demo_config.yaml", *data, f"data.test_splits=[{place.name}]")
    code, _, _ = bigfoot(*given)
    account = json.loads((out / "describe.json").read_text())["accounts"]["test"]
    left_out = {Path(row["name"]).name for row in account.pop("left_out")}
    assert code == 0 and account["rows"] == len(GOOD) + len(left_out)
    return bool(left_out), (account["rows_used"], account["seconds_used"]), GOOD | left_out


def classify(bigfoot, model, place, out, log):
    code, printed, _ = bigfoot("classify", model.parent / "task.onnx", place, "--json")
    rows = {Path(row["name"]).name: row | {"name": ""} for row in map(json.loads, printed.splitlines())}
    return code, {name: row for name, row in rows.items() if "error" not in row}, rows


def slow(*row):
    return pytest.param(*row, marks=pytest.mark.slow)


PLACES = [
    (transcribe, ""), (embed, ""), (classify, ""), slow(export, ""), slow(quantize, ""), (describe, ""),
    slow(describe, ".tsv"), (evaluate, ""), slow(evaluate, ".tsv"), slow(evaluate, ".csv"), slow(evaluate, ".jsonl"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("command", "suffix"), PLACES)
def test_bad_files_cost_a_line_each_and_change_nothing(
    command, suffix, corpus, model, build_model, bigfoot, tmp_path, caplog
):
    if command is classify and not (model.parent / "task.onnx").exists():
        shape = {"labels": ["a", "b", "c"], "kind": "single_label"}
        rated = LoadedModel(with_task_head(build_model("base"), shape, 1), Processor())
        build_onnx(rated).save(model.parent / "task.onnx")
    outs = [tmp_path / kind for kind in ("good", "mixed")]
    [out.mkdir() for out in outs]
    found = []
    for out in outs:
        caplog.clear()
        found.append(command(bigfoot, model, corpus / f"{out.name}{suffix}", out, caplog))
    good, mixed = found
    assert not good[0] and mixed[0], "the code, or the account, names what was left out"
    assert good[1] == mixed[1]
    assert set(mixed[2]) == {path.name for path in (corpus / "mixed").iterdir() if path.suffix != ".txt"}
    assert set(good[2]) == GOOD
