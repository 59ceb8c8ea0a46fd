import shutil

import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models import BigfootConfig
from bigfoot.models.decoders.speech_decoder import teacher_forcing
from bigfoot.models.reshape import with_decoder, with_new_head
from tests.refusals import refused

SMALL = {"hidden_size": 16, "num_layers": 2, "num_heads": 2}
ALL_STREAMS = {"streams": ["encoder", "layers", "fbank", "posteriors"]}
SHAPES = {
    "encoder": SMALL,
    "pooled": SMALL | ALL_STREAMS | {"stride": 2},
    "attention": SMALL | ALL_STREAMS | {"fuse": "attention", "projection": "conv", "stride": 2},
    "decoder": SMALL | ALL_STREAMS | {"fuse": "decoder", "stride": 2},
}


@pytest.fixture(params=SHAPES)
def model(request, build_model):
    found = with_decoder(build_model("base", conv_groups=[1, 2, 2, 2, 2, 2, 2]), SHAPES[request.param], seed=5)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if name.endswith(("gates", "layer_weights", "stream_weights")):
                parameter.normal_()
    return found


def ask(model, speech, labels):
    return model(speech, torch.ones_like(speech, dtype=torch.bool), decoder_labels=labels)


@pytest.mark.grid
@torch.no_grad()
def test_padding_never_changes_what_the_decoder_says(model, speech):
    labels = torch.tensor([[4, 9, 9, 5], [7, 8, -100, -100], [6, -100, -100, -100]])[: len(speech)]
    alone = [ask(model, wave, labels[i : i + 1]) for i, wave in enumerate(speech)]
    longest = max(wave.shape[1] for wave in speech) + 700
    values, mask = torch.full((len(speech), longest), 9.0), torch.zeros(len(speech), longest, dtype=torch.bool)
    for i, wave in enumerate(speech):
        values[i, : wave.shape[1]], mask[i, : wave.shape[1]] = wave[0], True
    together = model(values, mask, decoder_labels=labels)
    for i, single in enumerate(alone):
        frames, tokens = int(together.memory_mask[i].sum()), int((labels[i] >= 0).sum()) + 1
        assert frames == int(single.memory_mask.sum())
        torch.testing.assert_close(together.memory[i, :frames], single.memory[0, :frames], atol=1e-4, rtol=1e-4)
        logits = together.decoder_logits[i, :tokens], single.decoder_logits[0, :tokens]
        torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_the_folder_gives_the_decoder_back_to_the_bit(model, processor, speech, tmp_path):
    save_model(model, processor, tmp_path / "model")
    again = load_model(tmp_path / "model").model
    labels = torch.tensor([[4, 9, 9, 5]])
    one, other = ask(model, speech[0], labels), ask(again, speech[0], labels)
    assert torch.equal(one.decoder_logits, other.decoder_logits) and torch.equal(one.logits, other.logits)
    assert type(model).from_pretrained(tmp_path / "model").config.decoder == model.config.decoder


@torch.no_grad()
def test_a_decoder_leaves_the_ctc_head_as_it_was(build_model, speech):
    plain = build_model("base")
    assert torch.equal(plain(speech[0]).logits, with_decoder(plain, SMALL, seed=1)(speech[0]).logits)
    assert with_decoder(with_decoder(plain, SMALL, seed=1), None, seed=1).decoder is None
    assert with_new_head(with_decoder(plain, SMALL, seed=1), 9, 0, seed=1).decoder is None


def test_fused_by_attention_begins_with_the_first_stream_alone(build_model, speech):
    one = with_decoder(build_model("base"), SMALL, seed=1)
    fused = with_decoder(build_model("base"), SMALL | ALL_STREAMS | {"fuse": "attention"}, seed=1)
    fused.decoder.streams.projections["encoder"].load_state_dict(one.decoder.streams.projections["encoder"].state_dict())
    memories = [m(speech[0], output_memory=True).memory for m in (one, fused)]
    torch.testing.assert_close(*memories)


@torch.no_grad()
def test_attended_by_every_layer_begins_with_the_first_stream_alone(build_model, speech):
    one = with_decoder(build_model("base"), SMALL, seed=1)
    fused = with_decoder(build_model("base"), SMALL | ALL_STREAMS | {"fuse": "decoder"}, seed=1)
    left = fused.decoder.load_state_dict(one.decoder.state_dict(), strict=False)
    assert left.unexpected_keys == [] and "text.layers.1.stream_gates" in left.missing_keys
    labels = torch.tensor([[4, 9, 5]])
    before = ask(one, speech[0], labels).decoder_logits
    assert torch.equal(ask(fused, speech[0], labels).decoder_logits, before)
    fused.decoder.text.layers[1].stream_gates.fill_(3.0)
    assert (ask(fused, speech[0], labels).decoder_logits - before).abs().max() > 5e-5


def test_every_stream_counts_and_every_weight_learns(model, speech):
    ask(model, speech[0], torch.tensor([[4, 9, 5]])).decoder_logits.logsumexp(-1).sum().backward()
    silent = [name for name, p in model.decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


@pytest.mark.parametrize(
    ("decoder", "named"),
    [
        ({"num_layers": 10**9}, ("decoder.num_layers", "1000000000", "1")),
        ({"kind": "os.system"}, ("os.system", "decoder.kind", "mini_gpt")),
        ({"streams": ["encoder", "lips"]}, ("lips", "encoder")),
        ({"hidden_size": 10, "num_heads": 4}, ("num_heads", "4")),
        ({"layers": 2}, ("dropout",)),
        ({"kind": "pretrained"}, ("model_type",)),
        ({"kind": "pretrained", "fuse": "decoder"}, ("pretrained",)),
        ([1], ("dropout",)),
    ],
)
def test_a_shape_that_cannot_be_is_refused(decoder, named):
    with refused(ModelError, *named):
        BigfootConfig(decoder=decoder)


def test_other_formats_have_no_place_for_it(build_model, processor, tmp_path):
    model = with_decoder(build_model("base"), SMALL, seed=1)
    with refused(ModelError, "MiniGPT"):
        save_model(model, processor, tmp_path / "hf", to="huggingface")


def test_a_folder_that_lacks_a_weight_of_it_is_refused(build_model, processor, tmp_path):
    from safetensors.torch import load_file, save_file

    save_model(with_decoder(build_model("base"), SMALL, seed=1), processor, tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    shutil.copytree(tmp_path / "model", tmp_path / "other")
    tensors.pop("decoder.text.norm.weight")
    save_file(tensors, tmp_path / "other" / "model.safetensors", metadata={"format": "pt"})
    with refused(ModelError, "decoder.text.norm.weight"):
        load_model(tmp_path / "other")


def test_what_is_read_and_what_is_to_be_written():
    inputs, targets = teacher_forcing(torch.tensor([[3, 4, 5], [6, -100, -100], [-100, -100, -100]]), 0, 1)
    assert inputs.tolist() == [[0, 3, 4, 5], [0, 6, 1, 1], [0, 1, 1, 1]]
    assert targets.tolist() == [[3, 4, 5, 1], [6, 1, -100, -100], [-100] * 4]
