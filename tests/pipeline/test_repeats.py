"""Several seeds and folds: which runs there are, and one table, in the cloud too."""

import json
from pathlib import Path

import pytest

from bigfoot.pipeline.repeats import RepeatedRun, plan_repeats, run_repeats
from bigfoot.report.rows import Report, Row
from bigfoot.storage.replace import write_file
from tests.codes import refusing

BASE = RepeatedRun("runs/mood", 7, "split", "given")


def test_folds_are_split_by_speaker_where_nothing_was_chosen():
    assert list(plan_repeats("3", 2, BASE)) == [
        (f"seed3-fold{fold}", ["seed=3", f"run_dir=runs/mood/seed3-fold{fold}", "split.folds=2", f"split.fold={fold}",
                               "split.by=speaker"]) for fold in (0, 1)
    ]  # fmt: skip
    with refusing(("--seeds", "wrong_type")):
        list(plan_repeats("one", 0, BASE))


def test_a_table_in_the_cloud_after_a_run_that_failed(tmp_path, monkeypatch):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    monkeypatch.setattr(memory, "store", {})
    monkeypatch.setenv("BIGFOOT_CACHE", str(tmp_path / "cache"))
    done, fails = [], {"seed=2"}

    def run(changes):
        seed, place = (change.split("=", 1)[1] for change in changes)
        done.append(seed)
        write_file(Path(place) / "log.txt", seed.encode())
        if changes[0] in fails:
            raise OSError
        row = Row("train_text", "train_text", "test")
        row.metric, row.score = "accuracy", float(seed) / 4
        floor = {"split": "test", "metric": "accuracy", "floors": {"majority": {"accuracy": 0.5, "macro_f1": 0.1}}}
        return Report(title="", rows=[row], tasks=[floor])

    base = RepeatedRun("memory://bucket/mood", 7, "split", "speaker")
    with pytest.raises(OSError):
        run_repeats("1,2", 0, base, run)
    assert memory.cat("/bucket/mood/seed2/log.txt") == b"2"
    fails.clear()
    run_repeats("1,2", 0, base, run)
    floor, entry = json.loads(memory.cat("/bucket/mood/repeats.json"))["repeats"]
    assert (floor["model"], floor["scores"]) == ("floor: majority", {"seed1": 0.5, "seed2": 0.5})
    assert entry["scores"] == {"seed1": 0.25, "seed2": 0.5} and done == ["1", "2", "1", "2"]
