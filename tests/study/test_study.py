"""Running what was planned, with a stand-in for the process that trains, and putting it into a table."""

import json
import stat
import sys
import textwrap
from pathlib import Path

import pytest

from bigfoot.study.gather import gather_rows
from bigfoot.study.plan import ComparisonConfig, plan_runs
from bigfoot.study.run import RunOutcomes, run_planned
from bigfoot.study.trial import RESULT, Trial, read_trial
from tests.refusals import names

REFERENCES = ["ONE TWO", "THREE FOUR", "FIVE", "SIX SEVEN EIGHT"]


def trial_of(key, hypotheses, model="tiny_teacher", **facts):
    facts = {"start": "student_init", "start_wer": 0.9, "losses": {"distill": [2.0, 1.0]}, "steps": {"distill": 4},
             "train_seconds": 3.0} | facts  # fmt: skip
    wer = sum(outputs != reference for reference, outputs in zip(REFERENCES, hypotheses, strict=True)) / 8
    return Trial(key, model, wer, REFERENCES, hypotheses, ["a"] * 4, 1000, 5000, 4000, **facts)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """In place of Python: notes what it is asked for, and leaves a trial, or fails for lowrank with seed 2."""
    program = tmp_path / "python"
    program.write_text(textwrap.dedent(f"""\
        #!{sys.executable}
        import hashlib, json, os, sys
        from pathlib import Path
        given = dict(each.split("=", 1) for each in sys.argv[1:] if "=" in each)
        folder, key = Path(given["run_dir"]), sys.argv[sys.argv.index("--key") + 1]
        with open({str(tmp_path / "calls")!r}, "a") as calls:
            calls.write(f"{{folder}} {{os.environ['OMP_NUM_THREADS']}} {{(folder / 'data').is_symlink()}}\\n")
        if "lowrank/seed_2" in str(folder):
            print("loss=nan"); sys.exit(3)
        if "steps" in given:
            (folder / "data").mkdir(parents=True, exist_ok=True)
        model = folder / "finetune" / "model"
        model.mkdir(parents=True, exist_ok=True)
        known = dict(model=str(model), wer=0.5, references=["ONE"], hypotheses=["TWO"], speakers=["a"],
                     num_params=1, macs_per_second=1, size_bytes=1, start="x", start_wer=1.0, inputs="of now")
        known["key"] = key
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
        (folder / "{RESULT}").write_text(json.dumps(known | dict(checksum=digest)))
        """))  # fmt: skip
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr("bigfoot.study.run.digest_inputs", lambda *_: "of now")
    return tmp_path / "calls"


@pytest.mark.slow
def test_a_failing_run_costs_that_run_and_the_rest_is_not_done_twice(stand_in, tmp_path):
    wanted = ComparisonConfig(["bigfoot", "lowrank"], [1, 2], settings={"threads": 1, "scale": "tiny"})
    plan, lines = plan_runs(wanted, tmp_path / "runs"), []
    outcomes = run_planned(plan, 2, lines.append)
    assert len(outcomes.trials) == 5
    (failed,) = outcomes.failed
    assert failed.startswith("lowrank, seed 2: ") and names(failed, "exit 3", "loss=nan")
    assert len(lines) == 6 and all("left" in line for line in lines[:-1])
    calls = [line.split() for line in stand_in.read_text().splitlines()]
    # The teachers come first and make the data, which the others find as a link; one thread each.
    assert sorted(call[0].split("/")[-2] for call in calls[:2]) == ["teacher"] * 2
    assert [call[1:] for call in calls] == [["1", "False"]] * 2 + [["1", "True"]] * 4
    again = run_planned(plan, 1, lines.append)
    assert len(stand_in.read_text().splitlines()) == 7, "the failed one alone is tried again"
    assert [run.label for run, _ in again.trials] == [run.label for run, _ in outcomes.trials]


@pytest.mark.slow
def test_other_settings_are_run_anew(stand_in, tmp_path):
    for steps in (5, 5, 6):
        run_planned(plan_runs(ComparisonConfig(["bigfoot"], steps=steps), tmp_path / "runs"), 1, str)
    calls = [line.split("/")[-2] for line in stand_in.read_text().splitlines()]
    assert calls.count("bigfoot") == 2


