"""Reports that earlier versions wrote."""

import json

from bigfoot.report.rows import load_report

OLD = {
    "title": "old",
    "rows": [
        {"name": name, "step": name.partition(",")[0], "split": "test"}
        for name in ("teacher", "distil", "distil, decoder", "prune_2", "distil_2", "ctc_only_distil")
    ],
    "seconds_per_step": {"distil": 3.0, "finetune": 1.0},
    "losses": {"distil": [{"step": 1, "loss": 2.0}], "ctc_only_distil": []},
    "worst": [{"split": "test", "model": "distil", "hypotheses": {"teacher": "a", "distil": "b"}}],
}


def test_rows_of_distillation_are_called_as_the_step(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(OLD))
    report = load_report(tmp_path)
    names = ["teacher", "distill", "distill, decoder", "prune_2", "distill_2", "ctc_only_distill"]
    assert [row.name for row in report.rows] == names
    assert report.rows[1].step == report.rows[2].step == "distill"
    assert list(report.seconds_per_step) == ["distill", "finetune"]
    assert list(report.losses) == ["distill", "ctc_only_distill"]
    assert report.worst[0]["model"] == "distill" and set(report.worst[0]["hypotheses"]) == {"teacher", "distill"}
