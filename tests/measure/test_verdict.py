import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.measure.by_part import describe_parts
from bigfoot.measure.size import PARTS
from bigfoot.measure.verdict import blame_part
from tests.refusals import names

SECONDS = {"conv": 40.0, "positional_conv": 10.0, "transformer": 45.0, "head": 5.0}
MACS = {"conv": 400, "positional_conv": 20, "transformer": 900, "head": 10}


def parts(seconds=SECONDS, macs=MACS, **changes):
    """Facts of a model whose parts take (seconds, MACs)."""
    seconds = seconds | {part: change[0] for part, change in changes.items()}
    macs = macs | {part: change[1] for part, change in changes.items()}
    return describe_parts([seconds], macs, audio=1.0, peaks=[100.0])


@pytest.mark.parametrize(
    ("changes", "part", "figures"),
    [
        # Half the operations in nearly the same time.
        ({"conv": (38.0, 200)}, "conv", ("0.50x", "0.95x", "5%")),
        # Convolutions did what they should; the transformer became slower for its work.
        ({"conv": (20.0, 200), "transformer": (44.0, 450)}, "transformer", ("0.50x", "0.98x")),
        # Shared weights: fewer parameters, the same work.
        ({}, "transformer", ("45%", "1.00x")),
        # All that was taken away was saved, but it was little.
        ({"conv": (30.0, 300), "transformer": (44.5, 890)}, "transformer", ("0.92x",)),
        ({"conv": (20.0, 200), "head": (20.0, 10)}, "head", ("1.00x", "4.00x")),
    ],
)  # fmt: skip
def test_who_is_to_blame(changes, part, figures):
    blame = blame_part(parts(), parts(**changes), "big")
    assert blame.part == part
    assert names(blame.sentence, part, *figures)


def test_rates_of_both_are_reported():
    sentence = blame_part(parts(), parts(conv=(38.0, 200)), "big").sentence
    assert names(sentence, "5%", "10% in big")


def test_a_first_model_without_a_head():
    blame = blame_part(parts(head=(0.0, 0)), parts(head=(40.0, 10), conv=(20.0, 100)), "big")
    assert blame.part == "head" and names(blame.sentence, "head") and "inf" not in blame.sentence


@given(st.fixed_dictionaries({part: st.tuples(st.floats(0.1, 100), st.integers(1, 1000)) for part in PARTS}))
def test_no_other_part_loses_more(changes):
    own, first = parts(**changes), parts()
    lost = {part: own[part].median_s - SECONDS[part] * own[part].macs_per_second / MACS[part] for part in PARTS}
    blame = blame_part(first, own, "big")
    assert blame.part in (max(lost, key=lost.get), max(own, key=lambda part: own[part].median_s))
