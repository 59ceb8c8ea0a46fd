"""Every YAML under configs/tasks/ is right as it stands, and runs with tiny settings."""

import re

import pytest

from bigfoot.config import CONFIG_FOLDER
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.settings import load_config, read_config

NAMES = sorted(f"tasks/{path.name}" for path in (CONFIG_FOLDER / "tasks").glob("*.yaml"))
TINY = ("threads=1", "trackers=[]", "data.batch_seconds=10", "evaluate.bootstrap_samples=5", "train_task.max_steps=2",
        "train_task.warmup_steps=1", "train_task.eval_every=1", "train_task.freeze=[feature_encoder]",
        "measure.speed=false")  # fmt: skip
FLOORS = {"regression": {"mean", "fbank + ridge"}}
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


@pytest.mark.slow
def test_all_that_are_shipped_are_here():
    kinds = {name: load_config(name).train_task.kind for name in NAMES}
    assert set(kinds.values()) == {"single_label", "multi_label", "ordinal", "regression"} and len(kinds) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_no_key_is_wrong_and_the_command_stands_on_top(name):
    _, problems = read_config(name)
    assert problems == []
    head = (CONFIG_FOLDER / name).read_text().splitlines()[0]
    assert head.startswith("# ") and re.search(rf"\bbigfoot train-task --config {name}\b", head)


def make_fsdd(source, folder):
    """Three digits of every speaker, three times each, where they lie."""
    (folder / "recordings").mkdir(parents=True)
    for speaker in SPEAKERS:
        for digit in range(3):
            for index in (0, 6, 9):
                name = f"{digit}_{speaker}_{index}.wav"
                (folder / "recordings" / name).symlink_to(source / "recordings" / name)
    return folder


def make_speechocean(source, folder):
    """Two utterances of the first eight speakers of train and of dev."""
    folder.mkdir()
    (folder / "audio").symlink_to(source / "audio")
    (folder / "speakers.tsv").write_text((source / "speakers.tsv").read_text())
    for split in ("train", "dev"):
        header, *rows = (source / f"{split}.tsv").read_text().splitlines(keepends=True)
        place, by_speaker = header.rstrip().split("\t").index("speaker"), {}
        for row in rows:
            by_speaker.setdefault(row.split("\t")[place], []).append(row)
        kept = [row for found in list(by_speaker.values())[:8] for row in found[:2]]
        (folder / f"{split}.tsv").write_text(header + "".join(kept))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_teacher_to_report(name, request, narrow_teacher, tmp_path):
    settings = ["data.num_train=12", "data.num_dev=6", "data.num_test=6"]
    for corpus, make in (("fsdd", make_fsdd), ("speechocean762", make_speechocean)):
        if corpus in name:
            source = request.getfixturevalue("real_corpora") / corpus
            if not source.is_dir():
                pytest.skip(f"no {corpus} in {source.parent}")
            settings = [f"data.root={make(source, tmp_path / 'corpus')}"]
    config = load_config(name, [*TINY, *settings, f"run_dir={tmp_path / 'run'}", f"teacher.path={narrow_teacher}"])
    report = run_pipeline(config, config_path=name)
    row = report.rows[-1]
    assert row.name == "train_task" and row.score is not None and row.batch_invariant
    usual = {"majority", "fbank + logistic regression"}
    assert set(report.tasks[0]["floors"]) == FLOORS.get(config.train_task.kind, usual)
