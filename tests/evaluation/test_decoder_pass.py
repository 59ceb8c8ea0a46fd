"""The decoder's path, timed and counted at a given number of tokens."""

import pytest

from bigfoot.decoding.settings import DecodingConfig
from bigfoot.evaluation import decoder_pass
from bigfoot.evaluation.decoder_pass import DecoderPass, count_decoder_macs, find_token_rate
from bigfoot.formats.folder import load_model
from bigfoot.measure.speed import make_samples, measure_speed
from bigfoot.models.reshape import with_decoder


def build(**shape):
    return with_decoder(load_model("tiny_teacher").model, {"hidden_size": 16, "num_heads": 2} | shape, seed=1).eval()


@pytest.mark.slow
def test_it_writes_as_many_tokens_as_were_given_whatever_the_search(monkeypatch):
    model, lengths = build(num_layers=1), []
    decode = decoder_pass.decode_batch

    def watched(*arguments, **named):
        found = decode(*arguments, **named)
        lengths.extend(len(each.best.tokens) for each in found)
        return found

    monkeypatch.setattr(decoder_pass, "decode_batch", watched)
    for search in (DecodingConfig(), DecodingConfig(beam_size=3, ctc_weight=0.3), DecodingConfig(length_bonus=-9.0)):
        DecoderPass(model, search, tokens_per_second=5.0)(make_samples(2.0, batch=2))
    # The longest text that the settings allow does not shorten it.
    DecoderPass(model, DecodingConfig(max_tokens=2, max_repeats=1), 5.0)(make_samples(2.0))
    assert lengths == [10] * 7


@pytest.mark.slow
def test_operations_are_those_of_every_token_in_every_layer():
    one, two = build(num_layers=1), build(num_layers=2)

    def count(model, tokens):
        return count_decoder_macs(DecoderPass(model, DecodingConfig(), tokens), seconds=1.0)

    layer = two.decoder.text_model.layers[0]
    once = layer.memory_attention.k_proj.weight.numel() + layer.memory_attention.v_proj.weight.numel()
    weights = sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2) - once
    width, frames = 16, two(make_samples(1.0), output_memory=True).memory.shape[1]
    # What one more layer costs at 3 tokens less what it costs at 1; a token attends to itself, those before, the start.
    more = count(two, 3) - count(one, 3) - count(two, 1) + count(one, 1)
    assert more == 2 * (weights + 2 * width * frames) + 2 * width * (3 + 4)


@pytest.mark.slow
def test_a_decoder_takes_its_time_beside_the_encoder():
    model = build(num_layers=2)
    decoder = DecoderPass(model, DecodingConfig(), tokens_per_second=20.0)
    found = measure_speed({"encoder": model, "decoder": decoder}, rounds=3, seconds=1.0)
    assert found["decoder"].real_time_factor > found["encoder"].real_time_factor
    assert 0 < found["decoder"].speedup_low <= found["decoder"].speedup <= found["decoder"].speedup_high < 1


def test_the_rate_is_that_of_transcripts_the_vocabulary_can_write(monkeypatch):
    loaded = load_model("tiny_teacher")
    loaded.model = with_decoder(loaded.model, {"num_layers": 1}, seed=1)
    rows = {"none": [("a", "", 9.0)], "some": [("b", "ONE TWO", 2.0), ("c", "\u00c4\u00c4", 5.0), ("d", "", 5.0)]}
    monkeypatch.setattr(decoder_pass, "read_lengths", rows.__getitem__)
    assert find_token_rate(loaded, ["none", "some"]) == 3.5
    assert find_token_rate(loaded, ["none"]) is None
