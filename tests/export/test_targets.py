"""OpenVINO and torch.export answer what PyTorch answers, pass the same gate, and say in words what they cannot."""

import sys

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from bigfoot.compress import quantize
from bigfoot.errors import ExportError, MissingExtraError, ModelError
from bigfoot.evaluation.torch_engine import TorchEngine
from bigfoot.export.gate import export_checked
from bigfoot.export.openvino import OpenVinoExport, build_openvino, write_ir
from bigfoot.export.parity import find_worst
from bigfoot.export.torch_export import build_torch_export
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.install import install_hint
from bigfoot.models.program import read_program
from bigfoot.runtime.openvino_engine import OpenVinoEngine, open_core
from bigfoot.runtime.transcriber import Transcriber
from tests.export.test_onnx import SHAPES, answers_of, make_waves
from tests.export.test_parity import digits  # noqa: F401 - a fixture
from tests.refusals import names, refused

BUILD = {"openvino": build_openvino, "torch-export": build_torch_export}
SAMPLES = (1600, 16_000, 7000, 90_001, 3200)
UNRECORDED = dict.fromkeys(("shared", "sew", "sew-d"), "a time reduction")
UNRECORDED |= dict.fromkeys(("wavlm", "wavlm-large", "pruned", "one-head"), "position bias")
UNRECORDED |= {"adapter": "behind the encoder"}
UNRECORDED |= dict.fromkeys(("conformer", "conformer-rotary", "w2v-bert"), "conformer layers")
RECORDED = {"hubert-batch-norm": ("grouped", "reused"), "data2vec": ("grouped-layer-norm",)}
"""Families with shapes that change a program's graph too: to record a program takes seconds."""
ALIKE = ("mms", "unispeech-sat")
FEW_CONVS = {"conv_dim": [8, 12], "conv_kernel": [10, 64], "conv_stride": [5, 64]}
"""Of families whose convolutions are recorded with another's."""


def compare(model, processor, target, name=""):
    if target == "torch-export" and name in UNRECORDED:
        with refused(ModelError, UNRECORDED[name], "--to"):
            build_torch_export(LoadedModel(model, processor))
        return
    run, waves = BUILD[target](LoadedModel(model, processor)).open(), make_waves(SAMPLES)
    expected = answers_of(model, waves)
    for rows in (range(len(waves)), [0], [1, 2], [3]):
        lengths = np.array([len(waves[row]) for row in rows])
        values = np.stack([np.pad(waves[row], (0, lengths.max() - len(waves[row]))) for row in rows])
        logits, frames = run(values, lengths)
        real = model.speech_encoder.feature_encoder.frame_lengths(torch.from_numpy(lengths))
        assert frames.tolist() == real.tolist()
        for row, answer, count in zip(rows, logits, frames, strict=True):
            np.testing.assert_allclose(answer[:count], expected[row], atol=1e-4)


@pytest.mark.slow
def test_openvino_answers_as_pytorch_in_every_family(family, build_model, processor):
    pytest.importorskip("openvino")
    compare(build_model(family, num_hidden_layers=1), processor, "openvino", family)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    ["hubert-batch-norm", "data2vec", "wavlm", "wavlm-large", "conformer", "w2v-bert", "sew",
     "sew-d", "mms", "unispeech-sat", "adapter"],
)  # fmt: skip
def test_a_program_answers_as_pytorch_in_families_that_change_it(family, build_model, processor):
    changes = dict(change for shape in RECORDED.get(family, ()) for change in SHAPES[shape][1].items())
    fewer = {"num_hidden_layers": 1} if "attention_reuse" not in changes else {}
    fewer |= FEW_CONVS if family in ALIKE else {}
    compare(build_model(family, **(changes | fewer)), processor, "torch-export", family)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["large-lv60", "group-stable", "layer-post"])
def test_openvino_answers_as_pytorch_in_every_structure(structure, build_model, processor):
    pytest.importorskip("openvino")
    compare(build_model(structure), processor, "openvino")


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_openvino_answers_as_pytorch_in_every_shape(shape, build_model, processor):
    pytest.importorskip("openvino")
    structure, changes = SHAPES[shape]
    compare(build_model(structure, **changes), processor, "openvino", shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape in UNRECORDED])
def test_a_program_is_refused_in_shapes_that_it_cannot_hold(shape, build_model, processor):
    structure, changes = SHAPES[shape]
    compare(build_model(structure, **changes), processor, "torch-export", shape)


