"""``bigfoot.compress``: techniques one after the other, and one of a user's own."""

import sys

import numpy as np
import pytest
import torch

import bigfoot
from bigfoot.audio.files import write_audio
from bigfoot.compress import ConvGroups, ConvOrder, ConvSharing, Depth, LowRank, Prune, Quantize, conv_groups, depth
from bigfoot.compress.audio import LazyAudio
from bigfoot.compress.entries import check_technique
from bigfoot.compress.registry import (
    _SETTINGS,
    _TECHNIQUES,
    apply_technique,
    fit_technique,
    list_techniques,
    technique,
)
from bigfoot.errors import BigfootError, ModelError
from bigfoot.formats.folder import load_model
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.preset import summarize_preset
from bigfoot.pipeline.settings import load_config, read_config
from bigfoot.text.tokenizers import Processor
from tests.codes import codes, refusing
from tests.pages import DOCS, write_files_of
from tests.pipeline.problems import problems_of

RAMP = np.linspace(-0.5, 0.5, 12_000, dtype=np.float32)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A folder with the files of the page; what it registers is forgotten afterwards."""
    monkeypatch.setattr(_SETTINGS, "_entries", dict(_SETTINGS._entries))
    monkeypatch.setattr(_SETTINGS, "_origins", dict(_SETTINGS._origins))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert write_files_of(DOCS / "how-to" / "own-technique.md", tmp_path) == ["my_techniques.py", "my_student.yaml"]
    yield tmp_path
    sys.modules.pop("my_techniques", None)


def states_equal(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.slow
def test_it_is_what_the_functions_give_one_after_the_other():
    teacher = load_model("tiny_teacher")
    student = bigfoot.compress("tiny_teacher", [Depth(4, "last_k"), ConvGroups(2, init="permute")])
    expected, _ = depth.apply(teacher.model, Depth(4, "last_k"))
    expected, _ = conv_groups.apply(expected, ConvGroups(2, init="permute"))
    assert states_equal(student.model, expected)
    assert [entry["step"] for entry in student.history[len(teacher.history) :]] == ["depth", "conv_groups"]
    assert student.processor == teacher.processor and student.folder is None
    network = bigfoot.compress(teacher.model, [Depth(4, "last_k"), ConvGroups(2, init="permute")])
    assert states_equal(network, expected)
    assert teacher.model.config.num_hidden_layers == 12


@pytest.mark.slow
def test_all_together_it_is_saved_and_loads_with_equal_logits(tmp_path):
    techniques = [
        Depth(3), ConvGroups(2, "least_squares"), ConvSharing([[1, 2]], "least_squares"),
        Prune(importance="activation", ratio=0.2), LowRank(["intermediate_dense"], 16), Quantize("int8_static"),
    ]  # fmt: skip
    student = bigfoot.compress("tiny_teacher", techniques, audio=[RAMP, RAMP[:9000] ** 2])
    bigfoot.save_model(student.model, student.processor, tmp_path / "model", student.history)
    again = bigfoot.load_model(tmp_path / "model")
    with torch.no_grad():
        logits = [each.model(torch.from_numpy(RAMP)[None]).logits for each in (student, again)]
    assert torch.equal(*logits) and len(again.history) >= len(techniques)


@pytest.mark.slow
def test_audio_is_read_once_and_only_where_it_is_needed():
    asked = []

    def source():
        asked.append(1)
        return [RAMP]

    model = load_model("tiny_teacher")
    audio = LazyAudio(source, model.processor)
    for settings in (Depth(3), Prune(importance="l2", ratio=0.2), LowRank(["q_proj"], 8, weighting="none")):
        apply_technique(model.model, settings, audio)
    assert asked == []
    for _ in range(2):
        apply_technique(model.model, ConvGroups(2, "least_squares"), audio)
    assert asked == [1]


def test_paths_and_waveforms_are_normalized_as_the_processor_says(tmp_path):
    write_audio(tmp_path / "a.wav", RAMP)
    processor = Processor(None, do_normalize=True)
    for source in ([tmp_path / "a.wav"], [str(tmp_path / "a.wav")], [RAMP], tmp_path / "a.wav"):
        (batch,) = LazyAudio(source, processor)
        assert float(batch.input_values.mean()) == pytest.approx(0, abs=1e-4)
        assert float(batch.input_values.std()) == pytest.approx(1, abs=1e-2)
        assert batch.attention_mask.all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("techniques", "audio"),
    [([3], ()), ([Depth], ()), ([Depth(13)], ()), ([ConvGroups(2, "least_squares")], ()),
     ([ConvGroups(2, "least_squares")], [np.zeros((2, 900))]), ([ConvGroups(2, "least_squares")], ["nowhere.wav"])],
)  # fmt: skip
def test_what_cannot_be_applied_is_an_error(techniques, audio):
    with pytest.raises(BigfootError):
        bigfoot.compress("tiny_teacher", techniques, audio=audio)
    with pytest.raises(ModelError):
        bigfoot.compress(load_model("tiny_teacher").model, [ConvGroups(2, "least_squares")], audio=[RAMP])


@pytest.mark.slow
def test_every_shape_is_known_before_the_weights():
    model = load_model("tiny_teacher").model
    for settings in (
        Depth(3), ConvGroups(2), ConvOrder(2), ConvSharing([[1, 2]]), LowRank(["q_proj"], 8, weighting="none"),
        list_techniques()["reshape"]({"intermediate_size": 64}),
    ):  # fmt: skip
        found, _ = apply_technique(model, settings)
        fit = fit_technique(model.config, settings)
        assert fit.shape.to_dict() == found.config.to_dict() and not fit.problems and fit.unknown is None


@pytest.mark.parametrize(
    ("entry", "key", "code"),
    [
        ("depth", "", "no_technique"), ({}, "", "no_technique"), ({"a": {}, "b": {}}, "", "no_technique"),
        ({"dept": {}}, "dept", "unknown_technique"), ({"depth": 4}, "depth", "wrong_type"),
        ({"depth": {}}, "depth.num_hidden_layers", "missing"), ({"depth": None}, "depth.num_hidden_layers", "missing"),
        ({"prune": {"ratios": 1}}, "prune.ratios", "unknown_key"),
        ({"prune": {"ratio": 2}}, "prune.ratio", "out_of_range"),
        ({"prune": {"ratio": "a"}}, "prune.ratio", "wrong_type"), ({"prune": {"parts": 3}}, "prune", "wrong_type"),
        ({"depth": {"num_hidden_layers": True}}, "depth.num_hidden_layers", "wrong_type"),
        ({"prune": {"parts": []}}, "prune.parts", "empty"),
    ],
)  # fmt: skip
def test_an_entry_is_checked_by_key_and_code(entry, key, code):
    assert [(problem.key, problem.code) for problem in check_technique(entry)] == [(key, code)]


@pytest.mark.slow
def test_one_of_a_users_own_is_one_new_file(page):
    config = load_config("my_student.yaml", [
        "threads=1", "trackers=[]", "data.num_train=12", "data.num_dev=2", "data.num_test=3", "data.max_digits=2",
    ])  # fmt: skip
    run_pipeline(config, until="student")
    made, whole = load_model(config.run_dir + "/student/model"), load_model("tiny_teacher").model
    assert made.model.config.num_hidden_layers == 4
    expected = sum(layer.layer_norm.weight for layer in whole.speech_encoder.encoder.layers[3:6]) / 3
    assert torch.allclose(made.model.speech_encoder.encoder.layers[1].layer_norm.weight, expected, atol=1e-6)
    assert made.model.config.widths_of_layers[0] < whole.config.widths_of_layers[0]


@pytest.mark.parametrize("name", ["depth", "other_depth"])
def test_settings_select_one_technique_alone(name):
    with pytest.raises(BigfootError):
        technique(name, Depth)(lambda model, settings, audio: (model, None))
    assert "other_depth" not in list_techniques()
    assert _TECHNIQUES[Depth].work is depth.apply


def test_its_problems_are_found_before_the_run(page):
    overrides = ["student.techniques=[{merge_layers: {run: 0}}]"]
    _, problems = read_config("my_student.yaml", overrides)
    assert [(problem.key, problem.code) for problem in problems] == [
        ("student.techniques[0].merge_layers.run", "out_of_range")
    ]


def test_a_shape_that_the_weights_decide_is_known_later():
    shape = load_model("tiny_teacher").model.config
    fit = fit_technique(shape, LowRank(["q_proj"], energy=0.5))
    assert fit.shape is shape and not fit.problems and fit.unknown.code == "by_weights"


@pytest.mark.slow
def test_an_order_of_channels_changes_no_output():
    model = load_model("tiny_teacher").model
    ordered = bigfoot.compress(model, [ConvOrder(4)])
    assert not states_equal(model, ordered)
    with torch.no_grad():
        logits = [each(torch.from_numpy(RAMP)[None]).logits for each in (model, ordered)]
    assert torch.allclose(*logits, atol=1e-3)
    # Grouping by block diagonals keeps as much of it as a search of its own would.
    sliced = bigfoot.compress(ordered, [ConvGroups(4)])
    assert states_equal(sliced, bigfoot.compress(model, [ConvGroups(4, "permute")]))
    with refusing(("", "not_dense")):
        bigfoot.compress(sliced, [ConvOrder(4)])


@pytest.mark.slow
@pytest.mark.usefixtures("page")
def test_its_shape_is_what_a_summary_counts():
    merged, whole = (
        summarize_preset("my_student.yaml", [f"student.techniques=[{entry}]"]).deployed_parts["layers"]
        for entry in ("{merge_layers: {run: 3}}", "")
    )
    assert merged * 3 == whole


@pytest.mark.usefixtures("page")
def test_what_its_shape_forbids_is_found_before_the_run(small_run, tmp_path):
    overrides = small_run(tmp_path / "run", "student.techniques=[{merge_layers: {run: 3}}]")
    found = codes(problems_of([*overrides, "plugins=[my_techniques]"]))
    assert found == [("student.techniques[0].merge_layers", "not_applicable")]
