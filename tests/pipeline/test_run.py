import json
import shutil

import pytest
import torch
from accelerate import PartialState

import bigfoot
from bigfoot.errors import BigfootError, DataError, TrainingError
from bigfoot.formats.folder import load_model
from bigfoot.pipeline import inputs, run_pipeline
from bigfoot.pipeline.facts import SKIPPED
from bigfoot.text.tokenizers import Processor
from bigfoot.training.guards import check_half_precision
from tests.conftest import make_teacher
from tests.refusals import refused

FIELDS = [
    "name", "step", "split", "decoder", "wer", "wer_low", "wer_high", "cer", "num_utterances", "num_words",
    "num_params", "num_unique_params", "size_bytes", "macs_per_second", "macs_by_part", "real_time_factor",
    "peak_memory_bytes", "compression_ratio", "speedup", "speedup_all_threads", "batch_invariant", "config_path",
    "seed", "versions",
]  # fmt: skip
ROWS = ["teacher", "student_init", "distill", "finetune", "ctc_only_distill", "ctc_only_finetune"]


def states(output):
    """What the log reports of each step: begun or skipped."""
    lines = [line.partition(": ") for line in output.splitlines()]
    return {
        name: "skipped" if done.startswith(SKIPPED) else "begun"
        for name, _, done in lines
        if done.startswith(("started", "preparing")) or done.startswith(SKIPPED)
    }


def same_weights(one, two):
    here, there = load_model(one).model.state_dict(), load_model(two).model.state_dict()
    return here.keys() == there.keys() and all(torch.equal(here[key], there[key]) for key in here)


def test_the_report_has_its_rows_and_fields(finished_run):
    folder, output = finished_run
    report = json.loads((folder / "report" / "report.json").read_text())
    assert [row["step"] for row in report["rows"]] == ROWS
    assert set(report["seconds_per_step"]) == set(ROWS)
    for row in report["rows"]:
        assert [name for name in FIELDS if row.get(name) is None] == [], row["name"]
        assert (row["split"], row["decoder"], row["num_utterances"], row["seed"]) == ("test", "greedy", 6, 7)
        assert row["batch_invariant"] is True and row["config_path"] == "demo_config.yaml"
        assert set(row["macs_by_part"]) == {"conv", "positional_conv", "transformer", "head"}
        assert sum(row["macs_by_part"].values()) == row["macs_per_second"]
        assert row["wer_low"] <= row["wer"] <= row["wer_high"] and row["peak_memory_bytes"] > 50e6
        assert row["versions"]["torch"] == torch.__version__
        assert row["versions"]["bigfoot"] == bigfoot.__version__
    teacher, student = report["rows"][:2]
    assert teacher["speedup"] == teacher["compression_ratio"] == 1.0
    assert student["compression_ratio"] == teacher["num_unique_params"] / student["num_unique_params"] > 1.5
    worst = report["worst"][0]
    assert (worst["model"], list(worst["hypotheses"]), worst["errors"] > 0) == ("finetune", ROWS, True)
    page = (folder / "report" / "report.html").read_text()
    assert worst["id"] in page and f'src="{worst["audio"]}"' in page
    for name in ("report.md", "report.html", "report.csv", "wer_vs_size.png", "losses.png"):
        assert (folder / "report" / name).stat().st_size > 500
    assert "Report: " in output and "report.md" in output and "student_init" in output


def test_the_command_says_what_it_did(finished_run):
    folder, output = finished_run
    begun = ["data", "student", "distill", "finetune", "ctc_only_distill", "ctc_only_finetune"]
    assert states(output) == dict.fromkeys(begun, "begun")
    for words in ("student: depth", "student: conv_groups", "student: parameters", "M MACs per second of audio, conv",
                  "distill 6/6  logit_kl", "distill 6  dev WER", "blanks", "finetune 3/3  ctc"):  # fmt: skip
        assert words in output, words
    assert "\x1b" not in output, "plain lines where it is not a terminal"
    assert all(line in (folder / "log.txt").read_text() for line in ("distill: started", "finetune: done"))
    losses = json.loads((folder / "report" / "report.json").read_text())["losses"]
    assert set(losses) == set(ROWS[2:])
    assert {"step", "logit_kl", "loss", "learning_rate"} <= set(losses["distill"][0])
    assert {"logit_kl", "hidden"} & set(losses["ctc_only_distill"][0]) == set()


def test_control_and_student_begin_alike(finished_run):
    folder, _ = finished_run
    history = json.loads((folder / "ctc_only_finetune" / "model" / "history.json").read_text())["steps"]
    assert [entry["step"] for entry in history] == ["student", "ctc_only_distill", "ctc_only_finetune"]
    assert history[1]["losses"] == {"ctc": 1.0}
    assert not same_weights(folder / "distill" / "model", folder / "ctc_only_distill" / "model")


@pytest.fixture
def copy(finished_run, tmp_path):
    shutil.copytree(finished_run[0], tmp_path / "run")
    return tmp_path / "run"


