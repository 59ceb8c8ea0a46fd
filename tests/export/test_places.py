"""An export replaces exports alone, and never what it is made from."""

import os

import pytest

from bigfoot.errors import OutputError
from bigfoot.export.command import ExportRequest, run_export
from bigfoot.export.exported import is_exported
from bigfoot.export.targets import TARGETS
from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import MayReplace
from tests.refusals import refused

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


@pytest.fixture
def small(build_model, processor):
    return LoadedModel(build_model("base", num_hidden_layers=1), processor)


@pytest.mark.slow
@pytest.mark.parametrize("target", SUFFIXES)
def test_exports_know_themselves_without_an_inventory(target, small, tmp_path):
    if target == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / f"model{SUFFIXES[target]}"
    exported = TARGETS[target].build(small)
    exported.save(path)
    exported.save(path)
    made = {file.name for file in tmp_path.iterdir()}
    assert made == {path.name} | ({"model.bin"} if target == "openvino" else set())
    assert all(is_exported(file) for file in tmp_path.iterdir())
    for name in made:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"mine")
        if name != "model.bin":  # known by the file that it belongs to
            with pytest.raises(OutputError):
                exported.save(path)
            assert (tmp_path / name).read_bytes() == b"mine"
        (tmp_path / name).write_bytes(content)


def test_foreign_weights_beside_a_new_file_stay(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"mine")
    with refused(OutputError, "model.bin"):
        run_export(ExportRequest("tiny_teacher", tmp_path / "model.xml", to="openvino"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


def test_the_source_is_never_replaced(small, tmp_path):
    folder = tmp_path / "model"
    save_model(small.model, small.processor, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    os.link(folder / "model.safetensors", tmp_path / "hard.onnx")
    (tmp_path / "link.onnx").symlink_to(folder / "config.json")
    for out in (folder, folder / "model.safetensors", tmp_path / "link.onnx", tmp_path / "hard.onnx"):
        force = out.name != "hard.onnx"
        with pytest.raises(OutputError):
            run_export(ExportRequest(str(folder), out, may=MayReplace(force=force)))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_a_second_writer_is_refused_before_the_model_is_read(tmp_path):
    import subprocess
    import sys

    hold = "import sys, time; from bigfoot.storage.lock import locked\n"
    hold += "with locked(sys.argv[1]): print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", hold, tmp_path / "m.onnx"], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        with refused(OutputError, child.pid):
            run_export(ExportRequest("tiny_teacher", tmp_path / "m.onnx"))
    finally:
        child.kill()
        child.wait()
    with locked(tmp_path / "m.onnx"):
        pass
