"""Training without transcripts: the teacher's own take their place."""

import json
import logging
from dataclasses import replace

import jiwer
import pytest

from bigfoot.data.batches import evaluation_batches, read_transcripts, read_utterances
from bigfoot.data.corpora import prepare_data
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.distill import LossesConfig
from bigfoot.distill.registry import losses_by_name, without_teacher
from bigfoot.errors import DataError
from bigfoot.formats.folder import load_model
from bigfoot.models.reshape import with_decoder
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.labels import choose_labels
from tests.codes import codes
from tests.pipeline.problems import problems_of
from tests.refusals import names, refused

NONE = "data.transcripts=none"


@pytest.fixture
def silent_table(table, tmp_path):
    """The corpus of ``table`` without a word, in its own folder; overrides that read it."""
    for split in ("train", "dev", "test"):
        lines = (table / f"{split}.tsv").read_text().splitlines()
        rows = [f"{table / line.partition(chr(9))[0]}\t" for line in lines[1:] if line.startswith("synthetic")]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["path\ttext", *rows]) + "\n")
    splits = [f"data.{split}_splits=[{split}.tsv]" for split in ("train", "dev", "test")]
    return ["data.corpus=table", f"data.root={tmp_path}", *splits]


def transcribe_with(teacher, manifest):
    batches = evaluation_batches(manifest, replace(teacher.processor, tokenizer=None), 1)
    found = transcribe_batches(teacher.model, batches, teacher.processor.tokenizer)
    return {i: (t, c) for i, t, c in zip(found.ids, found.hypotheses, found.confidences, strict=True)}


def texts_of(manifest):
    return {item.id: item.text for item in read_utterances(manifest)}


@pytest.fixture
def prepared(small_config, tmp_path):
    """Configuration, data and teacher of a corpus which the tiny teacher transcribes nearly without error."""
    config = small_config(tmp_path / "run", NONE, "teacher.path=tiny_teacher")
    return config, prepare_data(config.data, config.seed, tmp_path / "data"), load_model("tiny_teacher")


@pytest.mark.slow
def test_given_transcripts_are_left_alone(prepared):
    config, data, teacher = prepared
    config.data.transcripts = "given"
    labels = choose_labels(config, data, "abc", teacher)
    assert (labels.manifests, labels.fingerprint, labels.notes) == (data.manifests, "abc", [])
    assert not (data.folder / "labelled").exists()


@pytest.mark.slow
@pytest.mark.parametrize("most", [0.0, 0.6])
def test_the_teachers_own_are_taken_where_they_are_close_to_the_transcripts(most, prepared):
    config, data, teacher = prepared
    config.data.transcripts, config.data.max_label_wer = "teacher", most
    labels = choose_labels(config, data, "abc", teacher)
    references, hypotheses = texts_of(data.manifests["train"]), transcribe_with(teacher, data.manifests["train"])
    expected = {
        name: hypotheses[name][0]
        for name, text in references.items()
        if jiwer.wer(text, hypotheses[name][0]) <= most and hypotheses[name][0]
    }
    assert {name: text for name, text in texts_of(labels.manifests["train"]).items() if text} == expected
    assert labels.manifests["dev"] == data.manifests["dev"] and f"of {len(expected)} of" in labels.notes[0]


@pytest.mark.slow
def test_a_teacher_with_a_decoder_writes_by_it(prepared):
    config, data, teacher = prepared
    config.evaluate.autoregressive.max_tokens = 6
    teacher.model = with_decoder(teacher.model, {"hidden_size": 16, "num_layers": 1, "num_heads": 2}, seed=1)
    labels = choose_labels(config, data, "abc", teacher)
    written = [text for text in texts_of(labels.manifests["train"]).values() if text]
    assert written and all(len(text) <= 6 for text in written)


