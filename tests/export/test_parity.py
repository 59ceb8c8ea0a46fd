"""The gate lets pass what answers alike, and refuses and names what does not."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from bigfoot.audio.pauses import LONGEST_PIECE
from bigfoot.compress.quantize import calibrate, dynamic_plan
from bigfoot.data.batches import LoadedUtterance, evaluation_order
from bigfoot.data.synthetic import synthesize_string
from bigfoot.errors import DataError, ExportError
from bigfoot.export import alone
from bigfoot.export.alone import ModelOutputs, _ends_of_rounds
from bigfoot.export.audio import MOST_UTTERANCES, padded_audio, read_judged, read_speech
from bigfoot.export.gate import export_checked
from bigfoot.export.onnx import build_onnx
from bigfoot.export.outputs import outputs_of_model
from bigfoot.export.parity import ParityLimits, find_worst, measure_parity
from bigfoot.formats.folder import LoadedModel, load_model
from tests.refusals import refused


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


@pytest.mark.slow
def test_fp32_passes(teacher, digits):
    exported, parity = export_checked(teacher, None, digits[:4])
    assert not parity.problems and parity.max_difference < 1e-4 and parity.batch_difference < 1e-4
    assert max(layer.error for layer in find_worst(teacher, exported, digits)) < 1e-5


@pytest.mark.slow
def test_static_int8_transcribes_the_same(teacher, digits, static_plan):
    _, parity = export_checked(teacher, static_plan, digits)
    assert parity.texts_changed <= 1 and parity.batch_texts_changed == 0
    assert parity.max_difference > 1e-3, "it is not int8 that was measured"


@pytest.mark.slow
def test_dynamic_int8_transcribes_the_same_one_by_one(teacher, digits):
    exported, parity = export_checked(teacher, dynamic_plan(teacher.model), digits)
    assert parity.texts_changed <= 1 and parity.batch_difference is None
    facts = {fact.key: fact.value for fact in exported.graph.metadata_props}
    assert (facts["precision"], facts["batch_invariant"]) == ("int8_dynamic", "per_utterance")


@pytest.mark.slow
def test_a_wrong_scale_is_refused_and_named(teacher, digits, static_plan):
    few = digits[:5]
    faulty = "encoder.layers.3.feed_forward.output_dense"

    def build(loaded, plan, **options):
        exported = build_onnx(loaded, plan, **options)
        if faulty in plan.ranges:
            break_scale(exported, faulty, -3.0)
        return exported

    with refused(ExportError, faulty, "--fallback"):
        export_checked(teacher, static_plan, few, build=build)
    notes = []
    exported, parity = export_checked(teacher, static_plan, few, build=build, fallback=True, on_note=notes.append)
    assert not parity.problems and len(notes) == 1 and faulty in notes[0]
    assert set(static_plan.ranges) - set(exported.plan.ranges) == {faulty}


def test_a_refused_file_is_run_no_further_than_it_takes(build_model, processor, digits, monkeypatch):
    """And the model is run once for all files."""
    loaded = LoadedModel(build_model("base"), processor)
    many = [replace(digits[index % 10], id=f"{index}", text="") for index in range(70)]
    plan, outputs, calls = calibrate(loaded.model, padded_audio(many[:10], processor)), ModelOutputs(loaded), []
    monkeypatch.setattr(alone, "outputs_of_model", lambda *given: calls.append(1) or outputs_of_model(*given))
    faulty = build_onnx(loaded, plan)
    break_scale(faulty, "encoder.layers.0.feed_forward.output_dense", -30.0)
    parity = measure_parity(loaded, faulty, many, ParityLimits(), outputs)
    assert parity.rise.outcome == "refused" and parity.num_utterances == len(calls) < 40
    assert parity.problems and parity.batch_difference is None
    parity = measure_parity(loaded, build_onnx(loaded), many, ParityLimits(), outputs)
    assert parity.num_utterances == len(calls) == 70 and parity.batch_difference < 1e-4


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_texts_are_judged_where_recordings_end(pieces):
    names = [f"{index}" for index, count in enumerate(pieces) for _ in range(count)]
    recordings = [LoadedUtterance(name, "", "", np.zeros(1)) for name in names]
    ends = list(_ends_of_rounds(recordings))
    assert ends[-1] == len(recordings) and set(ends) <= set(np.cumsum(pieces)) and len(ends) == len(set(ends))


@pytest.mark.slow
def test_quiet_frames_need_two_bytes(teacher, digits, static_plan):
    """A pause a hundred times quieter than the speech around it is drowned by one byte for both."""
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
    accounts = []
    from_manifest = read_speech(
        small_digits.manifests["test"], teacher.processor, limit=3, on_account=accounts.append
    )
    lengths = dict(evaluation_order(small_digits.manifests["test"]))
    assert (accounts[0].rows_used, accounts[0].rows) == (3, len(lengths))
    assert accounts[0].seconds == pytest.approx(sum(lengths.values()), abs=0.01)
    assert {item.name for item in accounts[0].left_out} == set(lengths) - {item.id for item in from_manifest}
    assert len(from_manifest) == 3 and all(item.text for item in from_manifest)
    audio = next(small_digits.manifests["test"].parent.rglob("*.wav"), None) or next(
        small_digits.manifests["test"].parent.rglob("*.flac")
    )
    assert len(read_speech(audio, teacher.processor)) == 1
    assert len(read_speech(audio.parent, teacher.processor, limit=2)) == 2
    with pytest.raises(DataError):
        read_speech(tmp_path / "none", teacher.processor)
    (tmp_path / "text.wav").write_text("no audio")
    with pytest.raises(DataError):
        read_speech(tmp_path, teacher.processor)


def test_int8_is_judged_on_more_than_it_is_calibrated_on(processor, tmp_path):
    """Of short utterances the first pieces are few words, and adding audio would decide nothing."""
    rng, notes = np.random.default_rng(0), []
    for index in range(MOST_UTTERANCES + 6):
        soundfile.write(tmp_path / f"{index:03}.wav", 0.1 * rng.standard_normal(4000).astype(np.float32), 16_000)
    calibration = read_speech(tmp_path, processor)
    judged = read_judged(tmp_path, calibration, processor, notes.append)
    assert (len(calibration), len(judged), len(notes)) == (MOST_UTTERANCES, MOST_UTTERANCES + 6, 1)
    assert read_judged(tmp_path, calibration[:9], processor, notes.append) == calibration[:9] and len(notes) == 1
    # So many pieces at least, then as many as the seconds take: 5 of 0.25 s.
    assert [len(read_speech(tmp_path, processor, limit, seconds=1.1)) for limit in (1, 5, 8)] == [5, 5, 8]


def scaled(loaded, factor):
    """The same model with larger logits."""
    model = deepcopy(loaded.model)
    with torch.no_grad():
        model.head.weight.mul_(factor)
        model.head.bias.mul_(factor)
    return LoadedModel(model, loaded.processor)


def build_with_a_wrong_head(loaded, plan, **options):
    exported = build_onnx(loaded, plan, **options)
    shape = list(loaded.model.head.weight.T.shape)
    head = next(item for item in exported.graph.graph.initializer if list(item.dims) == shape)
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * np.float32(1.001), head.name))
    return exported


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("factor", [1.0, 30.0, 300.0])
def test_limits_grow_with_the_logits(build_model, processor, digits, factor):
    """Rounding is a share of what is rounded; a fault of a thousandth is refused at any scale."""
    loaded = scaled(LoadedModel(build_model("base"), processor), factor)
    _, parity = export_checked(loaded, None, digits[:2])
    assert not parity.problems and 0.1 * factor < parity.largest_logit < 10 * factor
    with refused(ExportError, "lm_head"):
        export_checked(loaded, None, digits[:2], build=build_with_a_wrong_head)


@pytest.mark.slow
def test_layers_are_blamed_by_what_they_do(teacher, digits, static_plan):
    """A layer that is far off but hardly matters to the logits is not the fault."""
    model = scaled(teacher, 1.0).model
    faint, loud = "encoder.layers.0.attention.v_proj", "encoder.layers.2.feed_forward.output_dense"
    with torch.no_grad():
        model.speech_encoder.get_submodule("encoder.layers.0.attention.out_proj").weight.mul_(1e-3)
    loaded = LoadedModel(model, teacher.processor)
    exported = build_onnx(loaded, static_plan)
    break_scale(exported, faint, -3.0)
    break_scale(exported, loud, 1.5)
    assert find_worst(loaded, exported, digits)[0].name == faint
    worst = find_worst(loaded, exported, digits, effects=True)
    assert worst[0].name == loud and worst[0].effect > 10 * next(x.effect for x in worst if x.name == faint)


@pytest.mark.slow
def test_a_long_recording_comes_in_pieces(build_model, processor, digits, tmp_path):
    rate, strings = 16_000, [item.samples for item in digits]
    talk = np.concatenate([np.concatenate([wave, np.zeros(rate // 2, np.float32)]) for wave in strings * 4])
    soundfile.write(tmp_path / "a_talk.flac", talk, rate)
    soundfile.write(tmp_path / "b.flac", strings[0], rate)
    (tmp_path / "c.wav").write_bytes(b"RIFF")
    accounts = []
    found = read_speech(tmp_path, processor, on_account=accounts.append)
    assert len(talk) > 50 * rate and len(found) >= 3 and len({item.id for item in found}) == 2
    assert max(len(item.samples) for item in found) <= LONGEST_PIECE * rate
    assert sum(len(item.samples) for item in found) == len(talk) + len(strings[0])
    assert len(read_speech(tmp_path, processor, limit=1, on_account=accounts.append)) == 1
    whole, part = accounts
    seconds = (len(talk) + len(strings[0])) / rate
    assert (whole.rows_used, whole.num_unknown, whole.seconds_used) == (2, 1, pytest.approx(seconds))
    assert (part.rows_used, len(part.left_out), part.seconds) == (1, 3, pytest.approx(seconds))
    assert part.seconds_used <= LONGEST_PIECE and part.num_unknown == 1
    _, parity = export_checked(LoadedModel(build_model("base"), processor), None, found)
    assert parity.num_utterances == 2 and parity.texts_changed == 0
