"""A report goes to files and comes back as it was."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import DataError, OutputError
from bigfoot.report.files import encode_json
from bigfoot.report.render import render_markdown
from bigfoot.report.render_html import _show_example, _show_utterance, render_html
from bigfoot.report.rows import Report, Row, load_report
from bigfoot.report.writer import save_report
from tests.refusals import refused


def full_report() -> Report:
    rows = [
        Row("student", "finetune", "test", protocol="CTC", wer=0.05, wer_low=0.04, wer_high=0.06, cer=0.02,
            num_unique_params=960_000, size_bytes=3_900_000, macs_by_part={"conv": 5, "head": 1},
            batch_invariant=True, versions={"torch": "2.13.0"}, seed=7),
        Row("teacher", "teacher", "test", wer=0.04, size_bytes=11_600_000, num_words=1170),
        Row("student, int8", "export", "test", wer_missing_reason="no one listened", size_bytes=1_000_000),
    ]  # fmt: skip
    losses = {"distill": [{"step": 1, "ctc": 2.0}, {"step": 2, "ctc": 1.0, "dev_wer": 0.5, "blank_rate": 0.7}]}
    skipped = [{"split": "train", "id": "u1", "path": "a|b.wav", "reason": "the file is empty (0 bytes)"}]
    return Report(
        "démo", rows, {"distill": 3.5}, skipped, ["kept 0, 11"], losses, ["a note"], {"seed": 7}, {"threads": 2}
    )


@pytest.mark.slow
def test_round_trip(tmp_path: Path) -> None:
    report = full_report()
    save_report(report, tmp_path / "new" / "report")
    assert load_report(tmp_path / "new" / "report") == report
    names = sorted(path.name for path in (tmp_path / "new" / "report").glob("[!.]*"))
    assert names == ["losses.png", "report.csv", "report.html", "report.json", "report.md", "wer_vs_size.png"]
    content = json.loads((tmp_path / "new" / "report" / "report.json").read_text())
    assert content["seconds_per_step"] == {"distill": 3.5}
    assert content["rows"][0]["wer"] == 0.05


@pytest.mark.slow
def test_saving_again_replaces(tmp_path: Path) -> None:
    save_report(full_report(), tmp_path)
    save_report(Report("second"), tmp_path)
    assert load_report(tmp_path) == Report("second")
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.slow
def test_a_failure_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_report(full_report(), tmp_path)

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("bigfoot.storage.replace.os.replace", refuse)
    with refused(OSError, "disk full"):
        save_report(Report("second"), tmp_path)
    assert load_report(tmp_path) == full_report()
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.slow
def test_a_report_of_somebody_else_stays_and_an_edited_one_of_a_run_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_text("mine")
    with refused(OutputError, "report.csv"):
        save_report(full_report(), tmp_path)
    assert (tmp_path / "report.csv").read_text() == "mine"
    (tmp_path / "report.csv").unlink()
    save_report(full_report(), tmp_path)
    (tmp_path / "report.md").write_text("edited")
    save_report(full_report(), tmp_path)
    (tmp_path / ".bigfoot").unlink()  # as versions before left none
    save_report(Report("second"), tmp_path)
    assert load_report(tmp_path) == Report("second")


def test_fields_stand_in_the_agreed_order() -> None:
    names = [entry.name for entry in dataclasses.fields(Row)]
    assert names[:9] == ["name", "step", "split", "decoder", "protocol", "wer", "wer_low", "wer_high", "cer"]
    assert names[-5:] == ["wer_missing_reason", "seconds", "config_path", "seed", "versions"]
    assert len(names) == 49


def test_other_versions_can_be_read(tmp_path: Path) -> None:
    content = {"rows": [{"name": "a", "wer": 0.1, "of_tomorrow": 1, "macs_by_part": None}], "of_tomorrow": {}}
    (tmp_path / "report.json").write_text(json.dumps(content))
    assert load_report(tmp_path) == Report("", [Row("a", "", "", wer=0.1)])


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 3}', '{"rows": [1]}', "{}"])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with refused(DataError, "report.json"):
        load_report(tmp_path)


ODD = st.recursive(
    st.sampled_from([None, True, "", "x", "\ud800", 0, -1, 2**70, 10**300, 0.5, 1e300, float("nan"), float("-inf")]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["conv", "a"]), inner, max_size=3),
    max_leaves=5,
)
TASK = {
    "name": "t", "split": "test", "kind": "single_label", "labels": ["a", "b"], "metric": "f1", "metrics": {"f1": 0.5},
    "interval": [0.1, 0.9], "per_class": {"a": {"f1": 0.5, "support": 3}, "b": {"f1": 0.4, "support": 3}},
    "confusion": [[1, 2], [0, 3]], "floors": {"most frequent": {"f1": 0.1}}, "floor_intervals": {"most": [0.0, 0.2]},
    "by_speaker": {"metric": "f1", "metrics": {"f1": 0.5}, "interval": [0.1, 0.9], "num_speakers": 2},
    "shown": {
        "reliability": [{"confidence": 0.5, "accuracy": 0.4, "count": 5}],
        "projection": [{"x": 1.0, "y": 2.0, "label": "a"}],
        "attention": [{"id": "u", "seconds": 1.0, "peaks": [0.1, 0.2], "shares": [0.5, 0.5]}],
        "worst": [{"id": "u", "speaker": "s", "truth": "a", "answer": "b", "scores": {"a": 0.1}, "loss": 2.0,
                   "audio": "data:audio/mpeg;base64,AA=="}],
    },
}  # fmt: skip


def deep_report() -> dict[str, Any]:
    """Return a report with an entry in every field."""
    worst = {"split": "test", "model": "student", "id": "u", "reference": "a b", "hypotheses": {"student": "a"}}
    shown = {"id": "u", "task": "ask", "prompt": "p", "answer": "a", "prediction": "b", "scores": {"f1": 1.0}}
    entries = {"tasks": [TASK], "worst": [worst], "examples": [shown | {"metadata": {"dialogue": "d"}}]}
    return dataclasses.asdict(full_report()) | json.loads(json.dumps(entries))


def list_places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container of a report with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from list_places(value[key])


NUM_PLACES = len(list(list_places(deep_report())))


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(place=st.integers(0, NUM_PLACES - 1), value=ODD | st.just(...))
def test_any_value_at_any_depth_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: object
) -> None:
    folder, report = tmp_path_factory.getbasetemp() / "odd", deep_report()
    folder.mkdir(exist_ok=True)
    container, key = next(itertools.islice(list_places(report), place, None))
    container[key] = value
    if value is ...:
        del container[key]
    (folder / "report.json").write_text(json.dumps(report))
    try:
        read = load_report(folder)
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert all(isinstance(row.name, str) for row in read.rows) and render_markdown(read)
    assert all(_show_utterance(item) for item in read.worst)
    assert all(_show_example(item) for item in read.examples)


@pytest.mark.slow
def test_numbers_that_are_not_known_are_shown_as_such(tmp_path: Path) -> None:
    report = deep_report()
    shown, unknown = report["tasks"][0]["shown"], {"a": None}
    shown["reliability"][0]["count"] = shown["attention"][0]["seconds"] = 0
    shown["worst"][0] |= {"scores": unknown, "audio": "https://example.org/a.mp3"}
    report["examples"][0] |= {"scores": unknown, "sound": "javascript:alert(1)"}
    report["tasks"][0] |= {"metrics": unknown, "interval": [0.5], "per_class": {"a": unknown, "b": {"support": None}}}
    (tmp_path / "report.json").write_text(json.dumps(report | {"seconds_per_step": {"distill": math.nan}}))
    page = render_html(load_report(tmp_path))
    assert "a n/a" in page and "example.org" not in page and "javascript:" not in page


@pytest.mark.parametrize(
    "task",
    [{"metrics": [1]}, {"confusion": [["x"]]}, {"per_class": {"a": 1}}, {"floors": "text"}, {"metrics": {"a": 10**400}},
     {"shown": {"reliability": [{"confidence": 0.5}]}}, {"interval": [0.1, "x"]}, {"labels": "ab"}],
)  # fmt: skip
def test_tasks_of_another_shape_are_refused_by_name(tmp_path: Path, task: dict[str, Any]) -> None:
    (tmp_path / "report.json").write_text(json.dumps({"rows": [], "tasks": [{"name": "t"} | task]}))
    with refused(DataError, f"tasks.{next(iter(task))}"):
        load_report(tmp_path)


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("[" * 100_000)
    with pytest.raises(DataError):
        load_report(tmp_path)


def test_a_folder_without_report_is_named(tmp_path: Path) -> None:
    with refused(DataError, "nowhere"):
        load_report(tmp_path / "nowhere")


def test_names_that_are_no_utf8_are_written_and_read_back(tmp_path: Path) -> None:
    skipped = [{"split": "train", "id": "a", "path": "sp\udcffeech.wav", "reason": "cannot be read"}]
    report = Report("demo", [Row("m", "x", "test")], skipped=skipped)
    save_report(report, tmp_path)
    assert load_report(tmp_path) == report
    assert "sp\\udcffeech.wav" in (tmp_path / "report.html").read_text()


def test_json_is_strict_and_knows_numpy() -> None:
    content = {"a": [np.float32(0.5), np.int64(3), float("inf"), Path("x")], "b": (True, None)}
    assert json.loads(encode_json(content)) == {"a": [0.5, 3, None, "x"], "b": [True, None]}


@pytest.mark.slow
def test_csv_has_one_flat_line_a_row(tmp_path: Path) -> None:
    save_report(full_report(), tmp_path)
    with (tmp_path / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == ["student", "teacher", "student, int8"]
    assert json.loads(lines[0]["macs_by_part"]) == {"conv": 5, "head": 1}
    assert json.loads(lines[0]["versions"]) == {"torch": "2.13.0"}
    assert (lines[0]["wer"], lines[1]["cer"], lines[0]["batch_invariant"]) == ("0.05", "", "True")


@pytest.mark.slow
def test_pictures_are_pictures(tmp_path: Path) -> None:
    save_report(full_report(), tmp_path)
    for name in ("wer_vs_size.png", "losses.png"):
        image = matplotlib.image.imread(tmp_path / name)
        assert image.shape[0] > 300 and image.shape[1] > 500
        assert image[..., :3].std() > 0.02, f"{name} is blank"


OPTIONAL = st.none() | st.floats(0, 2)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.builds(Row, name=st.text(), step=st.text(), split=st.text(), wer=OPTIONAL, cer=OPTIONAL,
                       macs_by_part=st.dictionaries(st.text(), st.integers(0, 10**12))))
)  # fmt: skip
def test_any_rows_survive_json(rows: list[Row]) -> None:
    assert json.loads(encode_json({"rows": [dataclasses.asdict(row) for row in rows]})) == {
        "rows": [dataclasses.asdict(row) for row in rows]
    }
