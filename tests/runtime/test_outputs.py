"""``bigfoot transcribe`` on an exported file: what it reads, what it writes, and what it says."""

import io
import json
import sys

import pytest

from bigfoot.errors import AudioError
from bigfoot.runtime.arguments import Argument, expand_arguments
from tests.refusals import names

pytest.importorskip("onnxruntime")


@pytest.fixture
def calls(tapes, tmp_path):
    """A tree of recordings: calls/0.wav says AB C, calls/deep/1.wav HH; besides, what is none."""
    folder = tmp_path / "calls"
    (folder / "deep").mkdir(parents=True)
    zero, one, _ = tapes
    zero.rename(folder / "0.wav")
    one.rename(folder / "deep" / "1.wav")
    (folder / "notes.txt").write_text("no audio")
    return folder


def test_folders_and_patterns(calls):
    expected = [calls / "0.wav", calls / "deep" / "1.wav"]
    for argument in (str(calls), f"{calls}/**/*.wav"):
        assert [item.path for item in expand_arguments([argument])] == expected
    (calls / "phone.m4a").touch()
    found = expand_arguments([str(calls), f"{calls}/*.mp3", str(calls / "deep" / "nothing")])
    assert [type(item) for item in found] == [Argument, Argument, AudioError, AudioError, Argument]
    assert names(str(found[2]), "m4a")


def test_a_folder_without_audio(tmp_path):
    (tmp_path / "notes.txt").touch()
    (found,) = expand_arguments([str(tmp_path)])
    assert isinstance(found, AudioError)


def test_a_name_with_brackets_is_a_file(tmp_path):
    (tmp_path / "a[1].wav").touch()
    (found,) = expand_arguments([str(tmp_path / "a[1].wav")])
    assert isinstance(found, Argument)


def test_text(bigfoot, tape_file, calls):
    code, output, errors = bigfoot("transcribe", tape_file, calls, "--threads", 1)
    assert (code, errors) == (0, "")
    assert output == f"{calls}/0.wav\tAB C\n{calls}/deep/1.wav\tHH\n"
    assert bigfoot("transcribe", tape_file, calls / "0.wav", "--threads", 1)[1] == "AB C\n"


def test_bad_ones_cost_themselves_and_the_exit_code(bigfoot, tape_file, calls):
    (calls / "bad.wav").write_text("no audio")
    code, output, errors = bigfoot("transcribe", tape_file, calls, calls / "gone.wav", "--threads", 1)
    assert code == 1 and len(output.splitlines()) == 2 and len(errors.splitlines()) == 2
    assert names(errors, f"{calls}/bad.wav") and names(errors, f"{calls}/gone.wav")
    code, output, _ = bigfoot("transcribe", tape_file, calls, "--threads", 1, "--format", "json")
    found = json.loads(output)
    assert code == 1 and [item.get("text") for item in found] == ["AB C", None, "HH"]
    assert "not audio" in found[1]["error"]


def test_a_pipe(bigfoot, tape_file, calls, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((calls / "0.wav").read_bytes())))
    assert bigfoot("transcribe", tape_file, "-", "--threads", 1)[1] == "AB C\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    code, _, errors = bigfoot("transcribe", tape_file, "-", "--threads", 1)
    assert code == 1 and errors.startswith("stdin: ") and names(errors, 0)


def test_json_of_one_has_times(bigfoot, tape_file, calls):
    _, output, _ = bigfoot("transcribe", tape_file, calls / "0.wav", "--threads", 1, "--format", "json")
    (found,) = json.loads(output)
    assert found["source"] == str(calls / "0.wav") and found["seconds"] == 0.145
    assert found["words"][1] == {"text": "C", "start": 0.06, "end": 0.1}


def test_a_file_each(bigfoot, tape_file, calls, tmp_path):
    (calls / "bad.wav").write_text("no audio")
    out = f"{tmp_path}/subtitles/"
    code, output, _ = bigfoot("transcribe", tape_file, calls, "--format", "srt", "--output", out, "--threads", 1)
    assert (code, output) == (1, "")
    made = sorted(path.relative_to(out) for path in (tmp_path / "subtitles").rglob("*.srt"))
    assert [str(path) for path in made] == ["0.srt", "deep/1.srt"]
    assert (tmp_path / "subtitles" / "0.srt").read_text().startswith("1\n00:00:00,010 --> 00:00:01,010\nAB C")


