"""The front against a plain loop over all pairs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.report.pareto import find_pareto_front

# Few values, so that points tie in one thing and in both.
VALUES = st.one_of(st.integers(0, 4).map(float), st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.slow
@given(st.lists(st.tuples(VALUES, VALUES)))
def test_nobody_beats_what_is_on_it_and_somebody_all_the_rest(points: list[tuple[float, float]]) -> None:
    found = find_pareto_front([cost for cost, _ in points], [error for _, error in points])
    expected = [
        not any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)
        for point in points
    ]
    assert found == expected


@pytest.mark.slow
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1), st.randoms())
def test_order_does_not_matter_and_there_is_always_one(points: list[tuple[float, float]], random: object) -> None:
    def front(given: list[tuple[float, float]]) -> list[tuple[float, float]]:
        on_it = find_pareto_front([cost for cost, _ in given], [error for _, error in given])
        return sorted(point for point, is_on in zip(given, on_it, strict=True) if is_on)

    shuffled = points.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert front(points) == front(shuffled) != []


def test_what_is_no_number_is_not_on_it() -> None:
    assert find_pareto_front([1.0, 0.0, 2.0], [0.5, math.nan, -math.inf]) == [True, False, False]
    assert find_pareto_front([], []) == []
    with pytest.raises(ValueError):
        find_pareto_front([1.0], [])
