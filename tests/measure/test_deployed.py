"""Exported files beside models: opened, run, counted, timed; and what is reported of files that are none."""

import io

import pytest
import torch
from rich.console import Console

from bigfoot.errors import ModelError
from bigfoot.export.onnx import build_onnx, save_onnx
from bigfoot.export.targets import TARGETS
from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.measure import benchmark
from bigfoot.measure.benchmark import measure_benchmark
from bigfoot.measure.benchmark_plan import BenchmarkPlan
from bigfoot.measure.peak import build_product
from bigfoot.measure.runtimes import open_runnable
from bigfoot.measure.size import PARTS, measure_size
from bigfoot.report.benchmark import render_benchmark
from tests.refusals import names, refused


@pytest.fixture(scope="module")
def places(build_model, processor, tmp_path_factory):
    root, model = tmp_path_factory.mktemp("deployed"), build_model("base", conv_groups=[1, 2, 2, 2, 2, 2, 2])
    save_model(model, processor, root / "model")
    save_onnx(build_onnx(LoadedModel(model, processor)).graph, root / "folder" / "model.onnx")
    return model, root


@pytest.mark.slow
def test_answers_as_the_model(places):
    model, root = places
    samples = torch.randn(2, 9000)
    for place in (root / "folder", root / "folder" / "model.onnx"):
        opened = open_runnable(str(place))
        assert opened.runtime == "onnxruntime" and opened.config.to_dict() == model.config.to_dict()
        with torch.no_grad():
            torch.testing.assert_close(opened.model(samples)[0], model(samples).logits, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_benchmark_beside_its_model(places, monkeypatch):
    model, root = places
    monkeypatch.setattr(benchmark, "measure_peak_memory", lambda *_, **__: 1)
    monkeypatch.setattr(benchmark, "find_peak_product", lambda _: build_product(32))
    sources = (str(root / "model"), str(root / "folder"))
    found = measure_benchmark(BenchmarkPlan(sources, seconds=(0.2,), rounds=1))
    own, deployed = found.models
    assert (own.runtime, deployed.runtime) == ("bigfoot", "onnxruntime")
    assert deployed.macs_per_second == own.macs_per_second == measure_size(model, None, 0.2).macs_per_second
    assert deployed.num_unique_params == own.num_unique_params
    assert deployed.size_bytes == (root / "folder" / "model.onnx").stat().st_size
    assert deployed.median_s > 0 and set(deployed.by_part) == set(own.by_part) == set(PARTS)
    assert all(part.median_s > 0 for part in deployed.by_part.values()) and not found.notes[:-1]
    assert "MatMul" in deployed.by_operator["conv"] and "Softmax" in deployed.by_operator["transformer"]
    shown = io.StringIO()
    for item in render_benchmark(found):
        Console(file=shown, width=160).print(item)
    assert "others" in shown.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "suffix"),
    [("openvino", ".xml"), pytest.param("torch-export", ".pt2", marks=pytest.mark.slow)],
)
def test_files_for_other_runtimes_beside_their_model(target, suffix, places, processor, tmp_path, monkeypatch):
    if target == "openvino":
        pytest.importorskip("openvino")
    model, root = places
    path = tmp_path / f"student{suffix}"
    TARGETS[target].build(LoadedModel(model, processor)).save(path)
    samples = torch.randn(2, 9000)
    opened = open_runnable(str(path))
    assert opened.runtime == target and opened.config.to_dict() == model.config.to_dict()
    with torch.no_grad():
        expected = model(samples).logits
    torch.testing.assert_close(opened.model(samples)[0][:, : expected.shape[1]], expected, atol=1e-4, rtol=0)
    monkeypatch.setattr(benchmark, "measure_peak_memory", lambda *_, **__: 1)
    monkeypatch.setattr(benchmark, "find_peak_product", lambda _: build_product(32))
    found = measure_benchmark(BenchmarkPlan((str(root / "model"), str(path)), seconds=(0.2,), rounds=1)).models[1]
    assert found.runtime == target and found.median_s > 0 and not found.by_part
    assert found.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with refused(ModelError, f"student{suffix}"):
        open_runnable(str(path))


@pytest.mark.slow
def test_a_file_that_names_no_parts_is_reported(places, tmp_path, monkeypatch):
    import onnx

    graph = onnx.load(places[1] / "folder" / "model.onnx")
    for node in graph.graph.node:
        node.name = node.name.partition("/")[2]
    onnx.save(graph, tmp_path / "old.onnx")
    monkeypatch.setattr(benchmark, "measure_peak_memory", lambda *_, **__: 1)
    monkeypatch.setattr(benchmark, "find_peak_product", lambda _: build_product(32))
    found = measure_benchmark(BenchmarkPlan((str(tmp_path / "old.onnx"),), seconds=(0.2,), rounds=1))
    assert not found.models[0].by_part and names(found.notes[0], "old.onnx")


def test_damaged_foreign_and_missing_files_are_refused_in_words(places, tmp_path):
    whole = (places[1] / "folder" / "model.onnx").read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "noise": b"\x00\x01 no graph", "empty": b""}.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with refused(ModelError, f"{name}.onnx"):
            open_runnable(str(path))
    with pytest.raises(ModelError):
        open_runnable(str(tmp_path / "none.onnx"))


def test_a_file_of_others_has_no_shape(places, tmp_path):
    import onnx

    graph = onnx.load(places[1] / "folder" / "model.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError):
        open_runnable(str(tmp_path / "foreign.onnx"))