def test_one_file_for_all(bigfoot, tape_file, calls, tmp_path):
    out = tmp_path / "all.txt"
    assert bigfoot("transcribe", tape_file, calls, "--output", out, "--threads", 1)[:2] == (0, "")
    assert len(out.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--format", "doc"], "--format: 'doc' is none of txt, json, srt, vtt"),
        (["--format", "srt"], "--output: 2 files need a folder for their .srt files"),
        (["--format", "vtt", "--output", "one.vtt"], "--output: 2 files need a folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_transcribed(bigfoot, calls, options, reason):
    code, output, errors = bigfoot("transcribe", "/nowhere.onnx", calls, *options)
    assert (code, output) == (2, "") and reason in errors


def test_two_results_in_one_file_are_refused(bigfoot, calls, tmp_path):
    (calls / "0.flac").write_bytes((calls / "0.wav").read_bytes())
    code, _, errors = bigfoot("transcribe", "/nowhere.onnx", calls, "--output", tmp_path)
    assert code == 2 and names(errors, "0.flac") and names(errors, "0.txt")


def test_a_folder_with_an_export(bigfoot, tape_file, calls):
    assert bigfoot("transcribe", tape_file.parent, calls / "0.wav", "--threads", 1)[1] == "AB C\n"


def test_a_place_that_cannot_be_written(bigfoot, tape_file, calls):
    code, _, errors = bigfoot("transcribe", tape_file, calls, "--output", calls / "no" / "out.txt", "--threads", 1)
    assert code == 1 and errors.startswith("error: ") and "out.txt" in errors


def test_a_file_may_be_called_stdin(bigfoot, tape_file, calls, monkeypatch):
    (calls / "0.wav").rename(calls / "stdin")
    monkeypatch.chdir(calls)
    assert bigfoot("transcribe", tape_file, "stdin", "--threads", 1)[1] == "AB C\n"


@pytest.mark.slow
def test_inputs_are_never_written_over(bigfoot, tape_file, calls, tmp_path):
    audio, model = calls / "0.wav", tape_file.read_bytes()
    (tmp_path / "hard.txt").hardlink_to(audio)
    (tmp_path / "link.txt").symlink_to(audio)
    before = audio.read_bytes()
    for out in (audio, f"{calls}/deep/../0.wav", tmp_path / "hard.txt", tmp_path / "link.txt", tape_file):
        for options in ((), ("--force",)):
            code, output, errors = bigfoot("transcribe", tape_file, audio, "--output", out, "--threads", 1, *options)
            assert (code, output, errors.count("\n")) == (1, "", 1), out
    assert audio.read_bytes() == before and tape_file.read_bytes() == model
    assert sorted(path.name for path in calls.iterdir()) == ["0.wav", "deep", "notes.txt"]


def test_a_folder_of_a_model_is_not_written_over(bigfoot, tape_file, calls, tmp_path, monkeypatch):
    folder = tmp_path / "exported"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(tape_file.read_bytes())
    (folder / "0.txt").write_text("of the model")
    for out in (folder / "0.txt", f"{folder}/"):
        assert bigfoot("transcribe", folder, calls / "0.wav", "--output", out, "--threads", 1, "--force")[0] == 1
    assert (folder / "0.txt").read_text() == "of the model"
    monkeypatch.chdir(folder)
    assert bigfoot("transcribe", ".", calls / "0.wav", "--threads", 1)[:2] == (0, "AB C\n")


def test_transcripts_by_hand_stay(bigfoot, tape_file, calls):
    given = ("transcribe", tape_file, calls, "--output", f"{calls}/", "--threads", 1)
    (calls / "0.txt").write_text("BY HAND")
    assert bigfoot(*given)[0] == 1 and (calls / "0.txt").read_text() == "BY HAND"
    assert not (calls / "deep" / "1.txt").exists()  # refused before anything is computed
    code, _, errors = bigfoot(*given, "--force")
    assert code == 0 and "0.txt" in errors and (calls / "0.txt").read_text() == "AB C\n"
    assert bigfoot(*given)[::2] == (0, "")  # its own ones are replaced
    (calls / "0.txt").write_text("CORRECTED")
    assert bigfoot(*given)[0] == 1 and (calls / "0.txt").read_text() == "CORRECTED"


def test_one_file_that_is_not_ours_stays(bigfoot, tape_file, calls, tmp_path):
    out = tmp_path / "all.txt"
    given = ("transcribe", tape_file, calls, "--output", out, "--threads", 1)
    out.write_text("notes")
    assert bigfoot(*given)[0] == 1 and out.read_text() == "notes"
    out.write_text("")
    assert bigfoot(*given)[0] == bigfoot(*given)[0] == 0 and len(out.read_text().splitlines()) == 2


def test_streams_are_written_as_they_are(bigfoot, tape_file, calls, tmp_path):
    import os
    import threading

    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    assert bigfoot("transcribe", tape_file, calls / "0.wav", "--output", tmp_path / "pipe", "--threads", 1)[0] == 0
    reader.join()
    assert read == ["AB C\n"]
    assert bigfoot("transcribe", tape_file, calls / "0.wav", "--output", "/dev/null", "--threads", 1)[0] == 0
