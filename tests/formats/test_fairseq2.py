"""fairseq2's checkpoints: read exactly, written as it reads them, and nothing else taken for one."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.formats.fairseq2_shape import read_card
from bigfoot.formats.fairseq2_vocabulary import order_for_fairseq2
from bigfoot.formats.folder import load_model, save_model
from bigfoot.formats.registry import find_format
from bigfoot.formats.torch_file import read_state_dict
from bigfoot.text.sentencepiece_model import CONTROL, UNKNOWN, Piece, read_pieces, write_pieces
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.refusals import refused

# Written by tools/make_fairseq2_fixtures.py with fairseq2 0.8.1.
FIXTURES = Path(__file__).parent / "fixtures" / "fairseq2"
OMNILINGUAL = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcde"]
KINDS = {"<unk>": UNKNOWN, **dict.fromkeys(("<s>", "<pad>", "</s>"), CONTROL)}


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of fairseq2's own with its card and, as Omnilingual ASR has it, a model of characters."""
    for file in (FIXTURES / "pre").iterdir():
        shutil.copy(file, tmp_path)
    pieces = [Piece(text, KINDS.get(text, 1)) for text in OMNILINGUAL]
    (tmp_path / "omniASR_tokenizer.model").write_bytes(write_pieces(pieces))
    return tmp_path


def change(checkpoint, edit):
    """Change the tensors of a checkpoint, and leave it without a card."""
    (checkpoint / "model.yaml").unlink()
    state = torch.load(checkpoint / "model.pt", weights_only=True)["model"]
    torch.save({"model": edit(state)}, checkpoint / "model.pt")


@pytest.mark.parametrize("name", ["pre", "post"])
def test_logits_are_fairseq2_s_own(name):
    given, loaded = read_state_dict(FIXTURES / name / "answers.bin"), load_model(FIXTURES / name)
    assert find_format(FIXTURES / name).name == "fairseq2"
    with torch.no_grad():
        assert (loaded.model(given["input_values"]).logits - given["logits"]).abs().max() < 1e-5
    assert given["logits"].std() > 1e-2
    assert loaded.processor.do_normalize == (name == "pre")
    assert (loaded.model.speech_encoder.masked_spec_embed is not None) == (name == "post")


def test_the_characters_of_omnilingual_are_ours(checkpoint):
    tokenizer = load_model(checkpoint / "model.pt").processor.tokenizer
    assert tokenizer.vocabulary == ("<pad>", "<s>", "</s>", "<unk>", "|", *"abcde")
    assert (tokenizer.blank_id, tokenizer.decode_ctc([5, 0, 5, 4, 6, 6])) == (0, "aa b")
    assert load_model(checkpoint, dictionary=checkpoint / "omniASR_tokenizer.model").processor.tokenizer == tokenizer
    shutil.copy(checkpoint / "omniASR_tokenizer.model", checkpoint / "other.model")
    with refused(ModelError, "omniASR_tokenizer.model", "other.model"):
        load_model(checkpoint)


def test_what_is_written_is_fairseq2_s_own_again(checkpoint, tmp_path):
    loaded = load_model(checkpoint)
    save_model(loaded.model, loaded.processor, tmp_path / "back", to="fairseq2")
    given, back = (
        torch.load(place / "model.pt", weights_only=True)["model"] for place in (checkpoint, tmp_path / "back")
    )
    assert given.keys() == back.keys() and all(torch.equal(given[name], back[name]) for name in given)
    theirs, ours = (read_card(place / "model.yaml")["model_config"] for place in (checkpoint, tmp_path / "back"))
    # Without the vector of masked frames there are no masks.
    masks = {"max_temporal_mask_prob", "max_spatial_mask_prob"}
    assert {key for key in ours if key != "encoder_config" and ours[key] != theirs[key]} == masks
    inner = ours["encoder_config"]
    assert {key for key in inner if inner[key] != theirs["encoder_config"][key]} == {"layer_drop_p"}
    pieces = [
        read_pieces(place) for place in (checkpoint / "omniASR_tokenizer.model", tmp_path / "back/tokenizer.model")
    ]
    assert pieces[0] == pieces[1]


