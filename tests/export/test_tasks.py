"""Exported task models: the same answers as PyTorch, without torch, in every family and pooling."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from bigfoot.errors import ExportError, ModelError
from bigfoot.export.onnx import build_onnx
from bigfoot.export.tasks import export_task
from bigfoot.formats.folder import LoadedModel, save_model
from bigfoot.models.reshape import with_task_head
from bigfoot.models.tasks.shape import POOLING_NAMES
from bigfoot.runtime.classifier import Classifier
from bigfoot.runtime.task_answers import TaskFacts, choose_labels, compute_scores
from bigfoot.runtime.transcriber import Transcriber
from bigfoot.tasks.answers import task_facts
from bigfoot.text.tokenizers import Processor
from tests.refusals import refused

pytest.importorskip("onnx")
LABELS = {"labels": ["a", "b", "c"], "hidden_sizes": [12]}
KINDS = {
    "single_label": LABELS, "multi_label": LABELS, "ordinal": LABELS | {"link": "coral"},
    "regression": {"labels": ["age"], "center": [30.0], "scale": [9.0]},
}  # fmt: skip


def build(build_model, structure="base", seed=5, **shape):
    model = with_task_head(build_model(structure), LABELS | shape, seed)
    with torch.no_grad():
        for parameter in model.task_head.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return LoadedModel(model, Processor())


def pad(waves):
    size = max(len(wave) for wave in waves)
    values = np.stack([np.pad(wave, (0, size - len(wave))) for wave in waves]).astype(np.float32)
    return values, np.array([len(wave) for wave in waves])


@pytest.mark.grid
@pytest.mark.parametrize("pooling", POOLING_NAMES)
@pytest.mark.parametrize("structure", ["base", "large-lv60", "hubert", "wavlm", "data2vec"])
def test_logits_of_pytorch_alone_and_in_a_batch(structure, pooling, build_model, speech):
    heads = 2 if pooling == "attention" else 1
    loaded = build(build_model, structure, pooling=pooling, pooling_heads=heads, layers="weighted",
                   fbank=20 if pooling == "statistics" else 0, pitch=12 if pooling in ("statistics", "max") else 0,
                   fbank_window=400 if structure == "base" else 700)  # fmt: skip
    run = build_onnx(loaded).open()
    waves = [speech[0][0, :9000].numpy(), speech[1][0, :4000].numpy(), speech[0][0, 2000:2500].numpy()]
    values, lengths = pad(waves)
    with torch.no_grad():
        expected = loaded.model(torch.from_numpy(values), torch.arange(9000) < torch.from_numpy(lengths)[:, None])
    tolerance = 1e-4 * float(expected.task_logits.abs().max())
    np.testing.assert_allclose(run(values, lengths)[0], expected.task_logits.numpy(), atol=tolerance)
    for row, wave in enumerate(waves):
        alone = run(*pad([wave]))[0]
        np.testing.assert_allclose(alone[0], expected.task_logits[row].numpy(), atol=tolerance)


@pytest.mark.parametrize("time_reduction", [1, 2])
def test_states_of_other_shapes(time_reduction, build_model, speech):
    model = build_model("group-stable", time_reduction=time_reduction)
    loaded = LoadedModel(with_task_head(model, LABELS | {"layers": "weighted"}, 0), Processor())
    wave = speech[0][:, :7000]
    with torch.no_grad():
        expected = loaded.model(wave).task_logits.numpy()
    np.testing.assert_allclose(build_onnx(loaded).open()(wave.numpy(), np.array([7000]))[0], expected, atol=1e-5)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, speech):
    folder = tmp_path_factory.mktemp("recordings")
    for number, wave in enumerate(speech):
        soundfile.write(folder / f"{number}.wav", 0.1 * wave[0].numpy(), 16_000, subtype="FLOAT")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_classify_gives_the_labels_of_the_model(kind, build_model, processor, speech, recordings, bigfoot, tmp_path):
    loaded = build(build_model, kind=kind, **KINDS[kind])
    save_model(loaded.model, processor, tmp_path / "model")
    code, _, errors = bigfoot("export", tmp_path / "model", tmp_path / "model.onnx", "--check", recordings)
    assert code == 0, errors
    code, output, _ = bigfoot("classify", tmp_path / "model.onnx", recordings, "--json", "--top", "2")
    assert code == 0
    found = [json.loads(line) for line in output.splitlines()]
    facts = task_facts(loaded.model.task_head.shape)
    for answer, wave in zip(found, speech, strict=True):
        normal = (wave - wave.mean()) / wave.std(correction=0)
        with torch.no_grad():
            scores = compute_scores(loaded.model(normal).task_logits.numpy(), facts)
        assert [answer["labels"]] == choose_labels(scores, facts)
        named = dict(zip(facts.labels, scores[0], strict=True))
        ranked = kind in ("single_label", "multi_label")
        assert len(answer["scores"]) == (2 if ranked else len(named))
        assert answer["scores"] == {name: pytest.approx(named[name], abs=1e-4) for name in answer["scores"]}
        values = list(answer["scores"].values())
        assert not ranked or values == sorted(values, reverse=True)


@pytest.mark.slow
def test_a_file_says_what_it_is_for(build_model, processor, recordings, bigfoot, tmp_path):
    save_model(build(build_model).model, processor, tmp_path / "task")
    save_model(build_model("base"), processor, tmp_path / "ctc")
    assert bigfoot("export", tmp_path / "task", tmp_path / "task.onnx")[0] == 0
    assert bigfoot("export", tmp_path / "ctc", tmp_path / "ctc.onnx")[0] == 0
    with refused(ModelError, "classify"):
        Transcriber(tmp_path / "task.onnx")
    with refused(ModelError, "transcribe"):
        Classifier(tmp_path / "ctc.onnx")
    for option in (("--to", "torch-export"), ("--int8", "static"), ("--int8", "dynamic", "--fallback")):
        assert bigfoot("export", tmp_path / "task", tmp_path / "other.onnx", *option)[0] == 2
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["dynamic", "static"])
def test_int8_files_answer_nearly_the_same(precision, build_model, processor, speech, recordings, bigfoot, tmp_path):
    loaded = build(build_model, layers="weighted")
    save_model(loaded.model, processor, tmp_path / "model")
    audio = ("--calibrate", recordings) if precision == "static" else ("--check", recordings)
    code, _, errors = bigfoot("export", tmp_path / "model", tmp_path / "m.onnx", "--int8", precision, *audio)
    assert code == 0, errors
    classifier = Classifier(tmp_path / "m.onnx")
    assert not classifier.facts.batch_invariant
    facts = task_facts(loaded.model.task_head.shape)
    for answer, wave in zip(classifier.classify(sorted(recordings.iterdir())), speech, strict=True):
        with torch.no_grad():
            normal = (wave - wave.mean()) / wave.std(correction=0)
            scores = compute_scores(loaded.model(normal).task_logits.numpy(), facts)[0]
        assert answer.labels == [facts.labels[scores.argmax()]]
        gaps = [abs(answer.scores[label] - score) for label, score in zip(facts.labels, scores, strict=True)]
        assert 0 < max(gaps) < 0.1


def test_an_int8_file_with_other_answers_is_refused(build_model, speech):
    from bigfoot.compress.quantize import Int8Plan, Range, quantizable_layers
    from bigfoot.data.batches import LoadedUtterance

    loaded = build(build_model)
    blind = Int8Plan(dict.fromkeys(quantizable_layers(loaded.model), Range(0.0, 1e-3)))
    with pytest.raises(ExportError):
        export_task(loaded, [LoadedUtterance("a", "", "", wave[0].numpy()) for wave in speech], blind)


@pytest.mark.slow
def test_an_unreadable_file_is_named_and_the_others_are_answered(build_model, processor, recordings, bigfoot, tmp_path):
    save_model(build(build_model).model, processor, tmp_path / "model")
    bigfoot("export", tmp_path / "model", tmp_path / "model.onnx")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    code, output, errors = bigfoot("classify", tmp_path / "model.onnx", tmp_path / "bad.wav", recordings / "0.wav")
    assert code == 1 and "bad.wav" in errors and output.startswith(str(recordings / "0.wav"))


@pytest.mark.slow
def test_classifying_loads_no_torch(build_model, processor, recordings, tmp_path):
    loaded = build(build_model)
    exported = build_onnx(loaded)
    exported.save(tmp_path / "model.onnx")
    script = (
        "import sys; from bigfoot.cli import main\n"
        f"try: main(['classify', {str(tmp_path / 'model.onnx')!r}, {str(recordings / '0.wav')!r}])\n"
        "except SystemExit as end: code = end.code\n"
        "assert not code, code\n"
        "assert not {'torch', 'transformers', 'lhotse', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.slow
def test_a_file_with_other_answers_is_refused(build_model, speech, monkeypatch):
    from bigfoot.data.batches import LoadedUtterance
    from bigfoot.export.onnx import OnnxExport

    loaded = build(build_model)
    utterances = [LoadedUtterance("a", "", "", wave[0].numpy()) for wave in speech]
    export_task(loaded, utterances)
    run = OnnxExport.open

    def shifted(self):
        inner = run(self)
        return lambda values, lengths: (inner(values, lengths)[0] + 0.1, lengths)

    monkeypatch.setattr(OnnxExport, "open", shifted)
    with pytest.raises(ExportError):
        export_task(loaded, utterances)


@pytest.mark.slow
def test_damaged_metadata_is_named(build_model, tmp_path):
    from bigfoot.export.onnx import set_metadata

    exported = build_onnx(build(build_model))
    for task in ("{", "[]", "{}", '{"kind": "x", "labels": ["a"]}', '{"kind": "ordinal", "labels": []}',
                 '{"kind": "regression", "labels": ["a"], "scale": [1, 2]}', '{"kind": "ordinal", "labels": [1, 2]}'):
        set_metadata(exported.graph, exported.facts | {"task": task})
        exported.save(tmp_path / "model.onnx")
        with refused(ModelError, "task"):
            Classifier(tmp_path / "model.onnx")
    assert TaskFacts("regression", ["a"]).center == []
