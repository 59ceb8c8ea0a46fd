"""Correlations against scipy's, on random columns with ties and missing values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.data.relations import find_relations

scipy_stats = pytest.importorskip("scipy.stats")
ROW = st.tuples(
    st.none() | st.integers(0, 5).map(float), st.none() | st.integers(0, 9).map(float),
    st.none() | st.sampled_from("abc"), st.none() | st.sampled_from("xy"),
)  # fmt: skip


def judge(one, other):
    """The same by scipy, or by the sums of squares of an analysis of variance."""
    pairs = [pair for pair in zip(one, other, strict=True) if None not in pair]
    left, right = (np.array(values) for values in zip(*pairs, strict=True))
    if left.dtype.kind == right.dtype.kind == "f":
        return scipy_stats.spearmanr(left, right).statistic
    if left.dtype.kind == right.dtype.kind:
        return scipy_stats.contingency.association(scipy_stats.contingency.crosstab(left, right).count, "cramer")
    groups = [left[right == word] for word in set(right)]
    within = sum(((group - group.mean()) ** 2).sum() for group in groups)
    return np.sqrt(max(0.0, 1 - within / ((left - left.mean()) ** 2).sum()))


@settings(max_examples=40)
@given(st.lists(ROW, min_size=3, max_size=30))
def test_correlations_are_scipy_s(rows):
    columns = dict(zip("mnpq", map(list, zip(*rows, strict=True)), strict=True))
    found = find_relations(columns)
    for item in found:
        expected = judge(columns[item.first], columns[item.second])
        assert item.value == pytest.approx(expected, abs=1e-6), item
    assert [abs(item.value) for item in found] == sorted((abs(item.value) for item in found), reverse=True)
    related = {(item.first, item.second) for item in found}
    for pair in [("m", "n"), ("p", "q"), ("m", "p")]:
        both = [values for values in zip(*(columns[name] for name in pair), strict=True) if None not in values]
        single = any(len(set(values)) < 2 for values in zip(*both, strict=True)) if both else True
        ids = any(isinstance(v[0], str) and len(set(v)) == len(v) for v in zip(*both, strict=True)) if both else True
        assert (pair in related) == (len(both) >= 3 and not single and not ids)
