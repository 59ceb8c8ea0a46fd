"""Quantization-aware training as a step: its row, what it writes, and what is refused before anything runs."""

import json

import pytest

from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from tests.codes import codes
from tests.pipeline.problems import problems_of

QUICK = (
    "steps=[student,qat]", "evaluate.speed_rounds=1", "qat.seconds=2", "qat.max_steps=2", "qat.eval_every=2",
    "qat.group_size=16", "qat.keep_int8=['*']",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("quick_report")
def test_its_row_stands_beside_the_others(small_config, tmp_path):
    folder = tmp_path / "run"
    settings = ("teacher.path=tiny_teacher", "qat.keep_int8=[]", "qat.bits=[2,4,8]", "qat.max_size=1MB")
    run_pipeline(small_config(folder, *QUICK, *settings))
    rows = {row["name"]: row for row in json.loads((folder / "report" / "report.json").read_text())["rows"]}
    assert list(rows) == ["teacher", "student_init", "qat"]
    small, file = rows["qat"], folder / "qat" / "model" / "model.safetensors"
    assert small["size_bytes"] == file.stat().st_size <= 1_000_000 < rows["student_init"]["size_bytes"]
    assert small["wer"] is not None and small["batch_invariant"] and small["speedup"] > 0
    loaded = load_model(folder / "qat" / "model")
    assert loaded.model.config.precision == "packed" and loaded.history[-1]["step"] == "qat"
    before = file.stat().st_mtime_ns
    run_pipeline(small_config(folder, *QUICK, *settings), until="qat")
    assert file.stat().st_mtime_ns == before


@pytest.mark.slow
def test_int8_with_learned_ranges_taught_by_the_teacher(small_config, tmp_path):
    folder = tmp_path / "run"
    settings = ("qat.precision=int8_static", "qat.teacher=teacher", "qat.keep_fp32=[encoder.layers.0]")
    run_pipeline(small_config(folder, *QUICK, *settings), until="qat")
    small = load_model(folder / "qat" / "model").model.config.small
    assert small.precision == "int8_static" and small.keeps("encoder.layers.0.x") and small.ranges


WRONG = [
    (("steps=[student,qat,finetune]",), ("steps", "bad_order")),
    (("qat.bits=[3]",), ("qat.bits", "unknown_word")),
    (("qat.bits=[2,4]",), ("qat.max_size", "missing")),
    (("qat.max_size=little",), ("qat.max_size", "no_size")),
    (("qat.max_size=1kB",), ("qat.max_size", "too_small")),
    (("qat.keep_int8=[]",), ("qat.group_size", "indivisible")),
    (("qat.keep_int8=[encoder.layers.9]",), ("qat.keep_int8", "no_such_layer")),
    (("qat.precision=int8_static", "qat.keep_fp32=[x]"), ("qat.keep_fp32", "no_such_layer")),
    (("qat.precision=int8_static", "qat.max_size=1MB"), ("qat.max_size", "not_read")),
    (("qat.precision=int8_static", "qat.percentile=7"), ("qat.percentile", "out_of_range")),
    (("qat.percentile=99",), ("qat.percentile", "not_read")),
    (("qat.ema_decay=0.9",), ("qat.ema_decay", "not_read")),
    (("qat.losses.logit_kl.weight=0",), ("qat.losses", "no_loss")),
    (("shard=true",), ("shard", "needs_whole_weights")),
    (
        ("qat.precision=int8_static", "student.streaming.chunk=320ms", "student.streaming.left=1"),
        ("qat.precision", "streaming"),
    ),
]


@pytest.mark.parametrize(("overrides", "expected"), WRONG)
def test_what_cannot_be_is_found_first(small_run, tmp_path, overrides, expected):
    found = codes(problems_of(small_run(tmp_path / "run", *QUICK, *overrides)))
    assert expected in found and {key for key, _ in found} == {expected[0]}