def again(config, capsys, **options):
    capsys.readouterr()
    report = run_pipeline(config, config_path="demo_config.yaml", **options)
    return report, states(capsys.readouterr().out)


@pytest.fixture
def demo(small_run):
    from bigfoot.pipeline.settings import load_config

    return lambda folder, *more: load_config("demo_config.yaml", small_run(folder, "control=ctc_only", *more))


def test_a_second_run_skips_every_step_and_measures_nothing(copy, demo, capsys, monkeypatch):
    monkeypatch.setattr("bigfoot.pipeline.measured.load_model", None)
    report, done = again(demo(copy), capsys)
    steps = ["data", "student", "distill", "finetune", "ctc_only_distill", "ctc_only_finetune", "report"]
    assert done == dict.fromkeys(steps, "skipped")
    assert [row.step for row in report.rows] == ROWS


def test_a_changed_setting_redoes_what_stands_on_it_and_nothing_else(copy, demo, capsys):
    _, done = again(demo(copy, "distill.learning_rate=2e-3"), capsys, until="finetune")
    assert done == {"data": "skipped", "student": "skipped", "distill": "begun", "finetune": "begun"}
    _, done = again(demo(copy, "distill.learning_rate=2e-3", "finetune.max_steps=2"), capsys, until="finetune")
    assert done == {"data": "skipped", "student": "skipped", "distill": "skipped", "finetune": "begun"}
    workers = ("distill.learning_rate=2e-3", "finetune.max_steps=2", "data.num_workers=1", "threads=null")
    _, done = again(demo(copy, *workers), capsys, until="finetune")
    assert set(done.values()) == {"skipped"}


def test_a_changed_evaluation_redoes_the_report_alone(copy, demo, capsys, quick_report):
    report, done = again(demo(copy, "evaluate.splits=[dev,test]"), capsys)
    assert "report" not in done and set(done.values()) == {"skipped"}
    assert [(row.split, row.step) for row in report.rows] == [(split, row) for split in ("dev", "test") for row in ROWS]


def test_other_weights_in_the_teachers_folder_redo_all(copy, demo, capsys, narrow_teacher, tmp_path):
    moved = shutil.copytree(narrow_teacher, tmp_path / "teacher")
    _, done = again(demo(copy, f"teacher.path={moved}"), capsys, until="student")
    assert done["student"] == "skipped"
    from safetensors.torch import load_file, save_file

    state = load_file(moved / "model.safetensors")
    state["lm_head.bias"] += 1.0
    save_file(state, moved / "model.safetensors", metadata={"format": "pt"})
    _, done = again(demo(copy, f"teacher.path={moved}"), capsys, until="student")
    assert done["student"] == "begun"


def test_what_fails_half_way_is_not_taken_for_done(copy, demo, capsys, monkeypatch):
    """Data and a step are begun with other settings and fail; then the first settings come back."""

    def fail(*_arguments):
        raise DataError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "prepare_data", fail)
        with refused(DataError, "killed"):
            again(demo(copy, "seed=8"), capsys, until="data")
    with monkeypatch.context() as patch:
        patch.setattr("bigfoot.pipeline.steps.student.build_student", fail)
        with refused(DataError, "killed"):
            again(demo(copy, "student.layer_init=first_k"), capsys, until="student")
    shutil.rmtree(copy / "student" / "model")
    _, done = again(demo(copy), capsys, until="distill")
    assert done == {"data": "skipped", "student": "begun", "distill": "skipped"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["data", "teacher", "student"])
def test_until_stops_there(stage, small_config, tmp_path):
    assert run_pipeline(small_config(tmp_path / "run"), until=stage) is None
    made = {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}
    assert made == {"data", "student"} - ({"student"} if stage != "student" else set())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_one_others(small_config, tmp_path):
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run_pipeline(small_config(tmp_path / name, f"seed={seed}"), until="distill")
    models = [tmp_path / name / "distill" / "model" for name in "abc"]
    assert same_weights(models[0], models[1]) and not same_weights(models[0], models[2])


@pytest.mark.slow
def test_a_teacher_without_a_head(small_config, build_huggingface, quick_memory, tmp_path):
    """Of HuBERT with batch norm, whose other runs stand in test_families."""
    teacher = make_teacher(tmp_path / "it", build_huggingface, Processor(), "hubert-batch-norm", cls="AutoModel")
    hidden = ("distill.losses.logit_kl.weight=0", "distill.losses.hidden.weight=1", "finetune.head=new")
    report = run_pipeline(small_config(tmp_path, f"teacher.path={teacher}", "student.layer_init=[2,3]", *hidden))
    assert [row.step for row in report.rows] == ROWS[:4]
    for row in report.rows[:3]:
        assert (row.wer, row.cer, row.batch_invariant, row.wer_missing_reason) == (None, None, None, "no CTC head")
    assert report.rows[3].wer is not None and report.rows[3].num_words > 0
    assert report.rows[0].wer_missing_reason in (tmp_path / "report" / "report.md").read_text()
    assert report.rows[3].batch_invariant
    assert all(sum(row.macs_by_part.values()) == row.macs_per_second for row in report.rows)
    loaded = load_model(tmp_path / "finetune" / "model")
    assert loaded.processor.tokenizer is not None
    assert loaded.model.config.family == "hubert" and loaded.model.config.groups_of_convs == [1] + [2] * 6


