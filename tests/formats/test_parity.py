"""Against transformers' own classes of every family: one utterance at a time, all hidden states and logits."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import SeamlessM4TFeatureExtractor

from bigfoot.audio.files import read_audio
from bigfoot.formats.folder import load_model
from bigfoot.formats.huggingface import save_huggingface
from tests.conftest import FAMILY_STRUCTURES, STRUCTURES, inputs_of


def check_parity(theirs, folder, speech, tolerance=1e-4):
    theirs.save_pretrained(folder)
    if theirs.main_input_name == "input_features":
        SeamlessM4TFeatureExtractor().save_pretrained(folder)
    ours = load_model(folder).model
    for wave in speech:
        given, frames = inputs_of(theirs, wave)
        with torch.no_grad():
            expected = theirs(**given, output_hidden_states=True)
            output = ours(wave, output_hidden_states=True)
        assert len(output.hidden_states) == len(expected.hidden_states) == theirs.config.num_hidden_layers + 1
        for layer, (here, there) in enumerate(zip(output.hidden_states, expected.hidden_states, strict=True)):
            there = there[:, : given["attention_mask"].sum() if frames else None]
            if getattr(theirs.config, "add_adapter", False):
                there = there[:, :: ours.config.frames_per_output]
            if (factor := getattr(theirs.config, "squeeze_factor", 1)) > 1:
                assert here.shape[1] == expected.logits.shape[1]
                here = here[:, ::factor][:, : there.shape[1]]
            assert here.shape == there.shape
            assert (here - there).abs().max() < tolerance, f"hidden state {layer}"
        assert (output.logits - expected.logits[:, :frames]).abs().max() < tolerance
        assert expected.logits.std() > 1e-2, "an answer of zeros proves nothing"


@pytest.mark.parametrize("structure", ["base", "large-lv60", "group-stable", "layer-post"])
def test_hidden_states_and_logits_are_transformers(structure, build_huggingface, speech, tmp_path):
    check_parity(build_huggingface(structure), tmp_path, speech)


@pytest.mark.parametrize("family", FAMILY_STRUCTURES)
def test_every_family_is_transformers(family, build_huggingface, speech, tmp_path):
    check_parity(build_huggingface(family), tmp_path, speech)


UNUSUAL_POSITIONS = {
    "maps of their own": {"share_att_key": False, "norm_rel_ebd": "none"},
    "one product, no buckets": {"position_buckets": -1, "pos_att_type": ["c2p"], "conv_dim": [8] * 6 + [24]},
    "one product of its own": {"share_att_key": False, "pos_att_type": ["p2c"], "max_relative_positions": 11},
    "no table": {"relative_attention": False, "squeeze_factor": 3},
    "no product": {"pos_att_type": []},
}


@pytest.mark.parametrize("which", UNUSUAL_POSITIONS)
def test_disentangled_positions_of_every_kind(which, build_huggingface, speech, tmp_path):
    check_parity(build_huggingface("sew-d", **UNUSUAL_POSITIONS[which]), tmp_path, speech[:1])


@pytest.mark.parametrize(
    ("structure", "positions"),
    [("w2v-bert", "relative"), ("w2v-bert", "rotary"), ("w2v-bert", None), ("conformer", None)],
)
def test_every_position_of_both_conformers(structure, positions, build_huggingface, speech, tmp_path):
    theirs = build_huggingface(structure, position_embeddings_type=positions)
    check_parity(theirs, tmp_path, speech[:1])
    # And there again, with the tensors that their class has.
    again = tmp_path / "again"
    save_huggingface(load_model(tmp_path).model, again)
    assert load_file(again / "model.safetensors").keys() == theirs.state_dict().keys()


@pytest.mark.parametrize(
    ("structure", "changes"),
    [("wavlm", {}), ("data2vec", {"num_adapter_layers": 1}),
     ("conformer", {"adapter_stride": 3, "num_adapter_layers": 2}), ("mms", {"adapter_stride": 1})],
)  # fmt: skip
def test_convolutions_behind_the_encoder(structure, changes, build_huggingface, speech, tmp_path):
    check_parity(build_huggingface(structure, add_adapter=True, **changes), tmp_path, speech[:1])


def test_windows_that_make_no_whole_frame_are_left_out(build_huggingface, speech, tmp_path):
    theirs = build_huggingface("w2v-bert")
    for samples in (9_040, 9_200):  # 55 and 56 windows
        check_parity(theirs, tmp_path, [0.1 * speech[0][:, :samples]])


def test_real_audio_comes_first(speech, real_corpora):
    """Every comparison of this room takes ``speech[0]``, if not all of it."""
    sentence = read_audio(real_corpora / "LibriSpeech/dev-mini/150/126107/150-126107-0000.flac")
    stretch = torch.from_numpy(sentence[16_000 : 16_000 + speech[0].shape[1]])
    assert speech[0].shape[1] > 3 * 16_000
    torch.testing.assert_close(speech[0][0] * stretch.std() + stretch.mean(), stretch, rtol=0, atol=1e-4)


def test_shapes_off_the_beaten_track(build_huggingface, speech, tmp_path):
    unusual = {"num_conv_pos_embeddings": 9, "hidden_act": "relu", "layer_norm_eps": 1e-3, "conv_bias": True,
               "conv_dim": [8, 12, 16], "conv_kernel": [10, 8, 4], "conv_stride": [5, 16, 4]}  # fmt: skip
    check_parity(build_huggingface("base", **unusual), tmp_path, speech[:1])


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["base", "large-lv60", "hubert", "wavlm", "data2vec"])
def test_true_base_width(structure, build_huggingface, speech, tmp_path):
    """The first at its true depth too; layers of one family are alike."""
    layers = 12 if structure == "base" else 3
    wide = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": layers, "intermediate_size": 3072,
            "conv_dim": [512] * 7, "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16}  # fmt: skip
    own = {"wavlm": {"num_buckets": 320, "max_bucket_distance": 800},
           "data2vec": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19}}  # fmt: skip
    theirs = build_huggingface(structure, **(wide | own.get(structure, {})))
    check_parity(theirs, tmp_path, [speech[0][:, :16_000]])


@pytest.mark.parametrize("structure", ["base", "wavlm", "wavlm-large"])
def test_attention_weights_are_the_softmax_that_was_used(structure, build_model, speech):
    model = build_model(structure)
    with torch.no_grad():
        written_out = model(speech[0], output_attentions=True, output_hidden_states=True)
        fused = model(speech[0], output_hidden_states=True)
    assert fused.attentions is None
    assert [tuple(w.shape[:2]) for w in written_out.attentions] == [(1, 3)] * 3
    for weights in written_out.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    for here, there in zip(written_out.hidden_states, fused.hidden_states, strict=True):
        torch.testing.assert_close(here, there, rtol=0, atol=1e-5)
    torch.testing.assert_close(written_out.logits, fused.logits, rtol=0, atol=1e-5)


def test_training_mode_without_dropout_gives_the_same(build_huggingface, build_model, speech):
    ours = build_model("base")
    with torch.no_grad():
        evaluated = ours(speech[0]).logits
        trained = ours.train()(speech[0]).logits
    assert torch.equal(evaluated, trained)


def test_the_loss_is_transformers_with_their_reduction(build_huggingface, speech, tmp_path):
    theirs = build_huggingface("base", ctc_loss_reduction="sum", ctc_zero_infinity=True)
    theirs.save_pretrained(tmp_path)
    labels = torch.tensor([[5, 5, 4, 9]])
    with torch.no_grad():
        expected = theirs(speech[0], labels=labels).loss / 4  # ours is the mean over labels
        assert torch.allclose(load_model(tmp_path).model(speech[0], labels=labels).loss, expected, rtol=1e-5)


def without_family(structure):
    return {name: value for name, value in STRUCTURES[structure].items() if name != "family"}


FRESH = {
    "wav2vec2": {},
    "unispeech": {},
    "wav2vec2-conformer": without_family("conformer"),
    "wav2vec2-bert": without_family("w2v-bert-adapter"),
    "hubert": {},
    "wavlm": {"num_buckets": 320, "max_bucket_distance": 800},
    "data2vec-audio": {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 19, "feat_extract_norm": "layer"},
}


@pytest.mark.parametrize("model_type", FRESH)
def test_new_weights_begin_as_theirs_do(model_type):
    from transformers import AutoConfig, AutoModelForCTC

    from bigfoot.models import BigfootConfig, BigfootForCTC

    wide = {"hidden_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 200,
            "conv_dim": [48] * 7, "conv_bias": True} | FRESH[model_type]  # fmt: skip
    torch.manual_seed(0)
    theirs = AutoModelForCTC.from_config(AutoConfig.for_model(model_type, **wide)).state_dict()
    ours = BigfootForCTC(BigfootConfig(family=model_type, **wide)).state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].shape == tensor.shape
        if tensor.numel() < 5:
            continue
        spread = tensor.std().item()
        assert ours[name].std().item() == pytest.approx(spread, rel=0.5 if tensor.numel() < 500 else 0.1), name
        chance = 5 * spread / tensor.numel() ** 0.5
        assert ours[name].mean().item() == pytest.approx(tensor.mean().item(), abs=chance + 1e-7), name


@pytest.mark.parametrize("structure", ["base", "hubert", "wavlm", "data2vec"])
def test_masked_frames_take_the_learned_vector_as_theirs_do(structure, build_huggingface, speech, tmp_path):
    theirs = build_huggingface(structure)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).model
    with torch.no_grad():
        frames = ours(speech[0]).logits.shape[1]
        mask = torch.zeros(1, frames, dtype=torch.bool)
        mask[:, 3:9] = True
        expected = theirs.lm_head(theirs.base_model(speech[0], mask_time_indices=mask).last_hidden_state)
        masked = ours(speech[0], mask_time_indices=mask).logits
    torch.testing.assert_close(masked, expected, rtol=0, atol=1e-4)
    assert not torch.allclose(masked, ours(speech[0]).logits, atol=1e-3)
