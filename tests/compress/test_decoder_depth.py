import torch

from bigfoot.compress import decoder_depth, depth
from bigfoot.models.reshape import with_decoder
from tests.codes import refusing
from tests.refusals import names

SHAPE = {"hidden_size": 16, "num_layers": 6, "num_heads": 2}


def test_layers_are_copied_as_far_apart_as_can_be(build_model, speech):
    model = with_decoder(build_model("base"), SHAPE, seed=1)
    student, change = decoder_depth.apply(model, decoder_depth.DecoderDepth(3))
    for new, old in enumerate((0, 2, 5)):
        ours, theirs = student.decoder.text.layers[new].state_dict(), model.decoder.text.layers[old].state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert names(change.describe(), [0, 2, 5], 6, [1, 3, 4])
    labels = torch.tensor([[5, 6]])
    assert student(speech[0], decoder_labels=labels).decoder_logits.shape == (1, 3, 32)
    whole, _ = decoder_depth.apply(model, decoder_depth.DecoderDepth(6))
    logits = [m(speech[0], decoder_labels=labels).decoder_logits for m in (whole, model)]
    assert torch.equal(*logits)


def test_what_cannot_be_left_out(build_model):
    with refusing(("num_layers", "no_decoder")):
        decoder_depth.apply(build_model("base"), decoder_depth.DecoderDepth(1))
    with refusing(("num_layers", "bad_layers")):
        decoder_depth.apply(with_decoder(build_model("base"), SHAPE, 1), decoder_depth.DecoderDepth(7))


def test_weights_of_encoder_layers_that_the_decoder_attends_to_go_with_them(build_model):
    model = with_decoder(build_model("base"), SHAPE | {"streams": ["layers"]}, seed=1)
    with torch.no_grad():
        model.decoder.streams.layer_weights.copy_(torch.arange(4.0))
    shallow, _ = depth.apply(model, depth.Depth(2, [0, 2]))
    assert shallow.decoder.streams.layer_weights.tolist() == [0.0, 1.0, 3.0]
