"""``--tune`` measures candidates, keeps what it measured, and writes the fastest that passes the gate."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bigfoot.compress.quantize import Int8Plan, calibrate
from bigfoot.data.batches import LoadedUtterance
from bigfoot.errors import ExportError, OutputError
from bigfoot.export import candidates
from bigfoot.export.audio import padded_audio
from bigfoot.export.candidates import FP32, find_slow_layers, list_candidates
from bigfoot.export.command import ExportRequest
from bigfoot.export.onnx import build_onnx
from bigfoot.export.tune import SECONDS, Speedup, TuningFile, export_fastest, order_candidates, time_candidates
from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.runtime.openvino_engine import OpenVinoEngine
from tests.codes import codes

PLANS = {FP32: Int8Plan(), "a": Int8Plan({"a": None}), "b": Int8Plan({"b": None}), "c": Int8Plan({"c": None})}
SPEEDUPS = {
    FP32: [Speedup(1.0, 1.0, 1.0, 1.0)] * 2,
    "a": [Speedup(1.0, 2.0, 1.5, 2.5), Speedup(4.0, 2.0, 1.0, 3.0)],
    "b": [Speedup(1.0, 3.0, 2.5, 3.5), Speedup(4.0, 2.0, 1.9, 3.0)],
    # Faster on the whole, and slower than fp32 at one length.
    "c": [Speedup(1.0, 9.0, 8.0, 9.9), Speedup(4.0, 1.0, 0.99, 1.1)],
}


@pytest.fixture(scope="module")
def narrow(build_model, processor):
    return LoadedModel(build_model("base", num_hidden_layers=1), processor)


@pytest.fixture(scope="module")
def plan(narrow):
    rng = np.random.default_rng(0)
    noise = [LoadedUtterance("", "", "", rng.standard_normal(9000).astype(np.float32))]
    return calibrate(narrow.model, padded_audio(noise, narrow.processor))


def test_never_slower_than_fp32():
    assert order_candidates(SPEEDUPS) == ["b", "a", FP32]
    assert order_candidates({FP32: SPEEDUPS[FP32]}) == [FP32]


@pytest.mark.parametrize("refused", [[], ["b"], ["a", "b"], ["a", "b", FP32]])
def test_the_fastest_that_passes_is_written(refused):
    tried, notes = [], []

    def export(plan):
        tried.append(next(name for name, each in PLANS.items() if each == plan))
        if tried[-1] in refused:
            raise ExportError("refused")
        return tried[-1], None

    order = ["b", "a", FP32]
    if FP32 in refused:
        with pytest.raises(ExportError):
            export_fastest(SPEEDUPS, PLANS, export, notes.append)
        return
    chosen, _ = export_fastest(SPEEDUPS, PLANS, export, notes.append)
    assert chosen == next(name for name in order if name not in refused)
    assert tried == order[: order.index(chosen) + 1] and len(notes) == 3 + len(tried)


def test_what_was_measured_is_read_again_for_the_same_machine_and_shape(narrow, build_model, processor, tmp_path):
    kept = TuningFile.beside(tmp_path / "m.onnx", narrow, "onnx", "runtime 1")
    assert kept.read() is None
    kept.write(SPEEDUPS)
    kept.write(SPEEDUPS)
    assert kept.read() == SPEEDUPS and kept.path.parent == tmp_path
    other = LoadedModel(build_model("base", num_hidden_layers=2), processor)
    for loaded, to, runtime in ((other, "onnx", "runtime 1"), (narrow, "sherpa", "runtime 1"), (narrow, "onnx", "2")):
        assert TuningFile.beside(tmp_path / "m.onnx", loaded, to, runtime).read() is None
    whole = json.loads(kept.path.read_text())
    for broken in ("", "[]", "{", json.dumps(whole | {"speedups": 3}), json.dumps(whole | {"speedups": {"a": [{}]}})):
        kept.path.write_text(broken)
        assert kept.read() is None
    kept.path.write_text("mine")
    with pytest.raises(OutputError):
        kept.write(SPEEDUPS)


@pytest.mark.slow
@pytest.mark.parametrize("int8", [("static", "dynamic"), ("static",)])
def test_all_candidates_are_timed(int8, narrow, plan, monkeypatch):
    slow = "encoder.layers.0.attention.q_proj"
    monkeypatch.setattr(candidates, "_is_slower", lambda exports, name, given: name == slow)
    plans = list_candidates(narrow, plan, int8, halves="dynamic" not in int8)
    names = {FP32, "int8 static"}
    names |= {"int8 dynamic", "int8 static, mixed"} if "dynamic" in int8 else {"bfloat16", "int8 static and bfloat16"}
    assert set(plans) == names and plans[FP32].is_exact and all(not plans[name].is_exact for name in names - {FP32})
    if "dynamic" in int8:
        # Its neighbours have its shape.
        mixed = set(plan.ranges) - set(plans["int8 static, mixed"].ranges)
        assert {layer.rsplit(".", 1)[1] for layer in mixed} == {"q_proj", "k_proj", "v_proj", "out_proj"}
        speedups = time_candidates(narrow, plans, build_onnx, rounds=1)
        assert set(speedups) == names and all([each.seconds for each in own] == [*SECONDS] for own in speedups.values())
        assert all(each.median == 1.0 for each in speedups[FP32])


@pytest.mark.slow
def test_a_layer_is_timed_by_itself(narrow, plan):
    assert set(find_slow_layers(narrow, plan)) <= set(plan.ranges)


@pytest.mark.slow
def test_bfloat16_in_openvino(narrow, tmp_path):
    """The file states it, and the runtime computes so; fp32 files stay exact."""
    openvino = pytest.importorskip("openvino")
    from bigfoot.export.openvino import build_openvino

    wave = np.random.default_rng(0).standard_normal((1, 16000)).astype(np.float32)
    found = {}
    for rest in ("float32", "bfloat16"):
        exported = build_openvino(narrow, Int8Plan(rest=rest))
        exported.save(tmp_path / f"{rest}.xml")
        engine = OpenVinoEngine(tmp_path / f"{rest}.xml", 1)
        found[rest] = engine.run(wave, np.array([16000])).logits
        assert exported.facts["precision"] == {"float32": "fp32"}.get(rest, rest)
    error = np.abs(found["float32"] - found["bfloat16"]).max()
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert 1e-5 < error < 0.1
    else:
        assert error < 1e-4


@pytest.mark.slow
def test_the_command(bigfoot, narrow, small_digits, tmp_path, monkeypatch):
    save_model(narrow.model, narrow.processor, tmp_path / "model")
    options = ("--tune", "--calibrate", small_digits.manifests["dev"])
    out = Path(tmp_path / "m.onnx")
    code, _, err = bigfoot("export", tmp_path / "model", out, *options)
    assert code == 0 and out.is_file() and (tmp_path / "m.onnx.tune.json").is_file(), err
    from bigfoot.export import command

    monkeypatch.setattr(command, "time_candidates", lambda *_: pytest.fail("measured again"))
    code, _, err = bigfoot("export", tmp_path / "model", out, *options)
    assert code == 0 and "m.onnx.tune.json" in err


def test_options_that_do_not_go_together():
    request = ExportRequest("m", Path("m.onnx"), tune=True)
    assert codes(request.find_problems()) == [("--calibrate", "missing")]
    whole = replace(request, calibrate=Path("a.wav"))
    assert codes(whole.find_problems()) == [] and codes(replace(whole, percentile=99.9).find_unused()) == []
    assert codes(replace(whole, int8="static").find_problems()) == [("--int8", "not_read")]
    assert ("--tune", "not_read") in codes(whole.find_problems("int8_static"))
    program = replace(whole, destination=Path("m.pt2"), to="torch-export")
    assert codes(program.find_problems()) == [("--tune", "no_int8")]
    assert codes(whole.find_task_problems()) == [("--tune", "no_task")]
