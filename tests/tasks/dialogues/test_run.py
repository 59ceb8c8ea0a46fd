"""Runs of speech LLMs: stages, compression, report; killed and resumed; whole batches and parts of them."""

import json
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from bigfoot.audio.files import read_audio
from bigfoot.audio.recording import normalize_part
from bigfoot.config import read_settings
from bigfoot.decoding.answering import TextStreamer, answer
from bigfoot.errors import DataError
from bigfoot.formats.speech_llm import load_speech_llm
from bigfoot.models.speech_llm.model import SpeechInput
from bigfoot.pipeline.speech_llm.run import is_speech_llm, run_speech_llm
from bigfoot.report.rows import load_report
from bigfoot.tasks.speech_llm.answers import answer_examples
from bigfoot.tasks.speech_llm.cuts import Cuts
from bigfoot.tasks.speech_llm.examples import find_labels, read_examples
from bigfoot.tasks.speech_llm.prompts import PromptBuilder
from bigfoot.tasks.speech_llm.scores import score_task
from bigfoot.tasks.speech_llm.settings import SpeechLLMConfig
from bigfoot.training.loop import RESUMING
from tests.codes import codes
from tests.pipeline.killing import kill, log_of, wait_for
from tests.refusals import names, refused

pytestmark = pytest.mark.slow

