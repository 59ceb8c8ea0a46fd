import pytest
import torch

from bigfoot.errors import TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.guards import (
    check_half_precision,
    describe_dev,
    describe_rates,
    describe_teacher,
    find_broken,
    usual_loss,
)
from tests.refusals import names, refused


def test_what_is_no_number_is_named():
    assert find_broken({"logit_kl": 1.0, "ctc": float("nan")}) == "loss term ctc"
    assert find_broken({"hidden": float("-inf"), "ctc": float("nan")}) == "loss term hidden and ctc"
    assert find_broken({"ctc": 0.0, "hidden": 1e30}) is None


def test_the_usual_loss_is_twenty_medians_and_never_next_to_nothing():
    assert usual_loss([1.0] * 19) is None
    assert usual_loss([1.0] * 15 + [1000.0] * 9) == 20.0
    assert usual_loss([1e-7] * 50) == 0.1


def group(name, rate, gradient=None):
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = None if gradient is None else torch.full((2,), gradient)
    return {"name": name, "lr": rate, "params": [parameter]}


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([group("encoder", 0.0), group("lm_head", 0.1)], None),
        ([group("encoder", 0.0), group("lm_head", 0.0)], "every learning rate is 0"),
        # What is thrown away, or only stands for masks, is not what a training is for.
        ([group("encoder", 0.0), group("projections", 0.1), group("rest", 0.1)], "every learning rate is 0"),
        ([group("encoder", 0.1, 0.0), group("feature_encoder", 0.0, 1.0)], "the loss reaches feature_encoder alone"),
        ([group("encoder", 0.1), group("feature_encoder", 0.0, 1.0)], "the loss reaches feature_encoder alone"),
        ([group("encoder", 0.1, 1.0), group("feature_encoder", 0.0, 1.0)], None),
        ([group("encoder", 0.1, 0.0), group("feature_encoder", 0.0, 0.0)], None),
    ],
)
def test_rates_of_nothing(groups, words):
    found = describe_rates(groups)
    assert found is None if words is None else words in found and "learning_rate_factors" in found


SPOKEN = ["ONE TWO", "TWO", "TWO THREE", "NINE"]


@pytest.mark.parametrize(
    ("hypotheses", "warned"),
    [
        (SPOKEN, False),
        # Always TWO errs in 3 of 6 words and 14 of 23 characters; this in 4 words, but in 4 characters alone.
        (["ONE TWO", "TOO", "TOO TREE", "MINE"], False),
        (["", "", "", ""], True),
        (["TWO", "TWO", "TWO", "TWO"], True),
        (["one two", "two", "two three", "nine"], True),
        (["ONE TWO BUT FAR TOO MANY LETTERS AS WELL", "TWO", "TWO THREE", "NINE"], True),
    ],
)
def test_a_teacher_no_better_than_chance(hypotheses, warned):
    found = describe_teacher(SPOKEN, hypotheses)
    assert (found is not None) == warned
    if found:
        assert "do_normalize" in found


def test_a_teacher_is_not_judged_by_silence():
    assert describe_teacher(["", ""], ["ONE", ""]) is None


def test_blanks_everywhere_are_normal_early_and_a_collapse_late():
    assert describe_dev(100, 1000, 1.0, 1.0) is None
    assert describe_dev(900, 1000, 0.9, 1.0) is None
    assert names(describe_dev(500, 1000, 0.999, 1.0), "99.9%")
    assert names(describe_dev(500, 1000, 1.0, None), "100.0%")


def test_a_machine_whose_half_precision_is_wrong_is_found_out(monkeypatch: pytest.MonkeyPatch):
    config = BigfootConfig(
        hidden_size=16, num_attention_heads=2, num_hidden_layers=1, intermediate_size=16, conv_dim=[8] * 7,
        num_conv_pos_embeddings=15, num_conv_pos_embedding_groups=1,
    )  # fmt: skip
    model = BigfootForCTC(config)
    check_half_precision(model, "no")
    check_half_precision(model, "bf16")
    conv = model.speech_encoder.encoder.pos_conv_embed
    rightly = conv.forward
    wrongly = lambda x: torch.randn_like(x) if torch.is_autocast_enabled("cpu") else rightly(x)  # noqa: E731
    monkeypatch.setattr(conv, "forward", wrongly)
    with refused(TrainingError, "precision=bf16", "precision=no"):
        check_half_precision(model, "bf16")
    check_half_precision(model, "no")
