import pytest
from torch import nn

from bigfoot.distill.matches import LayerMatch, build_layer_matches, build_matches
from bigfoot.distill.projections import build_projections
from bigfoot.errors import ModelError


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, [0, 3, 6, 9, 12]),
        (2, 12, [0, 6, 12]),
        (1, 12, [0, 12]),
        (12, 12, list(range(13))),
        (5, 12, [0, 2, 5, 7, 10, 12]),
    ],
)
def test_proportional(student, teacher, expected):
    found = build_matches("proportional", student, teacher)
    assert found == [LayerMatch(index, layer) for index, layer in enumerate(expected)]


def test_pairs():
    assert build_matches([[4, 12], (0, 0)], 4, 12) == [LayerMatch(4, 12), LayerMatch(0, 0)]


@pytest.mark.parametrize(
    ("matches", "message"),
    [
        ("proportionally", "neither 'proportional' nor a list"),
        ([], "neither 'proportional' nor a list"),
        ([[0, 1, 2]], "is no .student, teacher. pair"),
        (None, "neither 'proportional' nor a list"),
        (4, "neither 'proportional' nor a list"),
        ([None], "is no .student, teacher. pair"),
        ([1.5], "is no .student, teacher. pair"),
        ([3], "is no .student, teacher. pair"),
        (["01"], "is no .student, teacher. pair"),
        ([[0, "1"]], "is no .student, teacher. pair"),
        ([[0, 1.0]], "is no .student, teacher. pair"),
        ([[5, 12]], "out of range: hidden_states go from 0 to 4 in the student and to 12 in the teacher"),
        ([[4, 13]], "out of range"),
        ([[-1, 12]], "out of range"),
        ([[4, -1]], "out of range"),
    ],
)
def test_refused(matches, message):
    with pytest.raises(ModelError, match=message):
        build_matches(matches, 4, 12)


def test_projections_where_widths_differ():
    matches = build_matches("proportional", 2, 4)
    same = build_projections(len(matches), 24, 24)
    assert [type(module) for module in same] == [nn.Identity] * 3
    assert not list(same.parameters())
    wider = build_projections(len(matches), 24, 32)
    assert [tuple(module.weight.shape) for module in wider] == [(32, 24)] * 3
    assert len({module.weight.data_ptr() for module in wider}) == 3


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [(4, 12, [2, 5, 8, 11]), (1, 12, [11]), (3, 3, [0, 1, 2]), (5, 12, [1, 4, 6, 9, 11]), (2, 1, [0, 0])],
)
def test_layers_in_proportion_end_with_the_last(student, teacher, expected):
    found = build_layer_matches("proportional", student, teacher)
    assert found == [LayerMatch(index, layer) for index, layer in enumerate(expected)]


def test_layers_by_pairs():
    assert build_layer_matches([[3, 11], [0, 0]], 4, 12) == [LayerMatch(3, 11), LayerMatch(0, 0)]
    for pair in ([4, 11], [3, 12], [-1, 0]):
        with pytest.raises(ModelError, match="layers go from 0 to 3 in the student and to 11 in the teacher"):
            build_layer_matches([pair], 4, 12)
    with pytest.raises(ModelError, match="neither 'proportional' nor a list"):
        build_layer_matches("last", 4, 12)
