"""Vocabularies as transformers writes them: texts of ids are its own; of phones, but for tokens of no text."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken, Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer

from bigfoot.decoding.alignment import time_words
from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.hot_words import find_hot_words
from bigfoot.decoding.settings import SearchConfig
from bigfoot.decoding.words import WordValues
from bigfoot.errors import ModelError
from bigfoot.text.normalize import normalize_text
from bigfoot.text.tokenizers import CharTokenizer, Processor, load_processor, save_processor
from tests.refusals import refused

SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
CAPITALS = [*SPECIALS, "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
SMALL = ["[PAD]", "[UNK]", "|", *"abcdeäöüß", "sch"]
GREEK = [*SPECIALS, "|", *"\u0391\u0392\u039f\u03a3\u03a6'.-"]
PHONES = [*SPECIALS, "n", "s", "t", "ə", "a\u026a", "oʊ", "tʃ", "ɑːɹ", "|"]
CHARACTERS, PHONEMES = Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer
BRACKETS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": None, "eos_token": None}

# name -> class, tokens, settings, tokens added behind them
LAYOUTS = {
    "base-960h": (CHARACTERS, CAPITALS, {}, []),
    "lower case": (CHARACTERS, CAPITALS, {"do_lower_case": True}, []),
    "brackets": (CHARACTERS, SMALL, BRACKETS, []),
    "brackets, specials behind": (CHARACTERS, SMALL, {"pad_token": "[PAD]", "unk_token": "[UNK]"}, []),
    "no delimiter": (CHARACTERS, CAPITALS, {"word_delimiter_token": None}, []),
    "a space as delimiter": (CHARACTERS, [*SPECIALS, " ", *"ABC"], {"word_delimiter_token": " "}, []),
    "a bracketed delimiter": (CHARACTERS, [*SPECIALS, "<space>", *"ABC"], {"word_delimiter_token": "<space>"}, []),
    "another space": (CHARACTERS, CAPITALS, {"replace_word_delimiter_char": "_"}, []),
    "no space": (CHARACTERS, CAPITALS, {"replace_word_delimiter_char": ""}, []),
    "tokens behind": (CHARACTERS, CAPITALS, {}, ["Ä", "Ö"]),
    "a special token behind": (CHARACTERS, CAPITALS, {}, ["Ä", AddedToken("[NOISE]", special=True)]),
    "languages behind, sounds of two letters": (
        CHARACTERS, [*"abcde", "ng", "ng'", "[PAD]", "[UNK]"], BRACKETS | {"word_delimiter_token": None},
        [AddedToken("<en>", special=True), AddedToken("<sw>", special=True), "<noise>", "tʃ"],
    ),
    "another beginning": (CHARACTERS, [*CAPITALS, "[CLS]"], {"bos_token": "[CLS]"}, []),
    "an unknown token of one letter": (CHARACTERS, ["<pad>", "?", "|", *"ABC"], {"unk_token": "?"}, []),
    "cleaned up": (CHARACTERS, [*SPECIALS, "|", *"'nsabm.,"], {"clean_up_tokenization_spaces": True}, []),
    "no space, cleaned up": (CHARACTERS, [*SPECIALS, *"'ns. "], {"word_delimiter_token": None,
                                                               "clean_up_tokenization_spaces": True}, []),
    "lower case, tokens behind": (CHARACTERS, CAPITALS, {"do_lower_case": True}, ["É"]),
    "Greek": (CHARACTERS, GREEK, {"do_lower_case": True}, []),
    "Greek, cleaned up": (CHARACTERS, GREEK, {"do_lower_case": True, "clean_up_tokenization_spaces": True}, ["\u00c9"]),
    "phones": (PHONEMES, PHONES, {}, []),
    "phones with words": (PHONEMES, PHONES, {"word_delimiter_token": "|"}, []),
    "phones with another delimiter": (PHONEMES, PHONES, {"phone_delimiter_token": "-", "do_phonemize": False}, []),
    "phones behind": (PHONEMES, PHONES, {"do_phonemize": False}, ["ʒ"]),
}


def write(kind, tokens, given, behind, folder):
    """Have transformers write a layout; the writer comes back: transformers 5.23 forgets delimiters when it reads."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    try:
        tokenizer = kind(str(folder / "vocab.json"), **given)
    except ImportError as error:  # Before transformers 5.23 (Python 3.10) its phonemes need the phonemizer at once.
        pytest.skip(str(error).strip())
    tokenizer.add_tokens(behind)
    tokenizer.save_pretrained(folder)
    return tokenizer


