import pytest
import torch

from bigfoot.errors import TrainingError
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.training.guards import check_half_precision, check_loss, describe_dev


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
    with pytest.raises(TrainingError, match=r"precision=bf16: .*positional convolution wrongly.*precision=no"):
        check_half_precision(model, "bf16")
    check_half_precision(model, "no")
