"""Folders of speech LLMs: real tokenizers of four kinds, saved and loaded; language models that bring code."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from bigfoot.errors import DataError, ModelError
from bigfoot.formats.folder import load_model
from bigfoot.formats.int8_language_model import Int8Weights, round_
from bigfoot.formats.speech_llm import build_speech_llm, load_language_model, load_speech_llm, save_speech_llm
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.models.speech_llm.model import SpeechInput
from bigfoot.text.prompts import Markup, PromptTemplate, Speech
from tests.models.speech_llm.conftest import LANGUAGE_MODELS
from tests.refusals import refused

pytestmark = pytest.mark.slow

CHAT = (
    "{% for m in messages %}<s>[{{ m.role }}] {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<end>{% endif %}"
)
LINES = ["zero one two three four five six seven eight nine", "transcribe the speech", "yes no maybe"] * 4


def write_language_model(folder, kind="llama", *, bos=False, end="<end>", rows=None, **settings):
    """A folder as people publish them: random weights, a byte-level BPE of a few words, special tokens."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "<end>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    plain.train_from_iterator(LINES, trainer)
    if bos:
        from tokenizers.processors import TemplateProcessing

        plain.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    from tokenizers.decoders import ByteLevel

    plain.decoder = ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token=end, **settings)
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(LANGUAGE_MODELS[kind] | {"vocab_size": rows or len(tokenizer)}))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build(folder, template="{instruction} {audio} Text:", **settings):
    encoder = load_model("tiny_teacher")
    return build_speech_llm(
        encoder, folder, AdapterShape("stack", stride=4, hidden_size=16), PromptTemplate(template), **settings
    )


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_a_saved_folder_gives_the_same_logits(tmp_path, kind):
    loaded = build(write_language_model(tmp_path / "lm", kind))
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(0.01)
    save_speech_llm(loaded, tmp_path / "joined")
    again = load_speech_llm(tmp_path / "joined")
    speech = SpeechInput(torch.randn(1, 16000), torch.ones(1, 16000, dtype=torch.bool))
    logits = []
    for one in (loaded, again):
        layout = one.tokens.lay_out(one.template.fill({"instruction": "transcribe"}), "four two")
        with torch.no_grad():
            logits.append(one.model([layout], speech).logits)
    assert torch.equal(*logits)
    tied = again.model.language_model.get_output_embeddings().weight is again.model.token_embedding.weight
    assert tied is bool(LANGUAGE_MODELS[kind].get("tie_word_embeddings", kind == "gpt2"))


def test_weights_that_did_not_change_are_stored_once(tmp_path):
    save_speech_llm(build(write_language_model(tmp_path / "lm")), tmp_path / "one")
    loaded = load_speech_llm(tmp_path / "one")
    with torch.no_grad():
        loaded.model.adapter.norm_out.bias.add_(1)
    save_speech_llm(loaded, tmp_path / "two")
    files = {part: f"{part}/model.safetensors" for part in ("encoder", "language_model")}
    assert all((tmp_path / "one" / file).samefile(tmp_path / "two" / file) for file in files.values())
    before = (tmp_path / "one" / files["language_model"]).read_bytes()
    with torch.no_grad():
        loaded.model.token_embedding.weight.add_(1)
    # In its own place too: what the other folder has stays.
    for name in ("three", "two"):
        save_speech_llm(loaded, tmp_path / name)
        again = load_speech_llm(tmp_path / name)
        assert torch.equal(again.model.token_embedding.weight, loaded.model.token_embedding.weight)
        assert torch.equal(again.model.adapter.norm_out.bias, loaded.model.adapter.norm_out.bias)
        assert (tmp_path / "one" / files["encoder"]).samefile(tmp_path / name / files["encoder"])
    assert (tmp_path / "one" / files["language_model"]).read_bytes() == before


@pytest.mark.parametrize(
    ("bos", "chat", "expected"), [(False, False, 0), (True, False, 1), (False, True, 1), (True, True, 1)]
)
def test_the_beginning_token_stands_once_where_the_tokenizer_puts_it(tmp_path, bos, chat, expected):
    folder = write_language_model(tmp_path / "lm", bos=bos, chat_template=CHAT)
    loaded = build(folder, chat=chat)
    layout = loaded.tokens.lay_out(loaded.template.fill({"instruction": "yes"}), "no")
    ids = torch.cat([part for part in layout.pieces if isinstance(part, torch.Tensor)]).tolist()
    assert ids.count(0) == expected and (not expected or ids[0] == 0)
    assert layout.output[-1] == loaded.tokens.end_id == 1 and 0 not in layout.output
    assert (1 in ids) is chat


@pytest.mark.parametrize(
    "template",
    ["{% for m in messages %}", "{{ raise_exception('none') }}", "{{ messages[0].content|upper }}",
     "{{ messages[0].content }}{{ messages[0].content }}", "{{ messages[0].none.at_all }}"],
)  # fmt: skip
def test_a_chat_template_that_does_not_write_the_turn_once_is_refused(tmp_path, template):
    with pytest.raises(ModelError):
        build(write_language_model(tmp_path / "lm", chat_template=template), chat=True)


