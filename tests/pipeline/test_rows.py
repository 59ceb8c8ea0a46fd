"""What a report shows of the models' transcripts."""

from bigfoot.decoding.greedy import Transcripts
from bigfoot.pipeline.rows import find_worst

SPOKEN = ["one two three", "four", "five six", "seven", ""]
IDS = ["a", "b", "c", "d", "e"]


def transcripts_of(*hypotheses):
    return Transcripts(IDS, ["ann"] * len(IDS), SPOKEN, list(hypotheses))


def test_the_worst_of_the_last_student():
    models = {
        "teacher": transcripts_of("one", "four", "five six", "seven", ""),
        "distill": transcripts_of("", "", "", "", ""),
        "finetune": transcripts_of("one too tree", "for", "five six", "seven", "eight nine"),
        "ctc_only_distill": transcripts_of("x", "x", "x", "x", "x"),
    }
    found = find_worst("test", models)
    # Two errors in no word, then two in three, then one; c and d are right. The control comes last and is no student.
    assert [(item["id"], item["errors"]) for item in found] == [("e", 2), ("a", 2), ("b", 1)]
    assert found[1] == {
        "split": "test", "model": "finetune", "id": "a", "speaker": "ann", "reference": "one two three", "errors": 2,
        "hypotheses": {"teacher": "one", "distill": "", "finetune": "one too tree", "ctc_only_distill": "x"},
    }  # fmt: skip
    assert [item["id"] for item in find_worst("test", models, limit=1)] == ["e"]


def test_without_student_or_error_there_is_none():
    assert find_worst("test", {}) == []
    models = {"teacher": transcripts_of("", "", "", "", ""), "ctc_only_distill": transcripts_of(*"abcde")}
    assert find_worst("test", models) == []
    assert find_worst("test", {"distill": transcripts_of(*SPOKEN)}) == []
