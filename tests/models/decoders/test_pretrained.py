import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from bigfoot.decoding.autoregressive import decode_autoregressive
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.formats.language_model import with_language_model
from bigfoot.models import BigfootConfig
from bigfoot.models.decoders import PretrainedDecoder
from bigfoot.text.tokenizers import Processor
from tests.refusals import refused


def attach(build_model, folder, **shape):
    return with_language_model(build_model("base"), {"num_heads": 2} | shape, folder, seed=3)


def open_gates_(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.8)
            if "lora_B" in name:
                parameter.normal_(std=0.1)
            if "crossattention.attention" in name and name.endswith("weight"):
                parameter.mul_(20)
    return model


@torch.no_grad()
@pytest.mark.parametrize("train", ["full", "lora", "frozen"])
def test_with_closed_gates_it_is_the_language_model_itself(train, build_model, small_gpt2, speech):
    model, tokenizer = attach(build_model, small_gpt2, train=train)
    labels = torch.tensor([tokenizer.encode("ONE TWO THREE SIX")])
    expected = GPT2LMHeadModel.from_pretrained(small_gpt2).eval()(
        torch.cat([torch.tensor([[model.decoder.text.begin_id]]), labels], dim=1)
    ).logits
    logits = model(speech[0], decoder_labels=labels).decoder_logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    opened = open_gates_(model)(speech[0], decoder_labels=labels).decoder_logits
    assert float((opened - expected).abs().max()) > 1e-2


def test_its_tokens_are_those_of_transformers(build_model, small_gpt2):
    _, tokenizer = attach(build_model, small_gpt2)
    theirs = AutoTokenizer.from_pretrained(small_gpt2)
    text = "ONE SEVEN FOUR and Ähnliches"
    assert tokenizer.encode(text) == theirs(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(("train", "learns"), [("full", "all"), ("lora", "adapters"), ("frozen", "new")])
def test_what_learns(train, learns, build_model, small_gpt2, speech):
    model, tokenizer = attach(build_model, small_gpt2, train=train)
    open_gates_(model)
    labels = torch.tensor([tokenizer.encode("ONE TWO THREE SIX")])
    model(speech[0], decoder_labels=labels).decoder_logits.logsumexp(-1).sum().backward()
    moved = {name for name, p in model.decoder.text.named_parameters() if p.grad is not None and p.grad.any()}
    new = {name for name in moved if "cross" in name}
    assert new and all(f"model.transformer.h.{i}.crossattention.gate" in new for i in range(2))
    rest = moved - new
    assert {"all": bool(rest) and not any("lora" in n for n in rest), "new": not rest,
            "adapters": bool(rest) and all("lora_" in name for name in rest)}[learns]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("config", [DecodingConfig(max_tokens=8), DecodingConfig(3, max_tokens=8)])
def test_batches_padding_prompts_and_cache_change_nothing(config, build_model, small_gpt2):
    model, _ = attach(build_model, small_gpt2)
    text = open_gates_(model).decoder.text.eval()
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in text.parameters():
            parameter.mul_(1.5)
    memories = [torch.randn(1, frames, 16) for frames in (3, 9, 6, 12)]
    prompts = [[], [5, 9, 7], [12], []]
    alone = [
        decode_autoregressive(text, m, None, config, prompts=[p])[0] for m, p in zip(memories, prompts, strict=True)
    ]
    for side in ("left", "right"):
        memory, mask = torch.full((4, 12, 16), 5.0), torch.zeros(4, 12, dtype=torch.bool)
        for row, each in enumerate(memories):
            place = slice(12 - each.shape[1], 12) if side == "left" else slice(0, each.shape[1])
            memory[row, place], mask[row, place] = each[0], True
        for use_cache in (True, False):
            found = decode_autoregressive(text, memory, mask, config, prompts=prompts, use_cache=use_cache)
            for one, other in zip(found, alone, strict=True):
                assert [h.tokens for h in one.hypotheses] == [h.tokens for h in other.hypotheses]
                assert one.best.score == pytest.approx(other.best.score, abs=1e-4)
    assert len({tuple(each.best.tokens) for each in alone}) > 1


@torch.no_grad()
@pytest.mark.parametrize("train", ["full", "lora"])
def test_the_folder_gives_it_back_to_the_bit(train, build_model, small_gpt2, processor, speech, tmp_path):
    model, tokenizer = attach(build_model, small_gpt2, train=train, projection="conv", stride=2)
    open_gates_(model)
    given = Processor(processor.tokenizer, decoder_tokenizer=tokenizer)
    save_model(model, given, tmp_path / "model")
    again = load_model(tmp_path / "model")
    labels = torch.tensor([tokenizer.encode("ONE TWO THREE SIX")])
    one, other = (m(speech[0], decoder_labels=labels) for m in (model, again.model))
    assert torch.equal(one.decoder_logits, other.decoder_logits)
    assert again.processor.decoder_tokenizer == tokenizer and again.processor.tokenizer == processor.tokenizer
    tied = again.model.decoder.text.model
    assert tied.lm_head.weight is tied.transformer.wte.weight


def test_a_foreign_folder_runs_no_code(build_model, small_gpt2, tmp_path, edit_json):
    folder = tmp_path / "foreign"
    shutil.copytree(small_gpt2, folder)
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    edit_json(folder / "config.json", auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"})
    model, _ = attach(build_model, folder)
    assert "auto_map" not in json.dumps(model.decoder.text.model.config.to_dict())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "llama"}, ("llama",)),
        ({"model_type": "no_such"}, ("no_such",)),
        ({"n_layer": 10**9}, ("n_layer", "1000000000", "200")),
        ({"n_layer": 3}, ()),
        ({"n_embd": 32}, ()),
    ],
)
def test_a_model_that_cannot_be_a_decoder_is_refused(changes, named, build_model, small_gpt2, tmp_path, edit_json):
    shutil.copytree(small_gpt2, tmp_path / "other")
    edit_json(tmp_path / "other" / "config.json", **changes)
    with refused(ModelError, *named):
        attach(build_model, tmp_path / "other")


def test_counts_that_nobody_builds_are_refused_in_our_own_folders_too():
    shape = {"kind": "pretrained", "language_model": {"model_type": "gpt2", "vocab_size": 10**12}}
    with refused(ModelError, "vocab_size", "1000000000000"):
        BigfootConfig(decoder=shape)
    with refused(ModelError, "eos_token_id"):
        PretrainedDecoder({"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "eos_token_id": None})