def test_integers_leave_a_head_that_is_the_table_of_embeddings(tmp_path):
    loaded = build(write_language_model(tmp_path / "lm", "gpt2"))
    language_model, loaded.small = loaded.model.language_model, Int8Weights()
    before = loaded.model.token_embedding.weight.clone()
    weights = [parameter for name, parameter in language_model.named_parameters() if "c_" in name]
    assert round_(language_model, loaded.small) == sum(weight.numel() for weight in weights if weight.ndim > 1)
    save_speech_llm(loaded, tmp_path / "joined")
    again = load_speech_llm(tmp_path / "joined").model
    assert torch.equal(again.token_embedding.weight, before)
    assert again.language_model.get_output_embeddings().weight is again.token_embedding.weight


def test_special_tokens_in_data_are_letters(tmp_path):
    loaded = build(write_language_model(tmp_path / "lm", chat_template=CHAT), chat=True)
    layout = loaded.tokens.lay_out(loaded.template.fill({"instruction": "yes<end>no {audio}"}), "a<end>b")
    ids = torch.cat([part for part in layout.pieces if isinstance(part, torch.Tensor)]).tolist()
    assert ids.count(1) == 1 and layout.output.tolist().count(1) == 1
    assert sum(isinstance(part, int) for part in layout.pieces) == 1
    assert loaded.tokens.decode(layout.output.tolist()) == "a<end>b"


def test_code_of_a_folder_runs_only_where_it_is_trusted(tmp_path):
    folder, mark = write_language_model(tmp_path / "lm"), tmp_path / "ran"
    raw = json.loads((folder / "config.json").read_text())
    raw["auto_map"] = {"AutoModelForCausalLM": "own.Own"}
    (folder / "config.json").write_text(json.dumps(raw))
    own = "from transformers import LlamaForCausalLM\nclass Own(LlamaForCausalLM):\n    pass\n"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\n{own}")
    with pytest.raises(ModelError):
        load_language_model(folder)
    assert not mark.exists()
    load_language_model(folder, trust_remote_code=True)
    assert mark.exists()


def test_the_end_of_a_chat_s_turn_is_of_the_folder_s_settings(tmp_path):
    folder = write_language_model(tmp_path / "lm", additional_special_tokens=["<turn>"])
    assert build(folder).model.stop_ids == ()
    settings, turn = folder / "generation_config.json", len(load_language_model(folder)[1]) - 1
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": [1, 7, turn]}))
    loaded = build(folder)
    assert loaded.model.stop_ids == (turn,)  # the seventh is letters
    save_speech_llm(loaded, tmp_path / "joined")
    assert load_speech_llm(tmp_path / "joined").model.stop_ids == (turn,)


def test_a_tokenizer_larger_than_the_model_gets_rows(tmp_path):
    folder = write_language_model(tmp_path / "lm", "qwen2", rows=270)
    model, tokenizer = load_language_model(folder)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) > 270
    torch.rand(1)
    again, _ = load_language_model(folder)
    assert torch.equal(model.get_output_embeddings().weight, again.get_output_embeddings().weight)


@pytest.mark.parametrize(
    "damage",
    [{"model_type": "none_such"}, {"model_type": None}, {"num_hidden_layers": "x"}, {"hidden_size": 10**12}],
)
def test_what_cannot_be_loaded_is_one_error(tmp_path, damage):
    folder = write_language_model(tmp_path / "lm")
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | damage))
    with pytest.raises(ModelError):
        load_language_model(folder)


@pytest.mark.parametrize("causal", [True, False])
def test_a_model_that_sees_later_tokens_is_refused(tmp_path, causal):
    folder = write_language_model(tmp_path / "lm")
    config = AutoConfig.for_model("bert", **(LANGUAGE_MODELS["llama"] | {"vocab_size": 300, "is_decoder": causal}))
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    if causal:
        assert load_language_model(folder)
    else:
        with refused(ModelError, folder):
            load_language_model(folder)


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    folder = write_language_model(tmp_path / "lm", end=None)
    with pytest.raises(ModelError):
        build(folder)


@pytest.mark.parametrize("text", ["no audio", "{audio} {audio}", "{audio} {name}", "{audio", "{audio} }"])
def test_templates_that_cannot_be_filled_are_refused(text):
    with pytest.raises(ModelError):
        PromptTemplate(text)


def test_a_template_is_filled_in_order():
    template = PromptTemplate("a {{x}} {history}{audio}.")
    history = ["client: ", Speech(1), "\n"]
    assert template.fill({"history": history}) == (Markup("a {x} "), *history, Speech(0), Markup("."))
    with pytest.raises(DataError):
        template.fill({})


def test_a_prompt_longer_than_the_model_takes_is_refused_and_not_cut(tmp_path):
    loaded = build(write_language_model(tmp_path / "lm"))
    layout = loaded.tokens.lay_out(loaded.template.fill({"instruction": "yes no " * 200}), "one")
    with pytest.raises(DataError):
        loaded.model([layout], [torch.zeros(0, 32)])


def test_a_prompt_without_a_token_is_refused(tmp_path):
    loaded = build(write_language_model(tmp_path / "lm"), "{audio}")
    for pieces in (loaded.template.fill({}), []):
        with pytest.raises(DataError):
            loaded.model([loaded.tokens.lay_out(pieces, "one")], [torch.zeros(0, 32)])
