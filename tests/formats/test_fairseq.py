"""fairseq's checkpoints: files of its own making with its own answers, both ways, and what is refused."""

import json
import logging
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from bigfoot.audio.files import read_audio
from bigfoot.errors import ModelError
from bigfoot.formats.fairseq import is_fairseq, load_fairseq, save_fairseq
from bigfoot.formats.fairseq_dictionary import order_for_fairseq
from bigfoot.formats.fairseq_names import tensor_names
from bigfoot.formats.fairseq_settings import parse_convs
from bigfoot.formats.torch_file import open_torch_file
from bigfoot.formats.torch_layout import StoredTensor
from bigfoot.models import BigfootConfig
from bigfoot.models.notices import warn_once
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.refusals import names, refused

# Written by tools/make_fairseq_fixtures.py with fairseq-fixed 0.12.3.1.
FIXTURES = Path(__file__).parent / "fixtures" / "fairseq"
FILES = sorted(file.stem for file in FIXTURES.glob("*.pt"))
VOCABULARY = ("<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "I", "'", "Z")
PRETRAINING = re.compile(r"(quantizer|project_q|final_proj|label_embs_concat)\b")


@pytest.fixture(scope="module")
def answers():
    return load_file(FIXTURES / "outputs.safetensors")


@pytest.fixture(scope="module")
def audio_of(answers, request):
    """fairseq's input, by its name in the answers: a sound of its own, or a stretch of a recording where it lies."""

    def read(name):
        if name == "made":
            return answers["audio"]
        with safe_open(FIXTURES / "outputs.safetensors", "pt") as file:
            recording, start, count = json.loads(file.metadata()[name])
        corpora = request.getfixturevalue("real_corpora")
        return torch.from_numpy(read_audio(corpora / recording)[start : start + count])[None]

    return read


def tensors_in(path):
    opened = open_torch_file(path)
    held = {name: tensor for name, tensor in opened.content["model"].items() if isinstance(tensor, StoredTensor)}
    return opened.read(held)


def without_heads(tensors):
    return {name: tensor for name, tensor in tensors.items() if not PRETRAINING.search(name)}


def check_equal(before, after):
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_all_four_layouts_are_there():
    assert FILES == [
        "hubert_ctc_cfg", "hubert_pretrained_cfg", "wav2vec2_ctc_args", "wav2vec2_ctc_cfg", "wav2vec2_pretrained_args",
        "wav2vec2_pretrained_cfg",
    ]  # fmt: skip


@pytest.mark.grid
@pytest.mark.parametrize("stretch", ["made", "one", "other"])
@pytest.mark.parametrize("name", FILES)
def test_answers_are_those_of_fairseq(name, stretch, answers, audio_of):
    model, processor = load_fairseq(FIXTURES / f"{name}.pt")
    assert not model.training
    assert model.config.family == name.split("_")[0]
    tuned = "ctc" in name
    assert processor.do_normalize == processor.return_attention_mask == tuned
    assert processor.sample_rate == 16_000
    audio = audio_of(stretch)
    given = torch.nn.functional.layer_norm(audio, audio.shape) if tuned else audio
    with torch.no_grad():
        output = model(given, output_hidden_states=True)
    found = {f"hidden_states.{index}": state for index, state in enumerate(output.hidden_states)}
    found["last_hidden_state"] = output.last_hidden_state
    if tuned:
        found["logits"] = output.logits
        assert processor.tokenizer == CharTokenizer(VOCABULARY)
        assert (model.config.pad_token_id, model.config.vocab_size) == (0, 13)
    expected = {key.split("/")[2]: answers[key] for key in answers if key.startswith(f"{name}/{stretch}/")}
    assert expected.keys() == found.keys()
    for key, theirs in expected.items():
        # Of answers to recordings every third frame was kept.
        ours = found[key] if stretch == "made" else found[key][:, ::3]
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-5, key


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("name", FILES)
def test_the_round_trip_gives_every_bit_back(name, tmp_path):
    model, processor = load_fairseq(FIXTURES / f"{name}.pt")
    path = save_fairseq(model, processor, tmp_path)
    assert path.parent == tmp_path
    check_equal(without_heads(tensors_in(FIXTURES / f"{name}.pt")), without_heads(tensors_in(path)))
    again, processor_again = load_fairseq(tmp_path)
    check_equal(model.state_dict(), again.state_dict())
    assert processor_again == processor
    kept, found = model.config.to_dict(), again.config.to_dict()
    assert found == kept
    if processor.tokenizer is not None:
        symbols = [line.split()[0] for line in (FIXTURES / "dict.ltr.txt").read_text().splitlines()]
        assert [line.split()[0] for line in (tmp_path / "dict.ltr.txt").read_text().splitlines()] == symbols
    # What fairseq asks of a file, as plain Python that needs no unpickling of classes.
    content = torch.load(path, weights_only=True)
    assert content["cfg"]["model"]["_name"]
    assert content["optimizer_history"][-1]["num_updates"] == 0


def test_settings_of_fine_tuning_are_read():
    config = load_fairseq(FIXTURES / "wav2vec2_ctc_args.pt")[0].config
    assert config.apply_spec_augment
    read = [config.mask_time_prob, config.mask_feature_prob, config.mask_feature_length, config.final_dropout,
            config.hidden_dropout, config.attention_dropout, config.activation_dropout]  # fmt: skip
    assert read == [0.65, 0.25, 6, 0.05, 0.02, 0.0, 0.1]
    # Pre-training hides half of all frames, which is no way to fine-tune.
    assert load_fairseq(FIXTURES / "wav2vec2_pretrained_args.pt")[0].config.mask_time_prob == 0.05


def test_heads_of_pre_training_are_dropped_and_reported(caplog):
    warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "bigfoot"):
        load_fairseq(FIXTURES / "wav2vec2_pretrained_cfg.pt")
    assert names(caplog.text, "final_proj", "project_q")


