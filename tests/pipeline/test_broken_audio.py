"""Ten broken files among 50 good ones: the run ends, names each, and judges as if they were not there."""

import json
import struct

import numpy as np
import pytest
import soundfile

from bigfoot.audio.files import write_audio
from bigfoot.data.synthetic import synthesize_split
from bigfoot.pipeline import run_pipeline

COUNTS = {"train": 30, "dev": 5, "test": 15}
# (split, file, what its reason says)
BROKEN = (
    ("train", "zero_bytes.flac", "empty (0 bytes)"),
    ("train", "cut_flac.flac", "cannot be decoded"),
    ("train", "cut_wav.wav", "truncated"),
    ("train", "random_bytes.wav", "not audio"),
    ("train", "folder.wav", "a folder"),
    ("dev", "not_finite.wav", "not finite"),
    ("dev", "cut_ogg.ogg", "truncated"),
    ("test", "absurd_rate.wav", "sample rate 1000000 Hz"),
    ("test", "no_samples.wav", "no samples"),
    ("test", "missing.wav", "no such file"),
)


def break_files(folder, samples):
    """Write the broken ones, from good speech wherever there is some in them."""
    for name in ("cut_flac.flac", "cut_wav.wav", "cut_ogg.ogg", "absurd_rate.wav"):
        soundfile.write(folder / name, samples, 16000)
        content = bytearray((folder / name).read_bytes())
        if name.startswith("cut"):
            content = content[: len(content) * 2 // 3]
        else:
            content[24:28] = struct.pack("<I", 1_000_000)
        (folder / name).write_bytes(content)
    (folder / "zero_bytes.flac").touch()
    (folder / "random_bytes.wav").write_bytes(np.random.default_rng(0).bytes(9000))
    (folder / "folder.wav").mkdir()
    spoiled = np.where(np.arange(len(samples)) == 99, np.inf, samples)
    soundfile.write(folder / "not_finite.wav", spoiled, 16000, subtype="FLOAT")
    soundfile.write(folder / "no_samples.wav", samples[:0], 16000)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Folder with a table of good files and one with the broken among them, for each split."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in COUNTS.items():
        lines = []
        for item in synthesize_split(1, split, count, 1, 1):
            write_audio(folder / f"{item.id}.flac", item.samples)
            lines.append(f"{item.id}.flac\t{item.text}\t{item.speaker}\n")
        bad = [f"{name}\tONE TWO\tnobody\n" for place, name, _ in BROKEN if place == split]
        (folder / f"good_{split}.tsv").write_text("".join(["path\ttext\tspeaker\n", *lines]))
        # Among the good ones, at the head of the table and at its end too.
        (folder / f"all_{split}.tsv").write_text(
            "".join(["path\ttext\tspeaker\n", bad[0], *lines[:7], *bad[1:-1], *lines[7:], bad[-1]])
        )
    break_files(folder, item.samples)
    return folder


def run(corpus, tables, small_config, folder):
    splits = [f"data.{split}_splits=[{tables}_{split}.tsv]" for split in COUNTS]
    short = ["steps=[student,distill]", "distill.max_steps=2", "distill.eval_every=2", "evaluate.speed_rounds=1"]
    return run_pipeline(small_config(folder, "data.corpus=table", f"data.root={corpus}", *splits, *short))


@pytest.mark.slow
def test_the_figures_are_those_of_the_good_files_alone(corpus, small_config, quick_report, tmp_path):
    broken = run(corpus, "all", small_config, tmp_path / "broken")
    good = run(corpus, "good", small_config, tmp_path / "good")
    assert good.skipped == [] and len(broken.skipped) == len(BROKEN) == 10

    assert [row.step for row in broken.rows] == ["teacher", "student_init", "distill"]
    for one, other in zip(broken.rows, good.rows, strict=True):
        for field in (
            "wer", "wer_low", "wer_high", "cer", "hits", "substitutions", "deletions", "insertions", "num_words",
            "num_utterances",
        ):  # fmt: skip
            assert getattr(one, field) == getattr(other, field), (one.step, field)
    assert broken.rows[0].num_utterances == COUNTS["test"]

    written = json.loads((tmp_path / "broken/report/report.json").read_text())["skipped"]
    markdown = (tmp_path / "broken/report/report.md").read_text()
    reasons = {(item["split"], item["path"]): item["reason"] for item in written}
    for split, name, expected in BROKEN:
        reason = reasons[split, str(corpus / name)]
        assert expected in reason
        assert any(name in line and reason in line for line in markdown.splitlines())
