"""Targets and labels out of words."""

import math

import pytest
import torch

from bigfoot.errors import DataError, ModelError
from bigfoot.models.tasks.shape import KINDS, LAYERS, LINKS, POOLING_NAMES, TaskShape
from bigfoot.models.tasks.targets import find_labels, find_unread, name_ratings, read_targets
from bigfoot.tasks.labels import balanced_weights, build_task_shape, describe_doubts, describe_unread
from bigfoot.tasks.settings import METRICS, HeadConfig, TrainTaskConfig


def same(found, expected):
    return all(a == b or (math.isnan(a) and math.isnan(b)) for row, other in zip(found.tolist(), expected, strict=True)
               for a, b in zip(row, other, strict=True))  # fmt: skip


def test_targets_of_each_kind():
    nan = math.nan
    single = TaskShape("single_label", ["no", "yes"], "answer")
    assert same(read_targets(single, [{"answer": "yes"}, {"answer": "maybe"}, {}]), [[1], [nan], [nan]])
    several = TaskShape("multi_label", ["x", "y"], "all")
    assert same(read_targets(several, [{"all": "y; x"}, {"all": "z"}, {}]), [[1, 1], [0, 0], [nan, nan]])
    columns = TaskShape("multi_label", ["x", "y"], "")
    assert same(read_targets(columns, [{"x": "1", "y": "False"}, {"y": "perhaps"}]), [[1, 0], [nan, nan]])
    numbers = TaskShape("regression", ["age", "score"])
    found = read_targets(numbers, [{"age": "6", "score": "1e3"}, {"age": "old", "score": "inf"}])
    assert same(found, [[6, 1000], [nan, nan]])


def test_numbers_are_cut_into_ratings():
    shape = TaskShape.read({"kind": "ordinal", "labels": name_ratings([8, 11.5]), "column": "age", "edges": [8, 11.5]})
    found = read_targets(shape, [{"age": "8"}, {"age": "8.5"}, {"age": "11.5"}, {"age": "60"}, {"age": "old"}, {}])
    assert same(found, [[0], [1], [1], [2], [math.nan], [math.nan]])
    for edges, labels in (([11, 8], "abc"), ([8, 8], "abc"), ([8], "abc"), (["8"], "ab")):
        with pytest.raises(ModelError):
            TaskShape.read({"kind": "ordinal", "labels": list(labels), "edges": edges})


def test_labels_are_found_in_order():
    rows = [{"r": "10"}, {"r": "9"}, {"r": "9"}, {}]
    assert find_labels("single_label", "r", rows) == ["9", "10"]
    assert find_labels("single_label", "r", [*rows, {"r": "high"}]) == ["10", "9", "high"]
    assert find_labels("multi_label", "r", [{"r": "b|a"}, {"r": "c,a"}]) == ["a", "b", "c"]


def test_a_number_is_one_label_however_it_is_written():
    """A column that misses cells has 3.0 in one table, and 3 in another."""
    rows = [{"r": "1.0"}, {"r": "1"}, {"r": "2.0"}, {"r": "10"}]
    for kind in ("single_label", "ordinal"):
        shape = TaskShape(kind, find_labels(kind, "r", rows), "r")
        assert shape.labels == ["1", "2.0", "10"]
        cells = [{"r": cell} for cell in ("1", "1.00", "2", "10.0", "3", "nan", "one")]
        assert same(read_targets(shape, cells), [[0], [0], [1], [2], *[[math.nan]] * 3])


@pytest.mark.parametrize(
    ("shape", "cells", "unread"),
    [
        (TaskShape("single_label", ["a", "b"], "c"), ["a", "z", "z", "", None], {"z": 2}),
        (TaskShape("ordinal", ["0", "1"], "c"), ["0", "7", "1.0", "-1"], {"7": 1, "-1": 1}),
        (TaskShape("ordinal", ["low", "high"], "c", edges=[3]), ["7", "old", "inf"], {"old": 1, "inf": 1}),
        (TaskShape("multi_label", ["a", "b"], "c"), ["a|b", "|", "a;z,y", "z"], {"z": 2, "y": 1}),
        (TaskShape("multi_label", ["c"], ""), ["1", "no", "maybe", "2"], {"maybe": 1, "2": 1}),
        (TaskShape("regression", ["c"]), ["1", "nan", "1e400", "1,5", "-0"], {"nan": 1, "1e400": 1, "1,5": 1}),
    ],
)
def test_what_the_head_does_not_have_is_counted(shape, cells, unread):
    rows = [{} if cell is None else {"c": cell} for cell in cells]
    assert find_unread(shape, rows) == unread
    assert all(repr(label) in describe_unread(shape, rows, "test") for label in unread)
    assert not describe_unread(shape, [{}, {"c": ""}], "test")
    # A row with none of the labels is an answer, an empty cell is not known.
    if shape.kind == "multi_label" and shape.column:
        assert same(read_targets(shape, [{"c": "|"}, {}]), [[0, 0], [math.nan, math.nan]])