@pytest.mark.grid
@pytest.mark.parametrize("structure", [
    "base", "large-lv60", "layer-post", "hubert", "hubert-large", "hubert-batch-norm", "wavlm", "wavlm-large",
    "data2vec",
])  # fmt: skip
@pytest.mark.parametrize("headed", [True, False])
def test_our_models_go_there_and_back(structure, headed, build_model, processor, speech, tmp_path):
    model = build_model(structure, ctc_head=headed)
    if "wavlm" in structure and headed:
        with refused(ModelError, "CTC"):
            save_fairseq(model, processor, tmp_path)
        assert not list(tmp_path.iterdir())
        return
    given = processor if headed else Processor(do_normalize=False)
    save_fairseq(model, given, tmp_path)
    found, given_again = load_fairseq(tmp_path)
    check_equal(model.state_dict(), found.state_dict())
    assert (given_again.tokenizer, given_again.do_normalize) == (given.tokenizer, given.do_normalize)
    with torch.no_grad():
        ours, theirs = model(speech[0]), found(speech[0])
    assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)


# The names that fairseq's sources give what transformers calls so; written down apart from bigfoot's own table.
TO_PUBLIC = (
    (r"^masked_spec_embed", "mask_emb"),
    (r"^feature_projection\.layer_norm", "layer_norm"),
    (r"^feature_projection\.projection", "post_extract_proj"),
    (r"conv_layers\.(\d+)\.conv\.", r"conv_layers.\1.0."),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv\.bias", "pos_conv.0.bias"),
    (r"pos_conv_embed\.layers\.(\d+)\.conv\.", r"pos_conv.\1.0."),
    (r"attention\.rel_attn_embed", "self_attn.relative_attention_bias"),
    (r"attention\.gru_rel_pos_linear", "self_attn.grep_linear"),
    (r"attention\.gru_rel_pos_const", "self_attn.grep_a"),
    (r"layers\.(\d+)\.attention\.", r"layers.\1.self_attn."),
    (r"layers\.(\d+)\.layer_norm", r"layers.\1.self_attn_layer_norm"),
    (r"feed_forward\.intermediate_dense", "fc1"),
    (r"feed_forward\.output_dense", "fc2"),
)


def as_public(theirs, norm, patterns=TO_PUBLIC):
    """Tensors of transformers' under the names of the public source."""
    named = {}
    for name, tensor in theirs.state_dict().items():
        name = re.sub(r"(conv_layers\.\d+)\.layer_norm\.", rf"\1.{norm}.", name)
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        named[name] = tensor.clone()
    return named


def describe(config, **more):
    convs = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    return {
        "encoder_layers": config.num_hidden_layers, "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size, "encoder_attention_heads": config.num_attention_heads,
        "conv_feature_layers": str(convs), "conv_bias": config.conv_bias, "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups, **more,
    }  # fmt: skip