@pytest.mark.slow
def test_labels_are_what_the_teacher_transcribes_where_it_is_sure(prepared):
    config, data, teacher = prepared
    hypotheses = {split: transcribe_with(teacher, data.manifests[split]) for split in ("train", "dev")}
    confidences = sorted(confidence for _, confidence in hypotheses["train"].values())
    least = config.distill.losses.ctc.min_confidence = (confidences[7] + confidences[8]) / 2
    labels = choose_labels(config, data, "abc", teacher)
    kept = {name: text if confidence >= least else "" for name, (text, confidence) in hypotheses["train"].items()}
    assert texts_of(labels.manifests["train"]) == kept
    assert sum(not text for text in kept.values()) == 8
    # Dev only says which checkpoint agrees most, so every utterance of it counts.
    assert texts_of(labels.manifests["dev"]) == {name: text for name, (text, _) in hypotheses["dev"].items()}
    assert labels.manifests["test"] == data.manifests["test"]
    assert [item.id for item in read_utterances(labels.manifests["train"])] == [
        item.id for item in read_utterances(data.manifests["train"])
    ]
    mean = sum(confidences) / 24
    assert names(labels.notes[0], "16 of 24", "train", f"{mean:.2f}", f"{least:g}")
    assert names(labels.notes[1], "dev WER")


@pytest.mark.slow
def test_labels_are_written_once_and_anew_where_something_has_changed(prepared, monkeypatch):
    config, data, teacher = prepared
    first = choose_labels(config, data, "abc", teacher)
    calls = []
    ours = transcribe_batches
    monkeypatch.setattr(
        "bigfoot.pipeline.labels.transcribe_batches", lambda *given: (calls.append(1), ours(*given))[1]
    )
    assert choose_labels(config, data, "abc", teacher) == first and not calls
    config.distill.losses.ctc.min_confidence = 0.5
    assert choose_labels(config, data, "abc", teacher).fingerprint != first.fingerprint and len(calls) == 2
    assert choose_labels(config, data, "abd", teacher).fingerprint != first.fingerprint and len(calls) == 4
    # Nobody learns from labels: the teacher need not transcribe all of train.
    config.steps = ["student", "distill"]
    labels = choose_labels(config, data, "abd", teacher)
    assert len(calls) == 5 and not any(read_transcripts(labels.manifests["train"]))
    assert all(read_transcripts(labels.manifests["dev"])) and len(labels.notes) == 1


@pytest.mark.slow
def test_a_teacher_that_is_never_sure_enough_is_an_error(prepared):
    config, data, teacher = prepared
    config.distill.losses.ctc.min_confidence = 1.0
    with refused(DataError, 24, "distill.losses.ctc.min_confidence = 1"):
        choose_labels(config, data, "abc", teacher)
    assert not (data.folder / "labelled" / "labels.json").exists()


@pytest.mark.slow
def test_a_whole_run_on_audio_alone(small_config, silent_table, quick_memory, tmp_path, caplog):
    """No word in train, dev or test; labels in distilling and fine-tuning, a new head over them, no WER."""
    settings = (*silent_table, NONE, "teacher.path=tiny_teacher", "distill.losses.ctc.weight=0.1", "finetune.head=new")
    config = small_config(tmp_path / "run", *settings)
    with caplog.at_level(logging.INFO, logger="bigfoot"):
        report = run_pipeline(config)
    assert [row.wer_missing_reason for row in report.rows] == ["no transcripts"] * 4
    assert all(row.wer is None and row.batch_invariant for row in report.rows)
    log = (tmp_path / "run" / "log.txt").read_text()
    (place,) = [number for number, line in enumerate(log.splitlines()) if " WARNING data: " in line and "WER" in line]
    assert place < next(number for number, line in enumerate(log.splitlines()) if "student: started" in line)
    assert len(report.notes) >= 2 and all(note in log for note in report.notes[:2])
    assert names(report.rows[2].protocol, "transcripts") and not names(report.rows[0].protocol, "transcripts")
    assert report.rows[0].wer_missing_reason in (tmp_path / "run" / "report" / "report.md").read_text()
    spoken = set("".join(read_transcripts(tmp_path / "run" / "data" / "labelled" / "cuts_train.jsonl.gz")))
    assert set(load_model(tmp_path / "run" / "finetune" / "model").processor.tokenizer.characters) == spoken | {" "}
    losses = [record["ctc"] for record in report.losses["distill"] if "ctc" in record]
    assert len(losses) == 6 and all(loss > 0 for loss in losses)


