import json

import numpy as np
import pytest
import soundfile

from bigfoot.compress import ConvGroups, Depth, compress
from bigfoot.formats.folder import load_model, save_model
from bigfoot.formats.registry import find_format
from bigfoot.models.reshape import with_decoder
from bigfoot.report.rows import Report, Row
from bigfoot.report.writer import save_report
from tests.refusals import names

COMMANDS = (
    "compress", "evaluate", "summary", "benchmark", "compare", "transcribe", "generate", "embed", "convert", "doctor",
    "push", "quantize", "export", "configs", "train-task", "classify", "describe", "train-text", "ask",
    "align", "tune", "data", "shrink",
)  # fmt: skip


@pytest.mark.slow
def test_help_names_every_command(bigfoot):
    code, output, _ = bigfoot("--help")
    assert code == 0 and all(command in output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, bigfoot):
    code, output, _ = bigfoot(command, "--help")
    assert code == 0 and "Usage: " in output and f" {command} " in output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("summary", "/nowhere"), 1, "error: no model folder at /nowhere"),
        (("transcribe", "/nowhere", "a.wav"), 1, "error: no model folder at /nowhere"),
        (("transcribe", "tiny_teacher", "a.wav", "--hotword", "A-1", "--hotword", "OK"), 2, "'A-1' needs '-', '1'"),
        (("transcribe", "tiny_teacher", "a.wav", "--hotwords", "/nowhere.txt"), 2, "--hotword: /nowhere.txt: "),
        (("transcribe", "tiny_teacher", "a.wav", "--hotword", "A", "--hotword-bonus", "nan"), 2, "--hotword-bonus: "),
        (("convert", "/nowhere", "/tmp/x"), 1, "error: no model folder at /nowhere"),
        (("evaluate", "/nowhere"), 1, "error: no model folder at /nowhere"),
        (("evaluate", "/nowhere", "--split", "train"), 2, "--split: 'train' is neither dev nor test"),
        (("evaluate", "/nowhere", "data.corpos=x"), 2, "did you mean data.corpus?"),
        (("convert", "/nowhere", "/tmp/x", "--to", "onnxx"), 2, "--to: 'onnxx' is none of bigfoot, huggingface"),
        (("convert", "/nowhere", "/tmp/x", "--to", "torchaudio", "--with-code"), 2, "it is for --to bigfoot"),
        (("convert", "tiny_teacher", "/tmp/x", "--dictionary", "d.txt"), 1, "has its own vocabulary"),
        (("push", "/nowhere", "me/x"), 1, "error: no model folder at /nowhere"),
        (("push", "tiny_teacher", "me/x/y", "--dry-run", "/tmp/x"), 1, "cannot be the name of a repository"),
        (("summary", "torchaudio:NOTHING"), 1, "error: "),
        (("compare", "/nowhere"), 1, "/nowhere"),
        (("compress", "--until", "distil"), 2, "--until: 'distil' is none of data, teacher, student, prune, gates,"),
        (("compress", "--config", "demo.yaml"), 2, "no file demo.yaml, nor is it under configs/ (there: "),
        (("comprss",), 2, "comprss"),
        (("benchmark", "tiny_teacher", "/nowhere"), 1, "error: no model folder at /nowhere"),
        (("benchmark", "tiny_teacher", "--threads", "1,x"), 2, "--threads: 'x' in '1,x' should be a whole number"),
        (("benchmark", "tiny_teacher", "--seconds", "0.001"), 2, "less than the 400 that make a frame of tiny_teacher"),
        (("benchmark",), 2, "Missing argument"),
        (("summary",), 2, "Missing argument"),
    ],
)  # fmt: skip
def test_errors_come_in_words(arguments, code, words, bigfoot):
    found, _, errors = bigfoot(*arguments)
    assert found == code and words in errors