@pytest.mark.slow
def test_a_teacher_with_another_alphabet_and_a_new_head(small_config, other_teachers, quick_report, tmp_path):
    teacher = f"teacher.path={other_teachers['small_vocabulary']}"
    report = run_pipeline(small_config(tmp_path, teacher, "finetune.head=new", "distill.losses.hidden.weight=1"))
    assert [row.step for row in report.rows] == ROWS[:4]
    # Its vocabulary is A, B and C; it is judged by the whole transcripts.
    assert report.rows[0].wer is not None and report.rows[0].hits == 0
    letters = load_model(tmp_path / "finetune" / "model").processor.tokenizer.characters
    assert {"E", "O", "T"} <= set(letters)


@pytest.mark.slow
def test_bad_audio_and_transcripts_are_listed_in_the_report(small_config, table_settings, quick_report, tmp_path):
    report = run_pipeline(small_config(tmp_path, *table_settings, "steps=[student]"))
    names = sorted(item["path"].rpartition("/")[2] for item in report.skipped)
    assert names == ["foreign.flac", "missing.flac", "truncated.flac", "zero.flac"]
    assert all(item["reason"] and item["split"] == "train" for item in report.skipped)
    page = (tmp_path / "report" / "report.md").read_text()
    assert all(name in page for name in names)
    assert [row.step for row in report.rows] == ["teacher", "student_init"]


@pytest.mark.slow
def test_speed_is_measured_only_where_it_is_asked_for(small_config, monkeypatch, tmp_path):
    monkeypatch.setattr("bigfoot.pipeline.measured.measure_speed", lambda *_, **__: pytest.fail("timed"))
    monkeypatch.setattr("bigfoot.pipeline.measured.measure_peak_memory", lambda *_: pytest.fail("measured"))
    report = run_pipeline(small_config(tmp_path, "steps=[student]", "measure.speed=false", "evaluate.lm_path=x.arpa"))
    assert [(row.speedup, row.peak_memory_bytes, row.wer is None) for row in report.rows] == [(None, None, False)] * 2
    assert "evaluate.lm_path" in (tmp_path / "log.txt").read_text(), "what is not read is named in the log"


@pytest.mark.slow
def test_bad_audio_can_stop_the_run(small_config, table_settings, tmp_path):
    with pytest.raises(DataError):
        run_pipeline(small_config(tmp_path, *table_settings, "data.on_bad_audio=raise"), until="data")


@pytest.mark.slow
def test_the_test_split_is_not_read_before_the_end(small_config, table, quick_report, tmp_path):
    own = shutil.copytree(table, tmp_path / "table")
    splits = [f"data.{split}_splits=[{split}.tsv]" for split in ("train", "dev", "test")]
    config = small_config(tmp_path / "run", "data.corpus=table", f"data.root={own}", *splits)
    run_pipeline(config, until="data")
    gone = sorted(own.glob("synthetic-test*.flac"))
    assert len(gone) == 3
    for file in gone:
        file.unlink()
    run_pipeline(config, until="finetune")
    with pytest.raises(BigfootError) as caught:
        run_pipeline(config)
    assert "synthetic-test" in str(caught.value)


@pytest.mark.slow
def test_a_corpus_without_dev_says_what_to_set(small_config, table_settings, tmp_path):
    with refused(DataError, "data.dev_splits", "data.hold_out_speakers"):
        run_pipeline(small_config(tmp_path, *table_settings, "data.dev_splits=[]"), until="data")


@pytest.fixture
def own_accelerator():
    """accelerate holds one precision for a whole process."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.slow
def test_bf16_trains_where_this_machine_has_it_right_and_is_refused_elsewhere(small_config, tmp_path, own_accelerator):
    config = small_config(tmp_path, "precision=bf16", "distill.losses.hidden.weight=1")
    teacher = load_model(config.teacher.path).model.to(PartialState().device)
    try:
        check_half_precision(teacher, "bf16")
    except TrainingError:
        with refused(TrainingError, "precision=bf16", torch.__version__):
            run_pipeline(config, until="finetune")
        return
    run_pipeline(config, until="finetune")
    state = load_model(tmp_path / "finetune" / "model").model.state_dict()
    assert all(tensor.isfinite().all() and tensor.dtype == torch.float32 for tensor in state.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_same_recipe_with_bf16_on_a_gpu(launch, small_run, tmp_path):
    done = launch.run("recipes/compress.py", *small_run(tmp_path / "run", "precision=bf16", "control=ctc_only"))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text())
    assert [row["step"] for row in report["rows"]] == ROWS
    assert all(row["batch_invariant"] for row in report["rows"])
