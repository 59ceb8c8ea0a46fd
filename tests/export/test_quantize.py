"""``bigfoot quantize``: what it writes and says, and the file that ``bigfoot export`` makes of it."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bigfoot.compress.quantize import Quantize, apply, calibrate, folder_plan
from bigfoot.errors import ExportError
from bigfoot.export.audio import padded_audio, read_speech
from bigfoot.export.command import LAYER_LIMIT
from bigfoot.export.gate import export_checked
from bigfoot.export.onnx import build_onnx
from bigfoot.export.parity import ParityLimits
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.measure.summary import render_summary, summarize_model
from bigfoot.report.push import write_upload
from tests.refusals import names, refused


@pytest.fixture(scope="module")
def static(small_digits, tmp_path_factory):
    """Folder of the tiny teacher in static int8, and the command's output."""
    from typer.testing import CliRunner

    from bigfoot.cli import app

    folder = tmp_path_factory.mktemp("static") / "model"
    options = ["--precision", "int8_static", "--calibrate", str(small_digits.manifests["dev"])]
    done = CliRunner().invoke(app, ["quantize", "tiny_teacher", str(folder), *options, "--keep-fp32", "*.v_proj"])
    assert done.exit_code == 0, done.output
    return folder, done.output


def constants(graph):
    return [numpy_helper.to_array(item) for item in graph.graph.initializer]


@pytest.mark.slow
def test_the_command_says_what_it_did(static):
    folder, note = static
    assert names(note, "int8_static", "2.7", "27", "10.1", "WER") and names(note, "4")
    assert names(note, "68", "int8", "fp32", "encoder.layers.0.attention.v_proj")
    loaded = load_model(folder)
    assert loaded.history[-1]["step"] == "quantize" and loaded.history[-1]["precision"] == "int8_static"
    summary = summarize_model(loaded)
    assert (summary.precision, summary.size_bytes) == ("int8_static", (folder / "model.safetensors").stat().st_size)
    assert names(render_summary(summary)[-1], "2.7", "int8_static")


@pytest.mark.slow
def test_its_file_holds_what_the_folder_holds(static, small_digits, bigfoot, tmp_path):
    """The same integers, ranges and kept layers as without the way through the disk, and no calibrating again."""
    folder, _ = static
    code, _, err = bigfoot("export", folder, tmp_path / "s.onnx")
    assert code == 0 and names(err, "68"), err
    teacher = load_model("tiny_teacher")
    speech = read_speech(small_digits.manifests["dev"], teacher.processor)
    plan = calibrate(teacher.model, padded_audio(speech, teacher.processor))
    plan = plan.without([name for name in plan.ranges if name.endswith("v_proj")])
    assert folder_plan(load_model(folder).model) == plan
    direct = build_onnx(teacher, plan).graph
    written = onnx.load(tmp_path / "s.onnx")
    pairs = zip(constants(written), constants(direct), strict=True)
    unlike = [(one, other) for one, other in pairs if not np.array_equal(one, other)]
    # Layers kept in fp32 have rounded weights in the folder, unrounded ones in the teacher; nothing else differs.
    assert len(unlike) == 12 and all(one.dtype == np.float32 for one, _ in unlike)
    facts = {item.key: item.value for item in written.metadata_props}
    assert (facts["precision"], facts["batch_invariant"]) == ("int8_static", "true")


@pytest.mark.slow
def test_texts_are_compared_where_there_is_audio(static, small_digits, bigfoot, tmp_path):
    options = ("--check", small_digits.manifests["dev"], "--int8", "static")
    code, out, err = bigfoot("export", static[0], tmp_path / "s.onnx", *options)
    assert code == 0 and "WER" in out and names(out, "4"), err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--int8", "dynamic"), "--int8: dynamic contradicts"),
        (("--calibrate", "x"), "is int8_static and is not calibrated again"),
        (("--percentile", "99"), "has its ranges already"),
    ],
)
def test_what_contradicts_the_folder(static, bigfoot, tmp_path, options, expected):
    code, _, err = bigfoot("export", static[0], tmp_path / "x.onnx", *options)
    assert code == 2 and expected in err and "--precision float32" in err and not (tmp_path / "x.onnx").exists()


@pytest.mark.slow
def test_a_wrong_scale_is_found_without_audio(build_model, processor, monkeypatch):
    loaded = LoadedModel(apply(build_model(), Quantize("int8_dynamic"))[0], processor)
    noise = read_speech(None, processor)[:1]
    limits = ParityLimits(layers=LAYER_LIMIT, texts=False)
    export_checked(loaded, folder_plan(loaded.model), noise, limits=limits)
    from bigfoot.export import writer

    original = writer.quantize_weight

    def planted(weight, axis=0):
        integers, scales = original(weight, axis)
        return integers, scales * (1.5 if tuple(weight.shape) == (40, 24) else 1.0)

    monkeypatch.setattr(writer, "quantize_weight", planted)
    with refused(ExportError, "output_dense", "0.10%"):
        export_checked(loaded, folder_plan(loaded.model), noise, limits=replace(limits))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--precision", "int4"), "--precision: 'int4' is none of float32, float16, bfloat16, int8, int8_dynamic"),
        (("--precision", "int8_static"), "--calibrate: int8_static needs a minute or so of real audio"),
        (("--precision", "int8", "--calibrate", "a"), "--calibrate: only int8_static has ranges"),
        (("--precision", "int8", "--percentile", "99"), "--percentile: only int8_static"),
        (("--precision", "int8", "--keep-fp32", "layer.0"), "keep_fp32: no layer is called 'layer.0'"),
        (("--precision", "int8_static", "--calibrate", "a", "--percentile", "4"), "--percentile: must be above 50"),
    ],
)
def test_options_that_do_not_go_together(bigfoot, tmp_path, options, expected):
    code, _, err = bigfoot("quantize", "tiny_teacher", tmp_path / "x", *options)
    assert code == 2 and expected in err and not (tmp_path / "x").exists()


@pytest.mark.slow
def test_there_and_back(bigfoot, tmp_path):
    code, out, _ = bigfoot("quantize", "tiny_teacher", tmp_path / "half", "--precision", "float16")
    assert code == 0 and names(out, "5.1", "51", "10.1", "--check")
    code, out, _ = bigfoot("quantize", tmp_path / "half", tmp_path / "whole", "--precision", "float32")
    assert code == 0 and names(out, "10.1", "198", "5.1")
    assert load_model(tmp_path / "whole").model.config.precision == "float32"


@pytest.mark.slow
def test_an_upload_stays_small(build_model, processor, tmp_path):
    save_model(apply(build_model(), Quantize("float16"))[0], processor, tmp_path / "model")
    write_upload(load_model(tmp_path / "model"), "me/small", tmp_path / "upload")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("model", "upload")]
    assert sizes[0] == sizes[1]
    card = (tmp_path / "upload" / "README.md").read_text()
    assert names(card, "float16", "fp32") and "trust_remote_code=True" in card