def test_streams_that_the_caller_closed(monkeypatch, tmp_path, launch):
    """As by ``>&- 2>&-``: the work is done, and no file that is opened gets their numbers."""
    code = "import os; [os.close(n) for n in (0, 1, 2)]; import sys; sys.stdin = sys.stdout = sys.stderr = None"
    program = tmp_path / "program.py"
    program.write_text(
        f"{code}\nfrom bigfoot.cli import main\ntry:\n    main(['configs'])\nfinally:\n"
        f"    opened = os.open({str(program)!r}, os.O_RDONLY)\n"
        f"    open({str(tmp_path / 'number')!r}, 'w').write(str(opened))\n"
    )
    assert launch.run(program).returncode == 0
    assert int((tmp_path / "number").read_text()) > 2


@pytest.mark.slow
def test_a_file_in_the_place_of_the_run_folder(bigfoot, small_run, tmp_path):
    (tmp_path / "run").write_text("mine")
    code, _, errors = bigfoot("compress", "--config", "demo_config.yaml", *small_run(tmp_path / "run"))
    assert code == 1 and errors.startswith("error: ") and str(tmp_path / "run") in errors


@pytest.mark.slow
def test_evaluate(bigfoot, narrow_teacher, small_run, tmp_path):
    settings = [*small_run(tmp_path), "--run-dir", tmp_path / "evaluate"]
    code, output, _ = bigfoot("evaluate", narrow_teacher, *settings)
    assert code == 0 and output.startswith("WER ") and names(output, "6")
    assert names(output, "utterances")
    code, output, _ = bigfoot("evaluate", narrow_teacher, *settings, "--split", "dev", "--json")
    facts = json.loads(output)
    assert code == 0 and facts["num_utterances"] == 4 and facts["words"]["substitutions"] >= 0


@pytest.mark.slow
def test_evaluate_by_a_decoder_too(bigfoot, build_model, processor, small_run, tmp_path):
    model = with_decoder(build_model("base"), {"hidden_size": 16, "num_layers": 1, "num_heads": 2}, seed=1)
    save_model(model, processor, tmp_path / "model")
    settings = [*small_run(tmp_path), "--run-dir", tmp_path, "evaluate.autoregressive.max_tokens=3"]
    code, output, _ = bigfoot("evaluate", tmp_path / "model", *settings)
    assert code == 0 and "greedy)" in output and names(output.splitlines()[2], "MiniGPT")
    code, output, _ = bigfoot("evaluate", tmp_path / "model", *settings, "--json")
    facts = json.loads(output)
    assert code == 0 and facts["num_words"] == facts["by_decoder"]["num_words"] > 0


@pytest.mark.slow
def test_evaluate_a_model_without_a_head(bigfoot, other_teachers, small_run, tmp_path):
    code, _, errors = bigfoot("evaluate", other_teachers["headless"], *small_run(tmp_path), "--run-dir", tmp_path)
    assert code == 1 and names(errors, "CTC")


@pytest.mark.slow
def test_summary(bigfoot, narrow_teacher):
    code, output, _ = bigfoot("summary", narrow_teacher)
    assert code == 0 and "transformer" in output
    code, output, _ = bigfoot("summary", narrow_teacher, "--json")
    assert code == 0 and str(load_model(narrow_teacher).model.num_parameters()) in json.dumps(json.loads(output))


@pytest.fixture
def quick_benchmark(monkeypatch):
    monkeypatch.setattr("bigfoot.measure.benchmark.measure_peak_memory", lambda *_, **__: 123_456_789)
    return ("--seconds", "0.1", "--rounds", "1")


@pytest.mark.slow
def test_benchmark(bigfoot, quick_benchmark, narrow_teacher, tmp_path):
    models = (narrow_teacher, f"transformers:{narrow_teacher}")
    code, output, errors = bigfoot("benchmark", *models, *quick_benchmark, "--out", tmp_path / "there" / "b.json")
    assert code == 0 and not errors and names(output, "1", "0.1") and "positional_conv" in output
    written = json.loads((tmp_path / "there" / "b.json").read_text())
    assert [model["runtime"] for model in written["models"]] == ["bigfoot", "transformers"]
    assert all(model["name"] in output for model in written["models"])