@pytest.mark.slow
def test_openvino_passes_the_gate_and_a_fault_is_refused_and_named(digits, build_model, processor):  # noqa: F811
    pytest.importorskip("openvino")
    teacher = LoadedModel(build_model("base"), processor)
    exported, parity = export_checked(teacher, None, digits[:4], build=build_openvino)
    assert parity.max_difference < 1e-4 and parity.batch_difference < 1e-4 and parity.num_utterances == 4
    assert max(layer.error for layer in find_worst(teacher, exported, digits)) < 1e-5

    def build(loaded, plan, **options):
        return break_openvino(build_openvino(loaded, plan, **options))

    with refused(ExportError, "encoder.pos_conv_embed.conv"):
        export_checked(teacher, None, digits[:2], build=build)


def break_openvino(exported):
    """The same files from a graph whose positional convolution has a wrong sign."""
    kernel = max(exported.origin.graph.graph.initializer, key=lambda item: len(item.raw_data) * (len(item.dims) == 3))
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), kernel.name))
    return OpenVinoExport(exported.origin, *write_ir(exported.origin))


@pytest.mark.slow
def test_texts_by_openvino(bigfoot, small_digits, tmp_path):
    pytest.importorskip("openvino")
    path, manifest = tmp_path / "deep" / "teacher.xml", small_digits.manifests["dev"]
    code, out, err = bigfoot("export", "tiny_teacher", path, "--to", "openvino", "--check", manifest)
    assert code == 0 and names(out, "0", "4") and names(out, "10.6"), err
    from bigfoot.data.batches import read_utterances

    waves = [item.samples for item in read_utterances(manifest, 4, 16_000)] * 3
    expected = [result.text for result in Transcriber(TorchEngine(load_model("tiny_teacher"))).transcribe(waves)]
    for threads in (1, 2):
        assert [result.text for result in Transcriber(path, threads).transcribe(waves)] == expected
    assert Transcriber(path, 1).transcribe(waves[:1])[0].text == expected[0]


@pytest.mark.slow
def test_files_that_openvino_cannot_use(build_model, processor, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "model.xml"
    build_openvino(LoadedModel(build_model("base", num_hidden_layers=1), processor)).save(path)
    foreign = open_core().read_model(path)
    del foreign.rt_info["bigfoot"]
    openvino.save_model(foreign, tmp_path / "foreign.xml")
    with pytest.raises(ModelError):
        OpenVinoEngine(tmp_path / "foreign.xml", 1)
    path.write_bytes(path.read_bytes()[:3000])
    with refused(ModelError, "model.xml", "OpenVINO", "model.bin"):
        OpenVinoEngine(path, 1)
    path.with_suffix(".bin").unlink()
    with refused(ModelError, "model.bin"):
        Transcriber(path, 1)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with refused(MissingExtraError, install_hint('openvino')):
        Transcriber(path, 1)


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["unispeech"])
def test_a_program_passes_the_gate_and_keeps_its_metadata(
    structure, bigfoot, build_model, processor, small_digits, tmp_path
):
    path, manifest = tmp_path / "small.pt2", small_digits.manifests["dev"]
    save_model(build_model(structure, num_hidden_layers=1), processor, tmp_path / "small")
    options = ("--to", "torch-export", "--check", manifest, "--normalize")
    code, out, err = bigfoot("export", tmp_path / "small", path, *options)
    assert code == 0 and names(out, "0", "4"), err
    _, facts = read_program(path)
    assert facts["do_normalize"] == "inside" and facts["vocab"].startswith('["')
    path.write_bytes(b"no program")
    with refused(ModelError, "torch.export"):
        read_program(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("x.xml", "--to", "openvino", "--int8", "dynamic", "--check", "a.wav"), "--int8: openvino files are in fp32"),
        (("x.pt2", "--to", "torch-export", "--int8", "dynamic", "--check", "a.wav"), "--to onnx has int8"),
        (("x.onnx", "--to", "openvino"), "OUT: x.onnx should end in .xml for --to openvino"),
        (("x.onnx", "--to", "torch-export"), "should end in .pt2"),
    ],
)
def test_options_that_do_not_go_together(bigfoot, options, reason):
    code, _, err = bigfoot("export", "tiny_teacher", *options)
    assert code == 2 and reason in " ".join(err.split())


@pytest.mark.slow
def test_a_folder_in_dynamic_int8_goes_to_onnx_alone(bigfoot, build_model, processor, tmp_path):
    small, _ = quantize.apply(build_model(), quantize.Quantize("int8_dynamic"))
    save_model(small, processor, tmp_path / "small")
    code, _, err = bigfoot("export", tmp_path / "small", tmp_path / "x.xml", "--to", "openvino")
    assert code == 2 and names(" ".join(err.split()), "int8_dynamic", "fp32")


def test_a_missing_extra_is_named(bigfoot, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    code, _, err = bigfoot("export", "tiny_teacher", tmp_path / "x.xml", "--to", "openvino")
    assert code == 1 and install_hint("openvino") in err