@pytest.mark.slow
def test_a_batch_without_any_label_trains_on(small_config, quick_report, tmp_path):
    """One utterance a batch, and most of them without labels: zeros among the losses, and no NaN."""
    settings = ("teacher.path=tiny_teacher", NONE, "data.batch_seconds=0.5", "data.max_digits=1", "steps=[finetune]")
    config = small_config(tmp_path, *settings, "finetune.max_steps=8", "finetune.log_every=1")
    data = prepare_data(config.data, config.seed, tmp_path / "look")
    hypotheses = transcribe_with(load_model("tiny_teacher"), data.manifests["train"])
    confidences = sorted(confidence for _, confidence in hypotheses.values())
    config.distill.losses.ctc.min_confidence = (confidences[11] + confidences[12]) / 2
    run_pipeline(config, until="finetune")
    labels = read_transcripts(tmp_path / "data" / "labelled" / "cuts_train.jsonl.gz")
    assert sum(map(bool, labels)) == 12
    records = json.loads((tmp_path / "finetune" / "facts.json").read_text())["records"]
    losses = [record["ctc"] for record in records if "ctc" in record]
    assert 0.0 in losses and any(losses) and len(losses) == 8 and all(0 <= loss < 100 for loss in losses)


@pytest.mark.slow
def test_transcripts_that_are_there_are_not_read(small_config, table_settings, tmp_path):
    """Letters that no vocabulary has cost an utterance nothing; in test they still do."""
    run_pipeline(small_config(tmp_path, *table_settings, NONE), until="data")
    content = json.loads((tmp_path / "data" / "prepared.json").read_text())
    skipped = sorted(item["path"].rpartition("/")[2] for item in content["skipped"])
    assert skipped == ["missing.flac", "truncated.flac", "zero.flac"]
    assert not set("Ä") & set("".join(read_transcripts(tmp_path / "data" / "labelled" / "cuts_train.jsonl.gz")))


@pytest.mark.slow
def test_a_changed_confidence_redoes_what_stands_on_it(small_config, tmp_path):
    models = []
    for least in (0.0, 0.0, 0.01):
        config = small_config(tmp_path, NONE, f"distill.losses.ctc.min_confidence={least}")
        run_pipeline(config, until="distill")
        models.append((tmp_path / "distill" / "facts.json").stat().st_mtime_ns)
    assert models[0] == models[1] != models[2]


@pytest.mark.slow
def test_a_teacher_that_cannot_write_is_found_before_anything_is_done(small_run, other_teachers, tmp_path):
    def find(*overrides):
        return codes(problems_of(small_run(tmp_path, NONE, *overrides)))

    no_labels = ("data.transcripts", "no_labels")
    headless = (f"teacher.path={other_teachers['headless']}", "distill.losses.logit_kl.weight=0",
                "distill.losses.hidden.weight=1")  # fmt: skip
    mute = f"teacher.path={other_teachers['mute']}"
    assert find(*headless, "finetune.head=new") == [no_labels]
    assert find(mute, "finetune.head=new") == [no_labels]
    assert find(*headless, "steps=[student,distill]") == []
    assert find(mute, "steps=[student,distill]") == []
    found = find(mute, "steps=[student,distill]", "control=ctc_only")
    assert found == [no_labels, ("control", "no_vocabulary")]


@pytest.mark.slow
def test_hidden_states_alone_need_no_word_of_anybody(small_config, other_teachers, silent_table, tmp_path):
    headless = (f"teacher.path={other_teachers['headless']}", "distill.losses.logit_kl.weight=0",
                "distill.losses.hidden.weight=1", NONE, "steps=[student,distill]")  # fmt: skip
    run_pipeline(small_config(tmp_path / "run", *silent_table, *headless), until="distill")
    assert load_model(tmp_path / "run" / "distill" / "model").model.head is None


def test_the_control_switches_off_all_that_compares():
    losses = LossesConfig()
    for name in losses_by_name(losses):
        getattr(losses, name).weight = 0.5
    control = without_teacher(losses)
    left = {name for name in losses_by_name(losses) if getattr(control, name).weight}
    assert left == {"feature_penalty", "ctc", "intermediate_ctc", "alignment", "log_mel", "decoder", "task"}
    assert all(getattr(losses, name).weight == 0.5 for name in losses_by_name(losses))
