"""``bigfoot export``: what it writes, and what it says where it cannot."""

import sys

import pytest

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