def check_same(theirs, path, speech, family):
    model, _ = load_fairseq(path)
    assert model.config.family == family
    with torch.no_grad():
        expected = theirs(speech[0], output_hidden_states=True)
        found = model(speech[0], output_hidden_states=True)
    factor = model.config.squeeze_factor
    for ours, other in zip(found.hidden_states, expected.hidden_states[: len(found.hidden_states)], strict=True):
        assert (ours[:, ::factor][:, : other.shape[1]] - other).abs().max() < 1e-4
    assert (found.last_hidden_state - expected.last_hidden_state).abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["wavlm", "wavlm-large"])
def test_wavlm_as_its_public_source_shapes_it(structure, build_huggingface, speech, tmp_path):
    theirs = build_huggingface(structure, cls="WavLMModel")
    large, config = structure == "wavlm-large", theirs.config
    fields = describe(
        config, layer_norm_first=large, extractor_mode="layer_norm" if large else "default", normalize=large,
        relative_position_embedding=True, gru_rel_pos=True, num_buckets=config.num_buckets,
        max_distance=config.max_bucket_distance,
    )  # fmt: skip
    torch.save({"cfg": fields, "model": as_public(theirs, "2.1" if large else "2")}, tmp_path / "WavLM.pt")
    # The last hidden state of transformers' large lists is normed.
    check_same(theirs, tmp_path / "WavLM.pt", speech, "wavlm")
    assert load_fairseq(tmp_path)[1].do_normalize == large


@pytest.mark.grid
@pytest.mark.parametrize("tuned", [True, False])
def test_data2vec_as_its_public_source_shapes_it(tuned, build_huggingface, speech, tmp_path):
    theirs = build_huggingface("data2vec", cls="Data2VecAudioModel")
    depth, kernel = theirs.config.num_conv_pos_embeddings, theirs.config.conv_pos_kernel_size
    fields = describe(theirs.config, extractor_mode="layer_norm", pos_conv_depth=depth) | {"conv_pos": depth * kernel}
    tensors = as_public(theirs, "2.1")
    cfg = {"model": {"_name": "data2vec_audio", **fields}, "task": {"_name": "audio_pretraining", "normalize": True}}
    if tuned:
        tensors = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in tensors.items()}
        tensors |= {"w2v_encoder.proj.weight": torch.randn(7, 24), "w2v_encoder.proj.bias": torch.randn(7)}
        cfg = {"model": {"_name": "wav2vec_ctc", "w2v_args": cfg}, "task": {"normalize": True, "labels": "ltr"}}
    else:
        tensors |= {"_ema": {"layers.0.fc1.weight": torch.zeros(2)}, "final_proj.weight": torch.zeros(24, 24)}
    torch.save({"cfg": cfg, "model": tensors}, tmp_path / "audio.pt")
    check_same(theirs, tmp_path / "audio.pt", speech, "data2vec-audio")
    assert (load_fairseq(tmp_path)[0].head is not None) == tuned


# Of SEW: the first norm and projection have no module around them in transformers.
OF_SEW = ((r"^feature_projection\.", "post_extract_proj."), (r"upsample\.projection", "upsample.0"), *TO_PUBLIC)
NAMED = {"unispeech": "unispeech", "unispeech-sat": "unispeech_sat", "sew": "squeeze_wav2vec2",
         "sew-d": "squeeze_wav2vec2_deberta"}  # fmt: skip


def write_fork(structure, tuned, build_huggingface, path):
    """Write a checkpoint as the public sources of Microsoft's and ASAPP's forks shape it, and return transformers'."""
    headed = build_huggingface(structure)
    theirs, config = getattr(headed, headed.base_model_prefix), headed.config
    layered = config.feat_extract_norm == "layer"
    fields = describe(config, extractor_mode="layer_norm" if layered else "default", _name=NAMED[structure])
    if structure == "sew-d":
        fields |= {name: getattr(config, name) for name in ("max_position_embeddings", "position_buckets")}
    else:
        fields |= {"layer_norm_first": getattr(config, "do_stable_layer_norm", False)}
    squeezed = "sew" in structure
    fields |= {"squeeze_factor": 2} if squeezed else {"relative_position_embedding": False}
    tensors = as_public(theirs, "2.1" if layered else "2", OF_SEW if squeezed else TO_PUBLIC)
    tensors |= {name: torch.zeros(2) for name in ("spk_proj.bias", "encoder.layer_norm_for_extract.bias")}
    cfg = {"model": fields, "task": {"normalize": True}}
    if tuned:
        tensors = {f"w2v_encoder.w2v_model.{name}": tensor for name, tensor in tensors.items()}
        tensors |= {f"w2v_encoder.proj.{kind}": tensor for kind, tensor in headed.lm_head.state_dict().items()}
        cfg = {"model": {"_name": "wav2vec_ctc", "w2v_args": cfg}, "task": {"normalize": True, "labels": "ltr"}}
    torch.save({"cfg": cfg, "model": tensors}, path)
    return theirs, headed


