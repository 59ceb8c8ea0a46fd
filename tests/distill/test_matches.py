import pytest
from torch import nn

from bigfoot.distill.matches import LayerMatch, build_matches, build_projections
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
    same = build_projections(matches, 24, 24)
    assert [type(module) for module in same] == [nn.Identity] * 3
    assert not list(same.parameters())
    wider = build_projections(matches, 24, 32)
    assert [tuple(module.weight.shape) for module in wider] == [(32, 24)] * 3
    assert len({module.weight.data_ptr() for module in wider}) == 3
