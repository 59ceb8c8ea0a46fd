"""Every YAML under configs/ is right as it stands, and runs with tiny settings."""

import re

import pytest

from bigfoot.config import CONFIG_FOLDER
from bigfoot.pipeline import run_pipeline
from bigfoot.pipeline.settings import load_config, read_config

NAMES = sorted(path.name for path in CONFIG_FOLDER.glob("*.yaml"))
# The shipped batches of minutes and pauses of hundreds of steps are too long for a test.
TINY = [f"{part}.{key}" for part in ("distill", "supernet", "finetune", "qat") for key in (
    "max_steps=2", "warmup_steps=1", "eval_every=2", "checkpoint_every=1", "log_every=1",
)]  # fmt: skip
REST = ["threads=1", "trackers=[]", "data.batch_seconds=40", "evaluate.speed_rounds=1", "evaluate.speed_seconds=0.5",
        "evaluate.bootstrap_samples=20", "student.num_hidden_layers=2", "data.num_workers=0"]  # fmt: skip
DIGITS = ["data.num_train=10", "data.num_dev=2", "data.num_test=3"]
# Of a student of two layers.
MATCHES = ["supernet.losses.masked_hidden={matches: [[2, 3]], mean_of: 2}"]


def settings_of(name, real_corpora, libri_tree, short_tables):
    """Overrides that make a configuration small, and its corpus too."""
    if name in ("librispeech.yaml", "librispeech_supernet.yaml"):
        splits = {"train-clean-100": ("train-mini", 4), "dev-clean": ("train-mini", 2), "test-clean": ("dev-mini", 2)}
        root = libri_tree(real_corpora() / "LibriSpeech", splits)
        return [f"data.root={root}", "data.train_clean_100=true", "student.shape={}", *MATCHES[: "super" in name]]
    if name == "librispeech_mini.yaml":
        splits = {"train-mini": ("train-mini", 6), "dev-mini": ("dev-mini", 2)}
        root = libri_tree(real_corpora() / "LibriSpeech", splits)
        return [f"data.root={root}", "data.hold_out_speakers=2"]
    if name == "speechocean762.yaml":
        published = real_corpora() / "speechocean762"
        if not published.is_dir():
            pytest.skip(f"no speechocean762 in {published.parent}")
        return [f"data.root={short_tables(published)}", "data.hold_out_speakers=1"]
    groups = ["qat.bits=[8]"] * (name == "fsdd_qat.yaml")  # fewer bits want groups, and the teacher is too narrow
    return [*DIGITS, *groups, f"data.root={real_corpora() / 'fsdd'}"] if name.startswith("fsdd") else DIGITS


def test_all_that_are_shipped_are_here():
    shipped = {"demo_config.yaml", "fsdd.yaml", "librispeech_mini.yaml", "librispeech.yaml", "speechocean762.yaml",
               "fsdd_supernet.yaml", "librispeech_supernet.yaml"}  # fmt: skip
    assert shipped <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_key_is_wrong_and_the_command_stands_on_top(name):
    _, problems = read_config(name)
    assert problems == []
    head = (CONFIG_FOLDER / name).read_text().splitlines()[0]
    assert head.startswith("# ") and re.search(rf"\bbigfoot compress --config {name}\b", head)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_from_teacher_to_report(name, request, narrow_teacher, libri_tree, quick_report, tmp_path):
    def short_tables(source):
        """The first lines of train, of two speakers, and of dev; audio stays where it lies."""
        (tmp_path / "audio").symlink_to(source / "audio")
        for table, count in (("train.tsv", 31), ("dev.tsv", 4)):
            lines = (source / table).read_text().splitlines(keepends=True)
            (tmp_path / table).write_text("".join(lines[:count]))
        return tmp_path

    settings = settings_of(name, lambda: request.getfixturevalue("real_corpora"), libri_tree, short_tables)
    more = [f"run_dir={tmp_path}", f"teacher.path={narrow_teacher}"]
    config = load_config(name, [*TINY, *REST, *settings, *more])
    report = run_pipeline(config, config_path=name)
    control = ["ctc_only_distill", "ctc_only_finetune"] if config.control else []
    assert [row.step for row in report.rows] == ["teacher", "student_init", *config.steps[1:], *control]
    assert all(row.wer is not None and row.num_words > 0 and row.batch_invariant for row in report.rows)
    assert all(row.config_path == name and row.split == "test" for row in report.rows)
    again = run_pipeline(config, config_path=name)
    assert again.rows[0] == report.rows[0]