def as_before_2023(folder):
    """The same in the files of older versions: no tokens in ``tokenizer_config.json``."""
    config = json.loads((folder / "tokenizer_config.json").read_text())
    entries = config.pop("added_tokens_decoder", {})
    vocab = json.loads((folder / "vocab.json").read_text())
    added = {entry["content"]: int(index) for index, entry in entries.items() if entry["content"] not in vocab}
    special = [entry["content"] for entry in entries.values() if entry["special"]]
    names = ("pad_token", "unk_token", "bos_token", "eos_token")
    named = {name: {"content": config[name]} for name in names if config.get(name)}
    map_ = named | {"additional_special_tokens": [t for t in special if t not in {config.get(n) for n in names}]}
    (folder / "special_tokens_map.json").write_text(json.dumps(map_))
    (folder / "added_tokens.json").write_text(json.dumps(added))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module", params=LAYOUTS)
def pair(request, tmp_path_factory):
    """transformers' tokenizer, ours, and the folder."""
    folder = tmp_path_factory.mktemp("layout") / "model"
    theirs = write(*LAYOUTS[request.param], folder)
    return theirs, load_processor(folder).tokenizer, folder


def of_no_text(theirs):
    """Ids of tokens that transformers writes among phones and we leave out."""
    if isinstance(theirs, CHARACTERS):
        return set()
    named = {theirs.bos_token, theirs.eos_token, theirs.unk_token, "[NOISE]", "<s>"} - {theirs.pad_token, None}
    return {index for token, index in theirs.get_vocab().items() if token in named}


def squeeze(text):
    return " ".join(text.split())


@pytest.mark.grid
@settings(max_examples=40)
@given(data=st.data())
def test_texts_are_those_of_transformers(pair, data):
    theirs, ours, _ = pair
    # Ids beyond the vocabulary, as of a head with more rows than tokens, are the unknown token's.
    beyond = [len(ours), len(ours) + 1] if isinstance(theirs, CHARACTERS) else []
    texts = sorted(set(theirs.get_vocab().values()) - of_no_text(theirs))
    ids = data.draw(st.lists(st.sampled_from([*texts, theirs.pad_token_id, *beyond]), max_size=30))
    # Two spaces are one before the text is cleaned up.
    text = squeeze(theirs.decode(ids, clean_up_tokenization_spaces=False) if ids else "")
    expected = theirs.clean_up_tokenization(text) if theirs.clean_up_tokenization_spaces else text
    assert ours.decode_ctc(ids) == expected
    assert [word.text for word in ours.decode_words(ids)] == expected.split()


POOL = ["<pad>", "[PAD]", "<s>", "</s>", "<unk>", "[UNK]", "|", " ", "_", *"aBcntñÉİß.'", "\u03a3", "sch", "'s",
        "<space>", "ﬁ"]  # fmt: skip


@st.composite
def layouts(draw):
    """Any tokens at any ids, settings that name any of them, tokens behind."""
    tokens = draw(st.lists(st.sampled_from(POOL), min_size=4, max_size=18, unique=True))
    ids = draw(st.lists(st.integers(0, len(tokens) + 2), min_size=len(tokens), max_size=len(tokens), unique=True))
    one = st.sampled_from(tokens)
    given_ = {
        "pad_token": draw(one), "unk_token": draw(one | st.just("<unk>")),
        "bos_token": draw(st.none() | st.just("[CLS]") | one), "eos_token": draw(st.none() | one),
        "word_delimiter_token": draw(st.sampled_from(["|", None, " "]) | one),
        "replace_word_delimiter_char": draw(st.sampled_from([" ", "", "_"])),
        "do_lower_case": draw(st.booleans()), "clean_up_tokenization_spaces": draw(st.booleans()),
    }  # fmt: skip
    behind = draw(st.sampled_from([[], ["Ö"], [AddedToken("[X]", special=True)], ["Ö", "lll"]]))
    return dict(zip(tokens, ids, strict=True)), given_, behind


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(layout=layouts(), data=st.data())
def test_any_layout_decodes_as_transformers_does(tmp_path_factory, layout, data):
    (vocab, given_, behind), folder = layout, tmp_path_factory.mktemp("any")
    (folder / "vocab.json").write_text(json.dumps(vocab))
    theirs = CHARACTERS(str(folder / "vocab.json"), **given_)
    theirs.add_tokens(behind)
    theirs.save_pretrained(folder)
    ours = load_processor(folder).tokenizer
    ids = data.draw(st.lists(st.integers(0, len(ours) - 1), min_size=1, max_size=25))
    text = squeeze(theirs.decode(ids, clean_up_tokenization_spaces=False))
    expected = squeeze(theirs.clean_up_tokenization(text) if theirs.clean_up_tokenization_spaces else text)
    assert ours.decode_ctc(ids) == expected
    assert [word.text for word in ours.decode_words(ids)] == expected.split()