ALL = (
    "tasks=[transcribe,classify,forecast]", "steps=[train_adapter,train_lora,shrink,recover,quantize]",
    "train_adapter.losses.text_speech=0.5", "train_adapter.losses.token_logits=1", "train_lora.encoder=top",
    "train_lora.top_layers=1", "shrink.num_hidden_layers=2", "shrink.rate_divisor=2", "transcribe.most_new_tokens=4",
    "forecast.most_new_tokens=4", "classify.calibrate=true",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(settings, config_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    assert is_speech_llm(config_file)
    run_speech_llm(config_file, settings(folder, *ALL))
    return folder


def test_the_report_has_every_task_of_every_step(finished):
    report = load_report(finished / "report")
    steps = ["train_adapter", "train_lora", "shrink", "recover", "quantize"]
    kinds = ("transcribe", "classify", "forecast")
    assert [row.name for row in report.rows] == [f"{step}, {kind}" for step in steps for kind in kinds]
    tasks = {(task["name"], task["kind"]): task for task in report.tasks}
    assert all(row.batch_invariant for row in report.rows)
    classify, forecast = tasks["recover", "classify"], tasks["recover", "forecast"]
    assert sum(map(sum, classify["confusion"])) == 6 and classify["labels"] == ["change", "neutral", "sustain"]
    assert {"macro_f1", "accuracy", "weighted_f1"} <= classify["metrics"].keys()
    assert {"perplexity", "distinct_1", "distinct_2"} <= forecast["metrics"].keys()
    assert set(tasks["train_adapter", "classify"]["floors"]) == {"majority of train", "majority by lean"}
    rates = {step: tasks[step, "classify"]["metrics"]["embeddings_per_second"] for step in steps}
    assert rates["train_lora"] == 2 * rates["recover"] == 12.5
    sizes = [tasks[step, "classify"]["parameters"]["encoder"] for step in steps]
    assert sizes[1] > sizes[2] == sizes[3]
    learns = [change for change in report.changes if "parameters learn" in change]
    assert len(learns) == 3 and "language_model 0" in learns[0] and "language_model 0" not in learns[1]
    page = (finished / "report" / "report.html").read_text()
    assert page.count("<audio") == len(report.examples) > 10 and "data:audio/flac;base64," in page
    losses = report.losses["train_adapter"][0]
    assert {"next_token", "token_logits", "text_speech"} <= losses.keys()


def test_files_of_examples_keep_prompt_scores_and_columns(finished):
    rows = [json.loads(line) for line in (finished / "report/examples_recover_classify.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    for row in rows:
        assert row["metadata"]["lean"] and row["metadata"]["role"] == "client"
        assert row["prediction"] == max(row["scores"], key=row["scores"].get)
        assert f"<{row['id']}>" in row["prompt"] and row["prompt"].endswith("attitude: ")
    assert "counsellor: " in rows[1]["prompt"]


def test_int8_weights_are_a_quarter_and_load_as_they_were_evaluated(finished):
    sizes = [sum(f.stat().st_size for f in (finished / s / "model/language_model").glob("*.safetensors"))
             for s in ("recover", "quantize")]  # fmt: skip
    assert sizes[1] < 0.6 * sizes[0]
    one, two = (load_speech_llm(finished / s / "model").model for s in ("recover", "quantize"))
    weights = [dict(model.language_model.named_parameters()) for model in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    name = next(name for name in weights[0] if name.endswith("q_proj.weight"))
    gap, largest = (weights[0][name] - weights[1][name]).abs().max(), weights[0][name].abs().max()
    assert 0 < gap <= largest / 127


def test_a_finished_run_is_not_run_again(finished, settings, config_file):
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("*.safetensors")}
    run_speech_llm(config_file, settings(finished, *ALL))
    assert before == {file: file.stat().st_mtime_ns for file in finished.rglob("*.safetensors")}


def test_answers_and_scores_do_not_depend_on_the_batch(finished, settings, config_file, tmp_path):
    config, problems = read_settings(SpeechLLMConfig, config_file, settings(tmp_path, *ALL, "data.history=speech"))
    assert not problems
    loaded, found = load_speech_llm(finished / "train_lora/model"), {}
    examples = {split: read_examples(getattr(config.data, split), config) for split in ("train", "test")}
    labels = find_labels(config.classify, examples["train"], examples["test"])
    for size in (1, 2, 4, 8):
        config.evaluate.batch_size = size
        for task in config.tasks:
            here = [example for example in examples["test"] if example.task == task]
            answered = answer_examples(here, PromptBuilder(loaded, config.data), config, labels)
            found[size, task] = answered, score_task(answered, labels, "macro_f1", 20, 0)
    for size in (2, 4, 8):
        for task in config.tasks:
            (single, score), (batched, other) = found[1, task], found[size, task]
            assert [item.prediction for item in single] == [item.prediction for item in batched]
            for one, two in zip(single, batched, strict=True):
                assert one.scores == pytest.approx(two.scores, abs=1e-4)
            assert (score.confusion, score.per_class) == (other.confusion, other.per_class)
            assert score.metrics == pytest.approx(other.metrics, rel=1e-5)


def test_accumulated_gradients_give_the_weights_of_the_large_batch(settings, config_file, tmp_path, monkeypatch):
    def plain(parts, config):
        # Adam divides by the gradient: where that is zero but for rounding, its sign would be chance.
        found = dict.fromkeys(parameter for part in parts.values() for parameter in part.parameters())
        return torch.optim.SGD([{"params": list(found), "name": "adapter"}], lr=0.1)

    monkeypatch.setattr("bigfoot.training.loop.build_optimizer", plain)
    weights, records = [], []
    for size, parts in ((8, 1), (2, 4)):
        folder = tmp_path / str(parts)
        run_speech_llm(config_file, settings(
            folder, "steps=[train_full]", f"train_full.batch_size={size}", "train_full.encoder=full",
            f"train_full.gradient_accumulation_steps={parts}", "train_full.cache_encoder=false",
            "train_full.losses.token_logits=0.5", "train_full.losses.text_speech=0.5",
        ), until="train_full")  # fmt: skip
        records.append(json.loads((folder / "train_full/facts.json").read_text())["records"])
        weights.append(load_speech_llm(folder / "train_full/last").model.state_dict())
    for one, two in zip(*records, strict=True):
        assert one == pytest.approx(two, abs=2e-6)
    gaps = {name: float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]}
    assert max(gaps.values()) <= 1e-6, max(gaps, key=gaps.get)


def test_states_of_a_frozen_encoder_are_shared_where_recording_and_encoder_are_the_same(
    settings, config_file, corpus, tmp_path
):
    # Turns of train and of dev have the same names, as where every file counts its dialogues from 1.
    dev, lines = tmp_path / "dev.jsonl", (corpus / "dev.jsonl").read_text().splitlines()
    rows = [json.loads(line) | {"dialogue": "train-0000"} for line in lines]
    dev.write_text("".join(json.dumps(row | {"audio": str(corpus / row["audio"])}) + "\n" for row in rows))
    records = []
    for cached in ("false", "true"):
        run_speech_llm(config_file, settings(
            tmp_path / cached, "steps=[train_adapter,shrink,recover]", "data.history=speech", f"data.dev={dev}",
            "shrink.num_hidden_layers=1", "recover.encoder=frozen",
            *(f"{stage}.cache_encoder={cached}" for stage in ("train_adapter", "recover")),
        ), until="recover")  # fmt: skip
        files = [tmp_path / cached / step / "facts.json" for step in ("train_adapter", "recover")]
        records.append([record for file in files for record in json.loads(file.read_text())["records"]])
    assert len(records[0]) == len(records[1]) == 6
    for one, two in zip(*records, strict=True):
        assert one == pytest.approx(two, abs=2e-5)


def test_killed_in_every_stage_it_ends_in_the_same_bits(settings, config_file, corpus, launch, tmp_path):
    stages = ("train_adapter", "train_lora", "train_full")

    def command(folder):
        changes = settings(
            folder, f"steps=[{','.join(stages)}]", *(f"{stage}.max_steps=12" for stage in stages),
            "data.most_tokens=90", "train_lora.losses.token_logits=0.5", "train_lora.encoder=top",
            "train_full.encoder=full", "train_full.cache_encoder=false", "data.history_turns=8",
        )  # fmt: skip
        return ["bigfoot/__main__.py", "train-task", "--config", config_file, "--until", stages[-1], *changes]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = launch.run(*command(whole))
    assert done.returncode == 0, done.stderr
    moments = [
        lambda: "train_adapter 4/12" in log_of(broken),
        lambda: "teacher: " in log_of(broken),  # whose logits are being computed or written
        lambda: "train_lora 4/12" in log_of(broken), lambda: "train_full 4/12" in log_of(broken),
    ]  # fmt: skip
    for moment in moments:
        process = launch.start(*command(broken))
        wait_for(moment, process)
        assert kill(process)
    done = launch.run(*command(broken))
    assert done.returncode == 0, done.stderr
    assert log_of(broken).count(RESUMING) == len(stages)
    learns = load_file(broken / "train_lora/checkpoint/model.safetensors")
    assert any("lora_" in name for name in learns) and not any("embed_tokens" in name for name in learns)
    for stage in stages:
        one, two = (load_speech_llm(folder / stage / "model").model.state_dict() for folder in (whole, broken))
        assert all(torch.equal(one[name], two[name]) for name in one)
        notes = [json.loads((folder / stage / "facts.json").read_text())["notes"] for folder in (whole, broken)]
        assert notes[0] == notes[1] != []


def test_histories_are_cut_where_they_do_not_fit_and_turns_are_not(finished, settings, config_file, tmp_path):
    config, _ = read_settings(SpeechLLMConfig, config_file, settings(tmp_path, "data.history_turns=4"))
    loaded, examples = load_speech_llm(finished / "train_lora/model"), read_examples(config.data.test, config)
    whole = PromptBuilder(loaded, config.data)
    prompts = [whole.build(example, 5) for example in examples]
    sizes = []
    for prompt, layout in zip(prompts, whole.lay_out(prompts, [None] * len(prompts)), strict=True):
        written = sum(len(piece) for piece in layout.pieces if isinstance(piece, torch.Tensor))
        sizes.append(written + loaded.model.count_embeddings([len(prompt.samples[0])])[0])
    assert not whole.cuts.describe("test")
    config.data.most_tokens = max(sizes) + 4
    builder = PromptBuilder(loaded, config.data)
    cut = [len(builder.build(example, 5).example.history) for example in examples]
    lost = [len(example.history) - left for example, left in zip(examples, cut, strict=True)]
    assert [bool(count) for count in lost] == [size == max(sizes) for size in sizes]
    assert names(builder.cuts.describe("test")[0], sum(map(bool, lost)), len(examples))
    # A run that is resumed counts what it cut before.
    folder, resumed = str(tmp_path / "checkpoint"), Cuts({"d": 0})
    for cuts, method in ((builder.cuts, "save_state"), (resumed, "load_state")):
        cuts.keep_in_checkpoints(accelerator := Accelerator(cpu=True))
        getattr(accelerator, method)(folder)
    assert resumed.turns == builder.cuts.turns | {"d": 0}
    # Whoever teaches reads as much of each history as who learns.
    room = replace(config.data, most_tokens=0, input="text")
    teacher = PromptBuilder(loaded, room, partner=PromptBuilder(loaded, config.data))
    assert [len(teacher.build(example, 5).example.history) for example in examples] == cut
    assert teacher.cuts.turns == builder.cuts.turns
    config.data.most_tokens = 5
    with refused(DataError, examples[0].turn.id, 5):
        builder.build(examples[0], 5)


def test_recordings_that_are_missing_are_found_before_anything_runs(settings, config_file, corpus, tmp_path):
    test = tmp_path / "test.jsonl"
    test.write_text((corpus / "test.jsonl").read_text())  # and its audio is elsewhere
    with refused(DataError, tmp_path / "audio", 3):
        run_speech_llm(config_file, settings(tmp_path / "run", f"data.test={test}"))
    rows = [json.loads(line) for line in (corpus / "test.jsonl").read_text().splitlines()]
    row = next(row for row in rows if row["role"] == "client")
    test.write_text(json.dumps(row | {"audio": str(corpus / row["audio"]), "end": 99.0}))
    with refused(DataError, f"{row['dialogue']}#1", 99.0):
        run_speech_llm(config_file, settings(tmp_path / "run", f"data.test={test}"))
    assert not (tmp_path / "run/start").exists()


def test_what_is_wrong_with_a_configuration_is_a_problem(tmp_path):
    changes = ["tasks=[]", "steps=[recover,adapter]", "prompt=no slot", "train_lora.losses.next_token=0"]
    _, problems = read_settings(SpeechLLMConfig, None, changes)
    assert {
        ("tasks", "empty"), ("steps", "unknown_word"), ("prompt", "unreadable"), ("train_lora.losses", "no_loss"),
        ("language_model.path", "missing"), ("data.test", "missing"), ("recover.teacher", "bad_order"),
    } <= set(codes(problems))  # fmt: skip


def test_commands_take_the_model(finished, settings, config_file, corpus, bigfoot, tmp_path, monkeypatch):
    model = finished / "recover/model"
    changes = settings(tmp_path / "none", *ALL)
    options = ["--config", config_file, "--run-dir", tmp_path / "e", "--json"]
    code, output, _ = bigfoot("evaluate", model, *options, *changes)
    assert code == 0 and set(json.loads(output)) == {"transcribe", "classify", "forecast"}
    expected = {(task["name"], task["kind"]): task for task in load_report(finished / "report").tasks}
    assert json.loads(output)["classify"]["confusion"] == expected["recover", "classify"]["confusion"]
    assert len((tmp_path / "e/examples_test_classify.jsonl").read_text().splitlines()) == 6

    audio = next((corpus / "audio").glob("*.flac"))
    code, output, _ = bigfoot("ask", model, "--audio", audio, "--prompt", "attitude:", "--max-tokens", "7")
    loaded = load_speech_llm(model)
    parts = []
    samples = read_audio(audio)
    whole = answer(loaded, samples, {"instruction": "attitude:", "history": ""}, parts.append, most_new_tokens=7)
    assert code == 0 and output.rstrip("\n") == whole.rstrip("\n") == "".join(parts).rstrip("\n") and len(parts) > 1

    def stop_at_the_fourth(streamer, value):
        if not next(left):
            raise KeyboardInterrupt
        put(streamer, value)

    put, left = TextStreamer.put, iter((3, 2, 1, 0))
    monkeypatch.setattr(TextStreamer, "put", stop_at_the_fourth)
    code, output, _ = bigfoot("ask", model, "--audio", audio, "--prompt", "attitude:", "--max-tokens", "7")
    assert code == 130 and 0 < len(output) < len(whole) and whole.startswith(output)
    monkeypatch.undo()

    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "a.flac").write_bytes(audio.read_bytes())
    written = tmp_path / "a.safetensors"
    code, _, _ = bigfoot("embed", model, "--audio-dir", folder, "--output-file", written, "--layer", "adapter",
                         "--pool", "none")  # fmt: skip
    values = torch.from_numpy(normalize_part(samples, None))[None]
    with torch.no_grad():
        speech = SpeechInput(values, torch.ones_like(values, dtype=torch.bool))
        expected = loaded.model.embed_speech(speech)[0]
    assert code == 0
    torch.testing.assert_close(next(iter(load_file(written).values())), expected)