@pytest.mark.slow
def test_benchmark_as_json(bigfoot, quick_benchmark, narrow_teacher, monkeypatch):
    monkeypatch.setattr("bigfoot.measure.benchmark_plan.count_all_threads", lambda: 1)
    code, output, errors = bigfoot("benchmark", narrow_teacher, *quick_benchmark, "--threads", "1,2", "--json")
    found = json.loads(output)
    assert code == 0 and [model["threads"] for model in found["models"]] == [1, 2]
    assert found["models"][0]["peak_memory_bytes"] == 123_456_789
    assert errors.startswith("warning: 2 threads") and found["notes"][0] in errors


@pytest.fixture
def small_student(narrow_teacher, tmp_path):
    """Run folder of a student with grouped convolutions, and a report."""
    made = compress(narrow_teacher, [Depth(2), ConvGroups(2, init="permute")])
    save_model(made.model, made.processor, tmp_path / "run" / "student_init" / "model", made.history)
    rows = [Row(name, name, "test", wer=0.1, num_words=9, size_bytes=9) for name in ("teacher", "student_init")]
    save_report(Report("run", rows), tmp_path / "run" / "report")
    return tmp_path / "run"


@pytest.mark.slow
def test_compare(bigfoot, small_student, tmp_path):
    save_report(Report("other", [Row("student_init", "student", "test", wer=0.2)]), tmp_path / "other" / "report")
    code, output, _ = bigfoot("compare", small_student, tmp_path / "other", "--out", tmp_path / "compare")
    assert code == 0 and output.count("student_init") >= 2
    made = {path.name for path in (tmp_path / "compare").iterdir()}
    assert {f"compare.{kind}" for kind in ("md", "csv", "json", "html", "png")} <= made


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "stereo.wav", rng.normal(0, 0.1, (44_100, 2)), 44_100)
    soundfile.write(tmp_path / "phone.flac", rng.normal(0, 0.1, 8_000), 8_000)
    (tmp_path / "broken.wav").write_bytes(b"RIFF, but no more")
    return tmp_path


def test_transcribe_any_rate_and_channel_count(bigfoot, narrow_teacher, recordings):
    code, output, _ = bigfoot("transcribe", narrow_teacher, recordings / "stereo.wav", recordings / "phone.flac")
    names = [line.split("\t")[0].rpartition("/")[2] for line in output.splitlines()]
    assert (code, names) == (0, ["stereo.wav", "phone.flac"])
    code, alone, _ = bigfoot("transcribe", narrow_teacher, recordings / "phone.flac")
    assert alone.strip() == output.splitlines()[1].split("\t")[1].strip()


def test_a_broken_file_costs_that_file(bigfoot, narrow_teacher, recordings):
    files = [recordings / name for name in ("stereo.wav", "broken.wav", "missing.wav", "phone.flac")]
    code, output, errors = bigfoot("transcribe", narrow_teacher, *files)
    assert code == 1 and len(output.splitlines()) == 2 and "phone.flac" in output
    assert len(errors.splitlines()) == 2 and "broken.wav: " in errors and "missing.wav: " in errors


@pytest.mark.slow
@pytest.mark.parametrize("to", ["bigfoot", "huggingface", "torchaudio"])
def test_convert_and_back(to, bigfoot, narrow_teacher, tmp_path):
    import torch

    code, output, errors = bigfoot("convert", narrow_teacher, tmp_path / "there", "--to", to)
    assert code == 0 and names(output, to)
    assert bool(errors) == (to != "bigfoot")
    back = "huggingface" if to == "bigfoot" else "bigfoot"
    assert bigfoot("convert", tmp_path / "there", tmp_path / "back", "--to", back)[0] == 0
    given = load_model(narrow_teacher).model.state_dict()
    for folder in ("there", "back"):
        loaded = load_model(tmp_path / folder)
        assert loaded.processor.tokenizer is not None
        found = loaded.model.state_dict()
        assert all(torch.equal(given[name], tensor) for name, tensor in found.items())
        left_out = {"wav2vec2.masked_spec_embed"} if to == "torchaudio" else set()
        assert set(given) - set(found) == left_out
    formats = [find_format(tmp_path / name).name for name in ("there", "back")]
    assert formats == [to, back]