def test_tokens_of_no_text_are_left_out_of_phones_and_labels(pair):
    theirs, ours, _ = pair
    assert ours.blank_id == theirs.pad_token_id
    for index in of_no_text(theirs):
        assert ours.decode_ctc([index, index]) == ""
    special = {theirs.unk_token, theirs.bos_token, theirs.eos_token, theirs.pad_token} - {theirs.word_delimiter_token}
    assert not special & set(ours.characters or ())


def test_ids_without_a_token_are_the_unknown_token(tmp_path):
    """A vocabulary with gaps, as published ones are from which tokens were taken."""
    kept = {token: index for index, token in enumerate(CAPITALS) if token not in "ETX"}
    theirs = write(CHARACTERS, CAPITALS, {}, [], tmp_path / "model")
    (tmp_path / "model" / "vocab.json").write_text(json.dumps(kept))
    theirs = CHARACTERS.from_pretrained(tmp_path / "model")
    ours = load_processor(tmp_path / "model").tokenizer
    ids = [7, 5, 6, 6, 0, 5, 4, *range(len(CAPITALS)), 60, 61]
    assert ours.decode_ctc(ids) == squeeze(theirs.decode(ids)) and "<unk>" in ours.decode_ctc(ids)
    save_processor(Processor(ours), tmp_path / "again")
    assert load_processor(tmp_path / "again").tokenizer == ours
    assert CHARACTERS.from_pretrained(tmp_path / "again").decode(ids) == theirs.decode(ids)


def test_the_older_files_say_the_same(pair, tmp_path):
    _, ours, folder = pair
    (tmp_path / "old").mkdir()
    for file in folder.iterdir():
        (tmp_path / "old" / file.name).write_bytes(file.read_bytes())
    as_before_2023(tmp_path / "old")
    assert load_processor(tmp_path / "old").tokenizer == ours


def test_what_we_write_is_the_same_again_to_both(pair, tmp_path):
    theirs, ours, _ = pair
    save_processor(Processor(ours), tmp_path)
    assert load_processor(tmp_path).tokenizer == ours
    again = type(theirs).from_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == type(theirs).__name__
    ids = [index for index in range(len(ours)) if index not in of_no_text(theirs)]
    assert squeeze(theirs.decode(ids)) == ours.decode_ctc(ids)
    assert again.clean_up_tokenization_spaces == theirs.clean_up_tokenization_spaces
    if ours.word_delimiter in ("|", ""):
        assert squeeze(again.decode(ids)) == ours.decode_ctc(ids)


@pytest.mark.parametrize("layout", ["base-960h", "lower case", "brackets", "a space as delimiter", "tokens behind"])
def test_labels_are_those_of_transformers(layout, tmp_path):
    theirs = write(*LAYOUTS[layout], tmp_path / "model")
    ours = load_processor(tmp_path / "model").tokenizer
    characters = sorted(ours.characters - {" ", "Ä", "Ö"})
    text = f"{''.join(characters[:3])} {''.join(characters[2:5])}"
    assert ours.encode(text) == theirs(text).input_ids
    assert ours.decode(ours.encode(text)) == text


def test_greek_transcripts_lexicons_and_hot_words_end_as_texts_do(tmp_path):
    """The small sigma that ends a word is the capital's label, and comes out where a word ends."""
    theirs = write(*LAYOUTS["Greek"], tmp_path / "model")
    ours = load_processor(tmp_path / "model").tokenizer
    wise, mid = "σοφος", "σοφος σβ"
    for text in (wise, mid):
        assert ours.encode(text) == theirs(text).input_ids and ours.decode(ours.encode(text)) == text
        assert normalize_text(text.upper(), ours.characters) == text == ours.to_judged(text.replace("\u03c2", "\u03c3"))
    frames = [index for label in ours.encode(mid) for index in (label, ours.blank_id)]
    posteriors = np.log(np.full((len(frames), len(ours)), 0.001) + 0.9 * np.eye(len(ours))[frames])
    assert [word.word for word in time_words(posteriors, ours.encode(mid), ours, 0.02)] == mid.split()
    (word,) = find_hot_words(SearchConfig(hot_words=["Σοφος"]), ours)
    lexicon = [ours.to_pieces(text) for text in (wise, "σβ")]
    for values in (WordValues(hot_words=word.texts, hot_word_bonus=20.0), WordValues(lexicon=lexicon)):
        weak = np.where(np.eye(len(ours))[frames] > 0, posteriors - 2.0, posteriors)
        assert PrefixBeamSearch(ours, 8, values).search(weak)[0].text == mid


