"""Quantizing as a step: the last, its row beside the others', and what is refused."""

import json
import sys

import pytest

from bigfoot.compress.quantize import Quantize, apply
from bigfoot.formats.folder import load_model, save_model
from bigfoot.install import install_hint
from bigfoot.pipeline import run_pipeline
from tests.codes import codes
from tests.pipeline.problems import problems_of
from tests.refusals import names

QUICK = ("steps=[student,quantize]", "evaluate.speed_rounds=1", "quantize.seconds=4")


def read_rows(folder):
    report = json.loads((folder / "report" / "report.json").read_text())
    return {row["name"]: row for row in report["rows"]}, report["notes"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_its_row_stands_beside_the_others(small_config, tmp_path):
    folder = tmp_path / "run"
    run_pipeline(small_config(folder, *QUICK, "quantize.keep_fp32=[encoder.layers.0]"))
    rows, notes = read_rows(folder)
    assert list(rows) == ["teacher", "student_init", "quantize"]
    student, small = rows["student_init"], rows["quantize"]
    assert small["size_bytes"] == (folder / "quantize" / "model" / "model.safetensors").stat().st_size
    assert small["size_bytes"] < student["size_bytes"] and small["macs_per_second"] == student["macs_per_second"]
    assert small["wer"] is not None and small["batch_invariant"] and small["batch_invariance_max_difference"] == 0
    assert small["protocol"].startswith("int8_static weights, not trained")
    assert small["speedup"] > 0 and small["real_time_factor"] > 0
    assert any(names(note, "quantize", "ONNX Runtime") for note in notes)
    loaded = load_model(folder / "quantize" / "model")
    assert loaded.history[-1]["precision"] == "int8_static" and loaded.model.config.small.keeps("encoder.layers.0.x")
    # Found again, and made anew where its own settings change, and nothing else is.
    files = [folder / name / "model" / "model.safetensors" for name in ("student", "quantize")]
    before = [file.stat().st_mtime_ns for file in files]
    run_pipeline(small_config(folder, *QUICK, "quantize.keep_fp32=[encoder.layers.0]"), until="quantize")
    assert [file.stat().st_mtime_ns for file in files] == before
    run_pipeline(small_config(folder, *QUICK, "quantize.precision=float16"), until="quantize")
    after = [file.stat().st_mtime_ns for file in files]
    assert after[0] == before[0] and after[1] > before[1]
    assert load_model(folder / "quantize" / "model").model.config.precision == "float16"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_without_the_extra_there_is_no_speed_and_a_note(small_config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    run_pipeline(small_config(tmp_path / "run", *QUICK, "quantize.precision=int8_dynamic"))
    rows, notes = read_rows(tmp_path / "run")
    small = rows["quantize"]
    assert small["speedup"] is None and small["real_time_factor"] is None and small["peak_memory_bytes"] is None
    assert small["wer"] is not None and rows["student_init"]["speedup"] > 0
    assert any("quantize: no speed" in note and install_hint("onnx") in note for note in notes)
    assert "| quantize |" in (tmp_path / "run" / "report" / "report.md").read_text()


WRONG = [
    (("steps=[student,quantize,finetune]",), ("steps", "bad_order")),
    (("quantize.precision=int4",), ("quantize.precision", "unknown_word")),
    (("quantize.percentile=20",), ("quantize.percentile", "out_of_range")),
    (("quantize.percentile=99", "quantize.precision=int8"), ("quantize.percentile", "not_read")),
    (("quantize.seconds=0",), ("quantize.seconds", "out_of_range")),
    (("quantize.keep_fp32=[encoder.layers.7]",), ("quantize.keep_fp32", "no_such_layer")),
]


@pytest.mark.parametrize(("overrides", "expected"), WRONG)
def test_what_cannot_be_is_found_first(small_run, tmp_path, overrides, expected):
    found = codes(problems_of(small_run(tmp_path / "run", *QUICK, *overrides)))
    assert expected in found and {key for key, _ in found} == {expected[0]}


@pytest.mark.slow
def test_a_quantized_model_is_no_source_of_a_student(small_run, narrow_teacher, tmp_path):
    loaded = load_model(narrow_teacher)
    save_model(apply(loaded.model, Quantize("int8"))[0], loaded.processor, tmp_path / "small")
    for steps, count in (("[student,distill]", 1), ("[finetune]", 1), ("[quantize]", 0)):
        settings = (f"teacher.path={tmp_path / 'small'}", f"steps={steps}")
        assert codes(problems_of(small_run(tmp_path / "run", *settings))) == [("teacher.path", "quantized")] * count
    # As a teacher it may stand, where the student is cut out of another.
    both = (f"teacher.path={tmp_path / 'small'}", f"student.path={narrow_teacher}")
    assert problems_of(small_run(tmp_path / "run", *both, "steps=[student,distill]")) == []