def test_what_no_tensor_shows_is_usual_or_asked_for(checkpoint):
    change(checkpoint, lambda state: state)
    with refused(ModelError, "8", "num_encoder_attn_heads", "model.yaml", "--config"):
        load_model(checkpoint)
    (checkpoint / "model.yaml").write_text('{"model_config": {"encoder_config": {"num_encoder_attn_heads": 2}}}')
    assert load_model(checkpoint).model.config.conv_stride == [5, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("heads", ["pretraining", "wrapped"])
def test_pretraining_and_wrapped_names(heads, checkpoint, caplog):
    card = (checkpoint / "model.yaml").read_text()

    def edit(state):
        if heads == "wrapped":
            return {f"module.{name}": tensor for name, tensor in state.items()}
        kept = {name: tensor for name, tensor in state.items() if not name.startswith("final_proj")}
        return kept | {"final_proj.weight": torch.zeros(3, 8), "quantizer.entries": torch.zeros(1, 4, 3)}

    before = load_model(checkpoint).model
    change(checkpoint, edit)
    (checkpoint / "model.yaml").write_text(card)
    with caplog.at_level("WARNING", "bigfoot"):
        after = load_model(checkpoint).model
    assert (after.head is None) == (heads == "pretraining") == ("quantizer" in caplog.text)
    wave = torch.randn(1, 2000)
    with torch.no_grad():
        assert torch.equal(after(wave).last_hidden_state, before(wave).last_hidden_state)


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda state: {**state, "llama_decoder.layers.0.x": torch.zeros(1)}, ("llama_decoder",)),
        (lambda state: {k: t for k, t in state.items() if "weight_v" not in k}, ("weight_v",)),
        (lambda state: {**state, "encoder.layers.7.ffn.inner_proj.bias": torch.zeros(1)}, ("layers.7",)),
        (lambda state: {**state, "final_proj.weight": torch.zeros(3)}, ("final_proj.weight", "3")),
    ],
)
def test_other_tensors_are_named(edit, named, checkpoint):
    card = (checkpoint / "model.yaml").read_text()
    change(checkpoint, edit)
    (checkpoint / "model.yaml").write_text(card)
    with refused(ModelError, *named):
        load_model(checkpoint)


CARDS = {
    "no YAML": "{", "a list": "[1]", "no settings": "name: x", "a tag": "!!python/object/apply:os.system [echo]",
    "conformer": "model_config: {encoder_config: {use_conformer: true}}",
    "rotary": "model_config: {encoder_config: {pos_encoder_type: rotary, num_encoder_attn_heads: 2}}",
    "heads of a kind": "model_config: {encoder_config: {num_encoder_attn_heads: many}}",
    "other convolutions": "model_config: {encoder_config: {num_encoder_attn_heads: 2, "
                          "feature_extractor_layer_descs: [[4, 10, 5]]}}",
    "nested": "[" * 10_000, "long": "a: " + "b" * 2**20,
}  # fmt: skip


@pytest.mark.parametrize("card", CARDS)
def test_cards_that_are_not(card, checkpoint):
    (checkpoint / "model.yaml").write_text(CARDS[card])
    with pytest.raises(ModelError):
        load_model(checkpoint)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\x05abc", b"\x0b", b"\x80" * 99, b"\x08\x01",
     b"\x0a\x03\x0a\x01\xff", write_pieces([Piece("<unk>", UNKNOWN), Piece("ab")])],
)  # fmt: skip
def test_vocabularies_that_are_not(content, checkpoint):
    (checkpoint / "omniASR_tokenizer.model").write_bytes(content)
    with refused(ModelError, checkpoint / "omniASR_tokenizer.model"):
        load_model(checkpoint)


@given(st.binary(max_size=60))
def test_no_bytes_are_more_than_refused(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("bytes") / "any.model"
    file.write_bytes(content)
    try:
        assert all(isinstance(piece.text, str) for piece in read_pieces(file))
    except ModelError as error:
        assert str(file) in str(error)


def test_sentencepiece_loads_what_is_written():
    package = pytest.importorskip("sentencepiece")
    tokenizer = CharTokenizer(("|", "<pad>", *"ABÄ"))
    order, pieces = order_for_fairseq2(tokenizer)
    opened = package.SentencePieceProcessor(model_proto=write_pieces(pieces))
    assert [order[index] for index in opened.encode("AB ÄA")] == tokenizer.encode("AB ÄA")
    assert opened.decode(opened.encode("AB ÄA")) == "AB ÄA" and opened.unk_id() == len(pieces) - 1


def test_shapes_that_fairseq2_cannot_express(build_model, processor, tmp_path):
    for structure, named in (("hubert", "hubert"), ("mms", "adapter_attn_dim")):
        with refused(ModelError, named):
            save_model(build_model(structure), processor, tmp_path / "model", to="fairseq2")
    lower = Processor(CharTokenizer(processor.tokenizer.vocabulary, lower_case=True))
    with refused(ModelError, "do_lower_case"):
        save_model(build_model("base"), lower, tmp_path / "model", to="fairseq2")
    assert not list(tmp_path.iterdir())