@pytest.mark.slow
def test_a_damaged_result_is_run_again_and_named(stand_in, tmp_path):
    plan, lines = plan_runs(ComparisonConfig(["bigfoot"], [1, 2, 3, 4]), tmp_path / "runs"), []
    run_planned(plan, 1, str)
    results = [run.folder / RESULT for run in plan if run.name == "bigfoot"]
    content = results[0].read_text()
    results[0].write_text(content.replace('"wer": 0.5', '"wer": 0.4'))
    results[1].write_text(content[: len(content) // 2])
    results[2].write_bytes(b"\xff\0")
    results[3].unlink()
    run_planned(plan, 1, lines.append)
    again = [Path(line.split()[0]) for line in stand_in.read_text().splitlines()[8:]]
    assert again == [path.parent for path in results]
    assert [sum(str(path) in line for line in lines) for path in results] == [1, 1, 1, 0]
    # One of an earlier version has no checksum, and may be replaced.
    del (earlier := json.loads(results[0].read_text()))["checksum"]
    results[0].write_text(json.dumps(earlier))
    assert read_trial(results[0].parent, plan[4].key) is None


@pytest.mark.slow
def test_a_changed_corpus_is_run_again(stand_in, tmp_path, monkeypatch):
    plan = plan_runs(ComparisonConfig(["bigfoot"], [1, 2]), tmp_path / "runs")
    run_planned(plan, 1, str)
    changed = [run.label for run in plan if run.seed == 2]
    of = {str(run.config.run_dir): run.label for run in plan}
    digest = lambda config, _: "other" if of[str(config.run_dir)] in changed else "of now"  # noqa: E731
    monkeypatch.setattr("bigfoot.study.run.digest_inputs", digest)
    run_planned(plan, 1, str)
    calls = stand_in.read_text().splitlines()[4:]
    assert sorted(line.split()[0].split("/")[-2:] for line in calls) == [["bigfoot", "seed_2"], ["teacher", "seed_2"]]


@pytest.mark.slow
def test_rows_over_seeds(tmp_path):
    plan = plan_runs(ComparisonConfig(["bigfoot"], [1, 2]), tmp_path)
    outputs = {("teacher", 1): REFERENCES, ("teacher", 2): ["ONE TWO", "THREE", "FIVE", "SIX SEVEN EIGHT"],
             ("bigfoot", 1): ["ONE", "THREE", "FIVE", "SIX SEVEN EIGHT"], ("bigfoot", 2): REFERENCES}  # fmt: skip
    trials = [(run, trial_of("k", outputs[run.name, run.seed])) for run in plan]
    comparison = gather_rows(RunOutcomes(trials, ["x"]), 1, ["greedy"])
    teacher, bigfoot = comparison.rows
    assert (teacher.kind, bigfoot.kind, teacher.wer_difference) == ("teacher", "method", None)
    # Errors over words of both seeds: 1 and 2 of 16.
    assert (teacher.wer, bigfoot.wer, bigfoot.wer_difference) == (1 / 16, 2 / 16, 1 / 16)
    assert bigfoot.wer_low <= bigfoot.wer <= bigfoot.wer_high
    assert (bigfoot.losses, bigfoot.steps, bigfoot.start_wer) == ({"distill": [2.0, 1.0]}, {"distill": 4}, 0.9)
    assert teacher.speedup == 1.0 and bigfoot.speedup > 0
    assert comparison.failed == ["x"] and comparison.conditions[0] == "greedy"
    assert names(comparison.conditions[1], "seed 1: 8", "seed 2: 8")


@pytest.mark.slow
def test_without_the_teacher_of_a_seed_there_is_no_difference_to_it(tmp_path):
    plan = plan_runs(ComparisonConfig(["bigfoot"], [1, 2]), tmp_path)
    trials = [(run, trial_of("k", REFERENCES)) for run in plan if run.label != "teacher, seed 2"]
    rows = gather_rows(RunOutcomes(trials), 1, []).rows
    assert [row.wer_difference for row in rows] == [None, None]
    assert json.dumps(rows[1].wer_by_seed) == "[0.0, 0.0]"