def test_convert_without_vocabulary_warns(bigfoot, other_teachers, tmp_path):
    code, _, errors = bigfoot("convert", other_teachers["mute"], tmp_path / "there")
    assert code == 0 and len([line for line in errors.splitlines() if line.startswith("note: ")]) == 1


@pytest.mark.slow
def test_convert_says_what_a_format_cannot_express(bigfoot, small_student, tmp_path):
    student = small_student / "student_init" / "model"
    code, _, errors = bigfoot("convert", student, tmp_path / "x", "--to", "huggingface")
    assert code == 1 and errors.startswith(("error: ", "note: ")) and not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_grouped_student_converts_when_written_out_in_full(bigfoot, small_student, tmp_path):
    student = small_student / "student_init" / "model"
    code, _, _ = bigfoot("convert", student, tmp_path / "x", "--to", "huggingface", "--densify")
    assert code == 0
    assert load_model(tmp_path / "x").model.config.groups_of_convs == [1] * 7


@pytest.mark.slow
def test_commands_take_a_file_as_it_is(bigfoot, narrow_teacher, recordings, tmp_path):
    assert bigfoot("convert", narrow_teacher, tmp_path / "there", "--to", "torchaudio")[0] == 0
    file = tmp_path / "there" / "model.pt"
    _, expected, _ = bigfoot("transcribe", narrow_teacher, recordings / "phone.flac")
    code, output, _ = bigfoot("transcribe", file, recordings / "phone.flac")
    assert code == 0 and output == expected
    code, output, _ = bigfoot("summary", file, "--json")
    assert code == 0 and str(load_model(narrow_teacher).model.num_parameters() - 24) in output  # less one mask vector


@pytest.mark.slow
def test_compress_takes_a_file_as_its_teacher(bigfoot, narrow_teacher, small_run, tmp_path):
    assert bigfoot("convert", narrow_teacher, tmp_path / "there", "--to", "torchaudio")[0] == 0
    file, run = tmp_path / "there" / "model.pt", tmp_path / "run"
    code, _, _ = bigfoot("compress", *small_run(run, f"teacher.path={file}", "steps=[student]"), "--until", "student")
    assert code == 0
    assert load_model(run / "student" / "model").model.config.num_hidden_layers == 2
    made = (run / "student" / "model" / "model.safetensors").stat().st_mtime_ns
    bigfoot("compress", *small_run(run, f"teacher.path={file}", "steps=[student]"), "--until", "student")
    assert (run / "student" / "model" / "model.safetensors").stat().st_mtime_ns == made


@pytest.mark.slow
def test_push_shows_what_it_would_upload(bigfoot, small_student, tmp_path):
    model = small_student / "student_init" / "model"
    code, output, _ = bigfoot("push", model, "me/digits", "--dry-run", tmp_path / "up", "--license", "apache-2.0")
    assert code == 0 and names(output, "me/digits")
    card = (tmp_path / "up" / "README.md").read_text()
    assert names(card, "apache-2.0") and "| student_init |" in card
    assert (tmp_path / "up" / "bigfoot_models_ctc.py").exists()


def test_convert_does_not_replace_a_file(bigfoot, narrow_teacher, tmp_path):
    (tmp_path / "mine").write_text("mine")
    code, _, errors = bigfoot("convert", narrow_teacher, tmp_path / "mine")
    assert code == 1 and names(errors, tmp_path / "mine") and (tmp_path / "mine").read_text() == "mine"
