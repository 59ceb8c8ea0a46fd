"""``bigfoot export``: what it writes, and what it says where it cannot."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bigfoot.export.command import ExportRequest
from bigfoot.install import install_hint
from tests.refusals import names


@pytest.mark.slow
def test_writes_what_passes(bigfoot, small_digits, tmp_path):
    manifest = small_digits.manifests["dev"]
    code, out, err = bigfoot("export", "tiny_teacher", tmp_path / "t.onnx", "--int8", "static", "--calibrate", manifest)
    assert code == 0 and "WER" in out and names(out, "4"), err
    assert 2_000_000 < (tmp_path / "t.onnx").stat().st_size < 3_500_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--to", "tflite"), "--to: 'tflite' is none of onnx, openvino, torch-export"),
        (("--int8", "static"), "--calibrate: --int8 static needs a minute or so of real audio"),
        (("--int8", "dynamic"), "--check: --int8 dynamic needs real audio"),
        (("--int8", "four"), "--int8: 'four' is none of static, dynamic"),
        (("--percentile", "3"), "--percentile: "),
    ],
)
def test_options_that_do_not_go_together(bigfoot, tmp_path, options, expected):
    code, _, err = bigfoot("export", "tiny_teacher", tmp_path / "x.onnx", *options)
    assert code == 2 and expected in err and not (tmp_path / "x.onnx").exists()


def test_a_missing_extra_is_named(bigfoot, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = bigfoot("export", "tiny_teacher", tmp_path / "x.onnx")
    assert code == 1 and install_hint("onnx") in err


@pytest.mark.parametrize(
    ("precision", "is_task", "options"),
    [("int8_static", False, {}), ("int8_static", True, {"check": "a"}), ("float32", True, {"int8": "dynamic"})],
)
def test_a_limit_of_wer_that_nothing_is_judged_by_is_named(precision, is_task, options):
    request = ExportRequest("m", Path("m.onnx"), max_wer_rise=0.01, **options)
    assert [problem.key for problem in request.find_unused(precision, is_task=is_task)] == ["--max-wer-rise"]
    judged = replace(request, check="a", int8="dynamic")
    assert not any(judged.find_unused("int8_dynamic")) and not any(judged.find_unused())