def test_labels_that_suggest_another_kind_are_doubted():
    for kind, labels, doubts in (
        ("ordinal", ["0", "1", "3"], 1), ("ordinal", ["0", "1", "2"], 0), ("ordinal", ["1", "3", "5"], 0),
        ("ordinal", ["low", "high"], 0), ("single_label", ["20.5", "21"], 1), ("single_label", ["1", "7"], 0),
        ("multi_label", ["Calm", "loud", "calm"], 1), ("regression", ["Age", "age"], 0), ("ordinal", ["a", "A"], 1),
    ):  # fmt: skip
        assert len([*describe_doubts(TaskShape(kind, labels))]) == doubts, labels


def test_the_shape_of_a_new_head():
    rows = [{"age": "10"}, {"age": "20"}, {}]
    shape = build_task_shape(TrainTaskConfig(kind="regression", labels=["age"]), rows)
    assert (shape["center"], shape["scale"]) == ([15.0], [5.0])
    assert build_task_shape(TrainTaskConfig(kind="regression", labels=["age"]), rows[:1])["scale"] == [1.0]
    shape = build_task_shape(TrainTaskConfig(kind="ordinal", column="age", head=HeadConfig(link="coral")), rows)
    assert (shape["labels"], shape["link"]) == (["10", "20"], "coral")
    TaskShape.read(shape)
    for config in (
        TrainTaskConfig(column="sex"), TrainTaskConfig(column="age"), TrainTaskConfig(kind="regression", labels=["x"]),
        TrainTaskConfig(column="age", labels=["30", "40"]), TrainTaskConfig(kind="multi_label", column="sex"),
    ):  # fmt: skip
        with pytest.raises(DataError):
            build_task_shape(config, rows[1:])


def test_balanced_weights_make_classes_count_alike():
    rows = [{"c": label} for label in "aaab"]
    shape = TaskShape("single_label", ["a", "b", "z"], "c")
    assert balanced_weights(shape, rows) == [4 / 6, 2.0, 1.0]
    several = TaskShape("multi_label", ["a", "b"], "c")
    assert balanced_weights(several, rows) == [1 / 3, 3.0]


def test_the_settings_name_all_that_the_head_has():
    words = {item: HeadConfig.__dataclass_fields__[item].metadata["words"] for item in ("pooling", "layers", "link")}
    assert words == {"pooling": POOLING_NAMES, "layers": LAYERS, "link": ("corn", "coral")}
    assert set(LINKS) == {"corn", "coral"} and tuple(METRICS) == KINDS
    assert torch.is_tensor(read_targets(TaskShape(labels=["a", "b"]), [{}]))


@pytest.mark.parametrize(
    "config",
    [
        {"metric": "rmse"}, {"kind": "regression"}, {"column": ""}, {"kind": "multi_label", "column": ""},
        {"unfreeze_at": 3}, {"kind": "regression", "labels": ["age"], "class_weights": "balanced"},
        {"kind": "multi_label", "sampling": "balanced"}, {"lora_save": "kept"}, {"edges": [1, 2]},
        {"head": HeadConfig(init="probe", hidden_sizes=[4])},
        {"head": HeadConfig(init="probe", hidden_sizes=[4])}, {"kind": "ordinal", "edges": [2, 1]},
        {"kind": "ordinal", "edges": [1, 2], "labels": ["a", "b"]},
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(config):
    assert list(TrainTaskConfig(**config).find_problems())
    assert not list(TrainTaskConfig().find_problems())
    assert not list(TrainTaskConfig(kind="ordinal", head=HeadConfig(init="probe", link="coral")).find_problems())
