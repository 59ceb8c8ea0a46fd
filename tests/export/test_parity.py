"""The gate lets pass what answers alike, and refuses and names what does not."""

import numpy as np
import pytest
from onnx import numpy_helper

from bigfoot.compress.quantize import calibrate, dynamic_plan
from bigfoot.data.batches import LoadedUtterance
from bigfoot.data.synthetic import synthesize_string
from bigfoot.errors import DataError, ExportError
from bigfoot.export.audio import padded_audio, read_speech
from bigfoot.export.gate import export_checked
from bigfoot.export.onnx import build_onnx
from bigfoot.export.parity import ParityLimits, find_worst, measure_parity
from bigfoot.formats.folder import load_model


@pytest.fixture(scope="module")
def teacher():
    return load_model("tiny_teacher")


@pytest.fixture(scope="module")
def digits():
    strings = [synthesize_string(0, "test", index, 1, 4) for index in range(10)]
    return [LoadedUtterance(f"{i}", f"{i}", item.text, item.samples) for i, item in enumerate(strings)]


@pytest.fixture(scope="module")
def static_plan(teacher, digits):
    return calibrate(teacher.model, padded_audio(digits[:4], teacher.processor))


def break_scale(exported, layer, factor):
    """Make the scale of one layer's weight wrong, as a bug in a converter would."""
    output = exported.layers[layer][1][0]
    node = next(node for node in exported.graph.graph.node if output in node.output)
    constant = next(item for item in exported.graph.graph.initializer if item.name == node.input[3])
    broken = numpy_helper.to_array(constant) * np.float32(factor)
    constant.CopyFrom(numpy_helper.from_array(broken, constant.name))


def test_fp32_passes(teacher, digits):
    exported, parity = export_checked(teacher, None, digits[:4])
    assert not parity.problems and parity.max_difference < 1e-4 and parity.batch_difference < 1e-4
    assert max(layer.error for layer in find_worst(teacher, exported, digits)) < 1e-5


def test_static_int8_hears_the_same(teacher, digits, static_plan):
    _, parity = export_checked(teacher, static_plan, digits)
    assert parity.texts_changed <= 1 and parity.batch_texts_changed == 0
    assert parity.max_difference > 1e-3, "it is not int8 that was measured"


def test_dynamic_int8_hears_the_same_one_by_one(teacher, digits):
    exported, parity = export_checked(teacher, dynamic_plan(teacher.model), digits)
    assert parity.texts_changed <= 1 and parity.batch_difference is None
    facts = {fact.key: fact.value for fact in exported.graph.metadata_props}
    assert (facts["precision"], facts["batch_invariant"]) == ("int8_dynamic", "per_utterance")


def test_a_wrong_scale_is_refused_and_named(teacher, digits, static_plan):
    faulty = "encoder.layers.3.feed_forward.output_dense"

    def build(loaded, plan, **options):
        exported = build_onnx(loaded, plan, **options)
        if faulty in plan.ranges:
            break_scale(exported, faulty, -3.0)
        return exported

    refused = rf"WER rises by .* Layers .* by themselves: {faulty} \((39|40)\d\."
    with pytest.raises(ExportError, match=refused) as refusal:
        export_checked(teacher, static_plan, digits, build=build)
    assert "--fallback" in str(refusal.value)
    notes = []
    exported, parity = export_checked(teacher, static_plan, digits, build=build, fallback=True, on_note=notes.append)
    assert not parity.problems and len(notes) == 1 and faulty in notes[0]
    assert set(static_plan.ranges) - set(exported.plan.ranges) == {faulty}


def test_quiet_frames_need_two_bytes(teacher, digits, static_plan):
    """A pause a hundred times quieter than the speech around it is drowned by one byte for both."""
    from dataclasses import replace

    rng = np.random.default_rng(0)
    quiet = [
        replace(item, samples=np.concatenate([item.samples, 1e-3 * rng.standard_normal(8000)]).astype(np.float32))
        for item in digits[:2]
    ]
    limits = ParityLimits()
    fine = measure_parity(teacher, build_onnx(teacher, static_plan), quiet, limits)
    coarse = measure_parity(teacher, build_onnx(teacher, replace(static_plan, fine=frozenset())), quiet, limits)
    assert coarse.max_difference > 3 * fine.max_difference


def test_audio_is_read_from_manifest_folder_and_file(small_digits, teacher, tmp_path):
    from_manifest = read_speech(small_digits.manifests["test"], teacher.processor, limit=3)
    assert len(from_manifest) == 3 and all(item.text for item in from_manifest)
    audio = next(small_digits.manifests["test"].parent.rglob("*.wav"), None) or next(
        small_digits.manifests["test"].parent.rglob("*.flac")
    )
    assert len(read_speech(audio, teacher.processor)) == 1
    assert len(read_speech(audio.parent, teacher.processor, limit=2)) == 2
    with pytest.raises(DataError, match="no manifest, folder or file"):
        read_speech(tmp_path / "none", teacher.processor)
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(DataError, match="1 files looked at"):
        read_speech(tmp_path, teacher.processor)
