import pytest

from bigfoot.errors import TrainingError
from bigfoot.training.guards import check_loss, describe_dev


def test_a_loss_that_is_no_number_is_named_with_a_cure():
    with pytest.raises(TrainingError, match=r"step 7: the loss term ctc .*last checkpoint.*learning_rate"):
        check_loss({"logit_kl": 1.0, "ctc": float("nan")}, 7, "no")
    with pytest.raises(TrainingError, match=r"hidden and ctc .*precision=bf16"):
        check_loss({"hidden": float("inf"), "ctc": float("nan")}, 1, "fp16")
    check_loss({"ctc": 0.0, "hidden": 1e30}, 1, "no")


def test_blanks_everywhere_are_normal_early_and_a_collapse_late():
    assert describe_dev(100, 1000, 1.0, 1.0) is None
    assert describe_dev(900, 1000, 0.9, 1.0) is None
    assert "collapsed to blanks" in describe_dev(500, 1000, 0.999, 1.0)
    assert "collapsed to blanks" in describe_dev(500, 1000, 1.0, None)