@pytest.mark.grid
@pytest.mark.parametrize("structure", NAMED)
@pytest.mark.parametrize("tuned", [True, False])
def test_forks_as_their_public_sources_shape_them(structure, tuned, build_huggingface, speech, tmp_path):
    theirs, headed = write_fork(structure, tuned, build_huggingface, tmp_path / "fork.pt")
    check_same(theirs, tmp_path / "fork.pt", speech, structure)
    model, _ = load_fairseq(tmp_path)
    assert (model.head is not None) == tuned
    if tuned:
        with torch.no_grad():
            assert (model(speech[0]).logits - headed(speech[0]).logits).abs().max() < 1e-4


@pytest.mark.parametrize(("structure", "fields"), [
    ("sew", {"squeeze_method": "multi-layer"}), ("sew-d", {"relative_attention": False}),
    ("sew-d", {"position_biased_input": True}), ("sew-d", {"share_att_key": "some"}), ("sew-d", {"pos_att_type": 3}),
    ("unispeech-sat", {"relative_position_embedding": True}), ("sew", {"squeeze_factor": 1}),
])  # fmt: skip
def test_forks_that_the_encoder_cannot_be(structure, fields, build_huggingface, tmp_path):
    write_fork(structure, False, build_huggingface, tmp_path / "fork.pt")
    content = torch.load(tmp_path / "fork.pt", weights_only=True)
    content["cfg"]["model"] |= fields
    torch.save(content, tmp_path / "fork.pt")
    with refused(ModelError, tmp_path):
        load_fairseq(tmp_path)


def test_one_width_needs_no_projection(build_model, tmp_path):
    model = build_model(conv_dim=[8, 8, 8, 16, 16, 16, 24], ctc_head=False)
    with pytest.raises(ModelError):
        save_fairseq(model, Processor(), tmp_path)
    projection = model.speech_encoder.feature_projection.projection
    with torch.no_grad():
        projection.weight.copy_(torch.eye(24))
        projection.bias.zero_()
    path = save_fairseq(model, Processor(), tmp_path)
    assert not any("post_extract_proj" in name for name in tensors_in(path))
    check_equal(model.state_dict(), load_fairseq(path)[0].state_dict())


def test_a_vocabulary_in_another_order(build_model, tmp_path, speech):
    tokenizer = CharTokenizer(("A", "[PAD]", " ", "B", "</s>"), blank_token="[PAD]", word_delimiter=" ")
    model = build_model(vocab_size=5, pad_token_id=1)
    save_fairseq(model, Processor(tokenizer), tmp_path)
    assert (tmp_path / "dict.ltr.txt").read_text() == "A 1\n| 1\nB 1\n"
    found, processor = load_fairseq(tmp_path)
    assert processor.tokenizer.vocabulary == ("<pad>", "<s>", "</s>", "<unk>", "A", "|", "B")
    with torch.no_grad():
        before, after = model(speech[0]).logits, found(speech[0]).logits
    check_equal({"head": model.head.weight}, {"head": found.head.weight[[4, 0, 5, 6, 2]]})
    assert (before - after[..., [4, 0, 5, 6, 2]]).abs().max() < 1e-6  # a product of other sizes rounds otherwise
    assert after[..., [1, 3]].max() < -9_000


@pytest.mark.parametrize("token", ["A B", "", "|", "<pad>"])
def test_tokens_that_a_dictionary_cannot_hold(token):
    tokenizer = CharTokenizer(("[PAD]", " ", token), blank_token="[PAD]", word_delimiter=" ")
    with pytest.raises(ModelError):
        order_for_fairseq(tokenizer)


