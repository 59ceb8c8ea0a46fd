"""Models with several languages, as MMS has them: one is baked in, and is what transformers makes of it."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, outline_model
from bigfoot.formats.languages import LanguageError, find_language, list_languages
from bigfoot.formats.weight_files import read_weights
from tests.refusals import refused

LETTERS = {"eng": "ABCDE", "deu-script_latin": "ÄÖÜß", "kor": "가나다라마바사"}
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "|"]


@pytest.fixture(scope="module")
def mms(build_huggingface, tmp_path_factory):
    """A folder as transformers writes it: weights of one language in the model, and a file for each."""
    folder = tmp_path_factory.mktemp("mms")
    vocabularies = {
        name: {token: index for index, token in enumerate([*SPECIALS, *letters])} for name, letters in LETTERS.items()
    }
    for seed, (name, vocabulary) in enumerate(vocabularies.items()):
        theirs = build_huggingface("mms", seed=seed, vocab_size=len(vocabulary))
        own = {key: tensor.detach().contiguous() for key, tensor in theirs._get_adapters().items()}
        if seed:
            torch.save(own, folder / f"adapter.{name}.bin")
        else:
            save_file(own, folder / f"adapter.{name}.safetensors", {"format": "pt"})
    # The language of the model's own weights is the last one's.
    theirs.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabularies))
    settings = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "target_lang": "eng"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 16000, "do_normalize": True}))
    return folder


def open_theirs(folder, language):
    theirs = transformers.Wav2Vec2ForCTC.from_pretrained(folder, target_lang=language, ignore_mismatched_sizes=True)
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(folder, target_lang=language)
    return theirs.eval(), tokenizer


@pytest.mark.parametrize("language", LETTERS)
def test_each_language_is_transformers_with_its_adapter(language, mms, speech):
    theirs, tokenizer = open_theirs(mms, language)
    loaded = load_model(mms, language=language)
    with torch.no_grad():
        expected, found = (model(speech[0], output_hidden_states=True) for model in (theirs, loaded.model))
    for here, there in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert (here - there).abs().max() < 1e-4
    assert (found.logits - expected.logits).abs().max() < 1e-4
    assert loaded.processor.tokenizer.decode_ctc(found.logits[0].argmax(-1).tolist()) == tokenizer.decode(
        expected.logits[0].argmax(-1)
    )
    outline = outline_model(mms, language=language)
    assert outline.processor == loaded.processor and outline.config.vocab_size == len([*SPECIALS, *LETTERS[language]])


def test_the_command_bakes_one_in(mms, tmp_path, speech, bigfoot):
    code, _, _ = bigfoot("convert", mms, tmp_path / "out", "--language", "eng", "--to", "huggingface")
    assert code == 0
    theirs, _ = open_theirs(mms, "eng")
    alone = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert (alone(speech[0]).logits - theirs(speech[0]).logits).abs().max() < 1e-4
    baked = load_model(tmp_path / "out")
    assert baked.processor.tokenizer.characters == {*"ABCDE", " "} and list_languages(tmp_path / "out") == []
    there = theirs.state_dict()
    assert all(torch.equal(value, there[key]) for key, value in baked.model.state_dict().items())


def test_a_language_is_asked_for_and_the_nearest_named(mms, narrow_teacher, bigfoot):
    with refused(LanguageError, *LETTERS, "--language"):
        load_model(mms)
    with refused(LanguageError, "deu-script_latin", "kor"):
        load_model(mms, language="deu")
    with refused(LanguageError, narrow_teacher, "eng"):
        load_model(narrow_teacher, language="eng")
    with refused(ModelError, "language"):
        load_model("tiny_teacher", language="eng")
    assert bigfoot("convert", mms, mms / "out", "--language", "engl")[0] != 0


def test_the_only_language_need_not_be_named(mms, tmp_path, edit_json, speech):
    """As of a model that was fine-tuned on one: the weights are its own, and the vocabulary holds one language."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(mms / name)
    kor = json.loads((mms / "vocab.json").read_text())["kor"]
    (tmp_path / "vocab.json").write_text(json.dumps({"kor": kor}))
    assert find_language(tmp_path, None) == "kor"
    with torch.no_grad():
        logits = [load_model(*given[:1], **given[1]).model(speech[0]).logits for given in
                  ((tmp_path, {}), (mms, {"language": "kor"}))]  # fmt: skip
    assert torch.equal(*logits)


def damaged(change):
    return lambda folder: change(folder / "adapter.eng.safetensors")


def without_one(file):
    tensors = load_file(file)
    del tensors["wav2vec2.encoder.layers.1.adapter_layer.linear_2.bias"]
    save_file(tensors, file)


def with_more(file):
    save_file(load_file(file) | {"wav2vec2.encoder.layer_norm.bias": torch.zeros(24)}, file)


def with_a_pickle(file):
    file.unlink()
    torch.save({"lm_head.weight": Trap()}, file.with_suffix(".bin"))


class Trap:
    def __reduce__(self):
        return print, ("CODE WAS-RUN",)


@pytest.mark.parametrize(
    ("change", "named"),
    [(without_one, "linear_2.bias"), (with_more, "wav2vec2.encoder.layer_norm.bias"),
     (with_a_pickle, "adapter.eng.bin"), (lambda file: file.write_bytes(b"PK"), "adapter.eng.safetensors"),
     (lambda file: file.unlink(), "eng")],
)  # fmt: skip
def test_files_of_a_language_that_are_not(change, named, mms, tmp_path, capsys):
    for file in mms.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path / "adapter.eng.safetensors")
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path, language="eng")
    assert named in str(caught.value)
    assert "CODE WAS-RUN" not in capsys.readouterr().out


def test_weights_of_no_language_are_named(mms, tmp_path):
    for name in ("config.json", "model.safetensors", "vocab.json"):
        (tmp_path / name).symlink_to(mms / name)
    with refused(ModelError, "adapter.eng.safetensors", "adapter.eng.bin"):
        load_model(tmp_path, language="eng")
    assert "lm_head.weight" in read_weights(mms)
