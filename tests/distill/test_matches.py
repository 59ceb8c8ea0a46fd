import pytest
from torch import nn

from bigfoot.distill.matches import LayerMatch, build_layer_matches, build_matches
from bigfoot.distill.projections import build_projections
from bigfoot.errors import ModelError
from tests.refusals import refused


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
    ("matches", "named"),
    [
        ("proportionally", ("proportional",)),
        ([], ("proportional",)),
        ([[0, 1, 2]], ()),
        (None, ("proportional",)),
        (4, ("proportional",)),
        ([None], ()),
        ([1.5], ()),
        ([3], ()),
        (["01"], ()),
        ([[0, "1"]], ()),
        ([[0, 1.0]], ()),
        ([[5, 12]], ("hidden_states", "0", "4", "12")),
        ([[4, 13]], ()),
        ([[-1, 12]], ()),
        ([[4, -1]], ()),
    ],
)
def test_refused(matches, named):
    with refused(ModelError, *named):
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
        with refused(ModelError, "0", "3", "11"):
            build_layer_matches([pair], 4, 12)
    with refused(ModelError, "proportional"):
        build_layer_matches("last", 4, 12)