def test_shapes_that_fairseq_cannot_say(build_model, processor, tmp_path):
    model = build_model(conv_groups=[1, 2, 2, 2, 2, 2, 2], layer_intermediate_sizes=[40, 16, 40])
    with refused(ModelError, "conv_groups", "[40, 16, 40]"):
        save_fairseq(model, processor, tmp_path / "model")
    with refused(ModelError, "layer_norm_eps", "1e-06"):
        save_fairseq(build_model(layer_norm_eps=1e-6), processor, tmp_path / "model")
    with refused(ModelError, "feat_proj_layer_norm"):
        save_fairseq(build_model("hubert-without-norm"), processor, tmp_path / "model")
    with refused(ModelError, "32"):
        save_fairseq(build_model(), Processor(), tmp_path / "model")
    with refused(ModelError, "tanh", "hidden_act"):
        save_fairseq(build_model(hidden_act="tanh"), processor, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_where_the_dictionary_comes_from(tmp_path):
    alone = tmp_path / "alone.pt"
    alone.write_bytes((FIXTURES / "wav2vec2_ctc_cfg.pt").read_bytes())
    assert load_fairseq(alone)[1].tokenizer.vocabulary == VOCABULARY  # In the checkpoint itself.
    beside = "\n".join(f"{symbol} 3" for symbol in "|abcdefgh")
    (tmp_path / "dict.ltr.txt").write_text(beside)
    assert load_fairseq(alone)[1].tokenizer.vocabulary[4:] == tuple("|abcdefgh")
    # A byte order mark is no symbol, and a symbol may be what Unicode takes for the end of a line.
    odd = "\ufeff" + "".join(f"{symbol} 3\r\n" for symbol in "|a\u2028bcdefg")
    (tmp_path / "dict.ltr.txt").write_bytes(odd.encode())
    assert load_fairseq(alone)[1].tokenizer.vocabulary[4:] == tuple("|a\u2028bcdefg")
    (tmp_path / "dict.ltr.txt").write_text(beside)
    given = tmp_path / "given.txt"
    given.write_text(beside.upper())
    assert load_fairseq(alone, given)[1].tokenizer.vocabulary[4:] == tuple("|ABCDEFGH")
    (tmp_path / "dict.ltr.txt").unlink()
    old = tmp_path / "old.pt"
    old.write_bytes((FIXTURES / "wav2vec2_ctc_args.pt").read_bytes())
    assert load_fairseq(old)[1].tokenizer is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A\n", ("1",)),
        ("A 1\nB many\n", ("2",)),
        ("A 1\n", ("13", "5")),
        ("A 1\nA 1\n", ()),
        (None, ("dict.txt",)),
    ],
)
def test_dictionaries_that_do_not_fit(text, named, tmp_path):
    if text is not None:
        (tmp_path / "dict.txt").write_text(text)
    with refused(ModelError, *named):
        load_fairseq(FIXTURES / "wav2vec2_ctc_args.pt", tmp_path / "dict.txt")


@pytest.fixture
def spoil(build_model, processor, tmp_path):
    """Write a checkpoint of ours, changed."""

    def write(change, **changes):
        path = save_fairseq(build_model(**changes), processor, tmp_path)
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)
        return path

    return write


def test_missing_and_left_over_weights_are_all_listed(spoil):
    def change(content):
        tensors = content["model"]
        tensors.pop("w2v_encoder.w2v_model.encoder.layers.1.fc1.bias")
        tensors["w2v_encoder.w2v_model.encoder.layers.7.fc1.bias"] = torch.zeros(40)
        tensors["surprise"] = torch.zeros(1)
        tensors["w2v_encoder.w2v_model.mask_emb"] = torch.zeros(3)

    with pytest.raises(ModelError) as caught:
        load_fairseq(spoil(change))
    message = str(caught.value)
    assert names(message, "wav2vec2.encoder.layers.1.feed_forward.intermediate_dense.bias")
    assert names(message, "encoder.layers.7.fc1.bias")
    assert names(message, "surprise")
    assert names(message, "masked_spec_embed", "3", "24")
    assert len(message.splitlines()) == 5