def test_phones_are_tokens_of_labels(tmp_path):
    write(*LAYOUTS["phones behind"], tmp_path / "model")
    ours = load_processor(tmp_path / "model").tokenizer
    assert ours.unit == "phoneme"
    assert ours.decode(ours.encode("tʃ a\u026a ʒ")) == "tʃ a\u026a ʒ" == ours.to_judged("tʃ a\u026a ʒ")
    with refused(ValueError, "zz"):
        ours.encode("tʃ zz")
    with refused(ValueError, "<unk>"):
        ours.encode("<unk>")


def test_words_are_pronounced(tmp_path):
    write(*LAYOUTS["phones"], tmp_path / "model")
    ours = load_processor(tmp_path / "model").tokenizer
    assert ours.to_judged("NIGHT") == "n a\u026a t" == ours.decode(ours.encode("NIGHT"))


def test_tokens_behind_the_head_are_left_out(tmp_path):
    """Trainers often give the head as many rows as ``vocab.json`` has, and transformers adds ``<s>`` behind it."""
    write(*LAYOUTS["brackets, specials behind"], tmp_path / "model")
    longer, fitting = (load_processor(tmp_path / "model", head).tokenizer for head in (None, len(SMALL)))
    assert (len(longer), len(fitting)) == (len(SMALL) + 2, len(SMALL))
    # What vocab.json itself holds stays: it is another model's.
    assert not load_processor(tmp_path / "model", 5).tokenizer.fits(5)


@pytest.mark.parametrize("name", ["Wav2Vec2BertTokenizer", "WhisperTokenizer", "GPT2TokenizerFast"])
def test_a_class_that_is_not_known_makes_no_text(name, tmp_path, caplog):
    write(*LAYOUTS["base-960h"], tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tokenizer_class": name}))
    assert load_processor(tmp_path / "model").tokenizer is None
    assert name.removesuffix("Fast") in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_token": None},
        {"pad_token": 5}, {"word_delimiter_token": ["|"]}, {"do_lower_case": "no"}, {"replace_word_delimiter_char": 1},
        {"added_tokens_decoder": {"x": {"content": "a"}}}, {"added_tokens_decoder": {"40": {}}},
        {"additional_special_tokens": "x"}, {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer", "phonemizer_lang": None},
    ],
)  # fmt: skip
def test_settings_of_another_kind_are_refused(changes, tmp_path):
    write(*LAYOUTS["base-960h"], tmp_path / "model")
    file = tmp_path / "model" / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ModelError):
        load_processor(tmp_path / "model")


def test_an_exported_file_writes_the_same(pair):
    from bigfoot.export.facts import describe
    from bigfoot.models import BigfootConfig
    from bigfoot.runtime.metadata import read_facts

    _, ours, _ = pair
    facts = read_facts(describe(BigfootConfig(vocab_size=len(ours)), Processor(ours)), "student.onnx")
    assert facts.tokenizer.pieces == ours.pieces and facts.tokenizer.blank_id == ours.blank_id
    ids = [*range(len(ours) + 2), *reversed(range(len(ours)))]
    assert facts.tokenizer.decode_ctc(ids) == ours.decode_ctc(ids)
    assert [word.text for word in facts.tokenizer.decode_words(ids)] == ours.decode_ctc(ids).split()


def test_a_plain_vocabulary_is_equal_to_what_it_was():
    assert CharTokenizer(("<pad>", "|", "A")).is_plain
    assert not CharTokenizer(("<pad>", "|", "A"), lower_case=True).is_plain


def test_without_a_blank_transformers_writes_it_into_every_text(tmp_path):
    """Why such a folder is refused."""
    theirs = write(*LAYOUTS["base-960h"], tmp_path / "model")
    theirs.pad_token = None
    assert theirs.decode([theirs.convert_tokens_to_ids("<pad>")] * 2) == "<pad>"
    assert load_processor(tmp_path / "model").tokenizer.decode_ctc([0, 0]) == ""
