"""fairseq's checkpoints of several languages, as MMS has them: each is what transformers makes of the same weights."""

import re
import sys
from types import ModuleType

import pytest
import torch
import transformers

from bigfoot.errors import ModelError
from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.formats.fairseq import load_fairseq
from bigfoot.formats.folder import load_model
from bigfoot.formats.languages import LanguageError
from tests.codes import codes
from tests.formats.test_fairseq import as_public, describe
from tests.pipeline.problems import problems_of
from tests.refusals import refused

LETTERS = {"deu-script_latin": "ÄÖÜß", "eng": "ABCDE", "kor": "가나다라마바사"}
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
# fairseq's AdapterFast, by its source: each tensor holds those of several adapters.
ADAPTER = {"norm.weight": "ln_W", "norm.bias": "ln_b", "linear_1.weight": "W_a", "linear_1.bias": "b_a",
           "linear_2.weight": "W_b", "linear_2.bias": "b_b"}  # fmt: skip


@pytest.fixture(scope="module")
def dictionary():
    """Make an object that a pickle calls fairseq's dictionary."""
    package = ModuleType("fairseq.data.dictionary")
    kind = type("Dictionary", (), {"__module__": package.__name__})
    package.Dictionary = kind
    names = ("fairseq", "fairseq.data", "fairseq.data.dictionary")
    before = {name: sys.modules.get(name) for name in names}
    sys.modules |= dict(zip(names, (ModuleType(names[0]), ModuleType(names[1]), package), strict=True))

    def make(letters):
        made = kind()
        made.symbols = [*SPECIALS, "|", *letters]
        return made

    yield make
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


def as_fairseq(theirs):
    """Tensors of transformers' by the names of fairseq, with a dimension over adapters."""
    named = {}
    for name, tensor in as_public(theirs.wav2vec2, "2.1").items():
        for ours, fair in ADAPTER.items():
            if name.endswith(f"adapter_layer.{ours}"):
                name, tensor = name.removesuffix(ours) + fair, tensor[None]
        named[f"w2v_encoder.w2v_model.{name}"] = tensor
    return named | {f"w2v_encoder.proj.{kind}": each.clone() for kind, each in theirs.lm_head.state_dict().items()}


@pytest.fixture(scope="module")
def mms(build_huggingface, dictionary, tmp_path_factory):
    """A checkpoint, and transformers' model of each language."""
    folder, models, languages = tmp_path_factory.mktemp("mms"), {}, {}
    for seed, (name, letters) in enumerate(LETTERS.items()):
        models[name] = build_huggingface("mms", seed=seed, vocab_size=len(letters) + 5)
        tensors = as_fairseq(models[name])
        own = {key: each for key, each in tensors.items() if re.search("adapter_layer|w2v_encoder.proj", key)}
        languages[name] = {"model": own, "task_state": {"target_dictionary": dictionary(letters)}}
    # The languages have one encoder, the last one's.
    shared = models["kor"].wav2vec2.state_dict()
    for model in models.values():
        own = {key: each for key, each in model.wav2vec2.state_dict().items() if "adapter_layer" in key}
        model.wav2vec2.load_state_dict(shared | own)
    config = models["kor"].config
    inner = {"model": describe(config, layer_norm_first=True, extractor_mode="layer_norm"), "task": {"normalize": True}}
    tuned = {"_name": "wav2vec_ctc", "w2v_args": inner, "layer_type": "trf_adp", "adp_num": 1, "adp_dim": 5,
             "adp_act_fn": "relu", "adp_trf_idx": "all"}  # fmt: skip
    cfg = {"model": tuned, "task": {"normalize": True, "labels": "ltr"}}
    torch.save({"cfg": cfg, "model": as_fairseq(models["kor"]), "adapter": languages}, folder / "mms1b.pt")
    # Of another language, and of no use to those in the file.
    (folder / "dict.ltr.txt").write_text("".join(f"{letter} 1\n" for letter in "|VWXYZ"))
    return folder / "mms1b.pt", models


@pytest.mark.parametrize("language", LETTERS)
def test_each_language_is_transformers_with_its_adapter(language, mms):
    path, models = mms
    wave = make_speechlike_noise(0.5)[0][None]
    loaded = load_model(path, language=language)
    with torch.no_grad():
        expected, found = (model(wave, output_hidden_states=True) for model in (models[language], loaded.model))
    for here, there in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert (here - there).abs().max() < 1e-4
    assert (found.logits - expected.logits).abs().max() < 1e-4
    assert loaded.processor.tokenizer.characters == {*LETTERS[language], " "}


def test_the_command_bakes_one_in(mms, tmp_path, bigfoot):
    assert bigfoot("convert", mms[0], tmp_path / "out", "--language", "kor", "--to", "huggingface")[0] == 0
    again = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in mms[1]["kor"].state_dict().items())


def test_a_language_is_asked_for(mms, small_run, tmp_path):
    with refused(LanguageError, *LETTERS, "--language"):
        load_model(mms[0])
    with refused(LanguageError, "deu-script_latin", "kor"):
        load_model(mms[0], language="deu")
    run = [*small_run(tmp_path / "run"), f"teacher.path={mms[0]}"]
    assert codes(problems_of(run)) == codes(problems_of([*run, "teacher.language=de"])) == [
        ("teacher.language", "no_language")
    ]
    content = torch.load(mms[0], weights_only=False)
    del content["adapter"]
    torch.save(content, tmp_path / "one.pt")
    with refused(LanguageError, "eng"):
        load_model(tmp_path, language="eng")
    assert load_fairseq(tmp_path / "one.pt")[0].config.adapter_attn_dim == 5


FAULTS = {
    "another activation": (lambda content: content["cfg"]["model"].update(adp_act_fn="selu"), "selu"),
    "some layers": (lambda content: content["cfg"]["model"].update(adp_trf_idx="1:2"), "1:2"),
    "no model": (lambda content: content["adapter"].update(eng={}), "eng"),
    "no dictionary": (lambda content: content["adapter"]["eng"].update(task_state=None), "10"),
    "a name for a language": (lambda content: content["adapter"].update(eng="eng"), "eng"),
    "a number for a tensor": (lambda content: content["adapter"]["eng"]["model"].update({"w2v_encoder.proj.bias": 3}),
                              "w2v_encoder.proj.bias"),
    "several adapters": (lambda content: repeat(content["adapter"]["eng"]["model"]), "3"),
}  # fmt: skip


def repeat(tensors):
    tensors.update({name: each.repeat_interleave(3, 0) for name, each in tensors.items() if "adapter_layer" in name})


@pytest.mark.parametrize("fault", FAULTS)
def test_languages_that_are_not(fault, mms, tmp_path):
    change, named = FAULTS[fault]
    content = torch.load(mms[0], weights_only=False)
    change(content)
    torch.save(content, tmp_path / "mms1b.pt")
    (tmp_path / "dict.ltr.txt").write_text((mms[0].parent / "dict.ltr.txt").read_text())
    if fault == "no dictionary":  # what lies beside it fits by its length, and is all that is left
        assert load_model(tmp_path, language="eng").processor.tokenizer.characters == {*"VWXYZ", " "}
        return
    with refused(ModelError, named):
        load_model(tmp_path, language="eng")