FAULTS = {
    "a conformer": ({"layer_type": "conformer"}, ("layer_type", "conformer")),
    "quantized input": ({"quantize_input": True}, ("quantize_input",)),
    "a strange activation": ({"activation_fn": "glu"}, ("glu", "activation_fn")),
    "strange norms": ({"extractor_mode": "batch"}, ("batch", "extractor_mode")),
    "a list as activation": ({"activation_fn": ["gelu"]}, ("activation_fn",)),
    "a million layers": ({"encoder_layers": 1_000_000}, ("num_hidden_layers", "1000000", "1000")),
    "a thousand layers": ({"encoder_layers": 1_000}, ("wav2vec2.encoder.layers.101", "15912")),
    "wide layers": ({"encoder_embed_dim": 120_000}, ()),
    "a number of layers without end": ({"encoder_layers": 2**99_999}, ("100000",)),
    "layers by word": ({"encoder_layers": "many"}, ("many", "num_hidden_layers")),
    "a program for convolutions": ({"conv_feature_layers": "__import__('os').system('ls')"}, ("conv_feature_layers",)),
    "a name for convolutions": ({"conv_feature_layers": "exit"}, ("conv_feature_layers",)),
    "convolutions without end": ({"conv_feature_layers": "[(8, 3, 2)] * 9 ** 9 ** 9"}, ("conv_feature_layers",)),
    "many convolutions": ({"conv_feature_layers": "[(8, 3, 2)] * 1000000000"}, ("1", "64")),
    "brackets without end": ({"conv_feature_layers": "[" * 1500}, ("conv_feature_layers",)),
    "half a convolution": ({"conv_feature_layers": "[(8, 3)]"}, ("conv_feature_layers",)),
    "a long text": ({"conv_feature_layers": "[(8, 3, 2)]" + " " * 9999}, ("conv_feature_layers",)),
}


@pytest.mark.grid
@pytest.mark.parametrize("fault", [pytest.param(f, marks=pytest.mark.slow) if "thousand" in f else f for f in FAULTS])
def test_settings_that_the_encoder_cannot_be(fault, spoil):
    changes, named = FAULTS[fault]
    path = spoil(lambda content: content["cfg"]["model"]["w2v_args"]["model"].update(changes))
    with refused(ModelError, *named):
        load_fairseq(path)


@pytest.mark.slow
def test_checkpoints_that_say_too_little(spoil):
    with refused(ModelError, "/old/place.pt"):
        load_fairseq(spoil(lambda content: content["cfg"]["model"].update(w2v_args=None, w2v_path="/old/place.pt")))
    with pytest.raises(ModelError):
        load_fairseq(spoil(lambda content: content["model"].update({"decoder.embed": torch.zeros(1)})))
    with pytest.raises(ModelError):
        load_fairseq(spoil(rename_bias))
    with pytest.raises(ModelError):
        load_fairseq(spoil(lambda content: content["model"].update({"w2v_encoder.proj.weight": torch.tensor(1.0)})))
    with pytest.raises(ModelError):
        load_fairseq(spoil(lambda content: content["model"].update(count=3)))
    for gone in ("model", "cfg"):
        with pytest.raises(ModelError):
            load_fairseq(spoil(lambda content, gone=gone: content.pop(gone)))
    with pytest.raises(ModelError):
        load_fairseq(spoil(lambda content: content.update(cfg="base")))


def rename_bias(content):
    content["model"]["w2v_encoder.proj.scale"] = content["model"].pop("w2v_encoder.proj.bias")


@pytest.mark.slow
def test_settings_nested_exponentially_are_not_expanded(spoil):
    def change(content):
        nested = ["x"]
        for _ in range(30):
            nested = [nested] * 10
        content["cfg"]["task"]["data"] = nested

    with pytest.raises(ModelError):
        load_fairseq(spoil(change))


@pytest.mark.slow
def test_what_is_a_checkpoint_of_fairseqs(build_huggingface, tmp_path):
    assert all(is_fairseq(FIXTURES / f"{name}.pt") for name in FILES)
    build_huggingface().save_pretrained(tmp_path / "theirs")
    assert not is_fairseq(tmp_path / "theirs")
    assert not is_fairseq(tmp_path / "nothing")
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "state.pt")
    assert not is_fairseq(tmp_path / "state.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    assert not is_fairseq(tmp_path / "text.pt")
    with pytest.raises(ModelError):
        load_fairseq(tmp_path / "text.pt")
    with refused(ModelError, "2"):
        is_fairseq(tmp_path)
    with pytest.raises(ModelError):
        load_fairseq(tmp_path / "theirs")


def test_names_are_given_once():
    stack = {"conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2}
    for structure in ({}, {"family": "wavlm", "num_buckets": 32}, stack):
        names = list(tensor_names(BigfootConfig(num_hidden_layers=3, **structure)))
        assert len({ours for ours, _ in names}) == len({theirs for _, theirs in names}) == len(names)


def test_convolutions_as_fairseq_writes_them():
    base = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert parse_convs(base, "here") == eval(base)
    old = "[(512, 10, 5), (512, 8, 4)] + [(512, 4, 2)] * 3 + [(512, 1, 1)]"
    assert parse_convs(f" {old} ", "here") == eval(old)
